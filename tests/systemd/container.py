"""A machine of its own with systemd as its first process: `/usr` of this one, the rest empty.

With an `/etc` that holds only what is put there, no service of this machine is started. It has
processes, mounts, network and host name to itself (systemd-nspawn); the kernel is this machine's.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path

from tests.conftest import eventually, need

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "ops" / "systemd"
PYTHON, CODE, LIBRARIES, VENV = "/opt/python", "/opt/muster", "/opt/libraries", "/opt/venv"
MOUNTED = {
    "/usr": "/usr",
    PYTHON: sys.base_prefix,
    CODE: str(ROOT),
    LIBRARIES: sysconfig.get_path("purelib"),
}
"""Read-only, at places that no unit's sandbox hides."""
PATH = f"{VENV}/bin:/usr/bin:/usr/sbin:/bin:/sbin"
PROGRAM = """#!/opt/venv/bin/python
import sys
from {module}.__main__ import main
sys.exit(main())
"""
PROGRAMS = {"agent": "agentd", "manager": "manager_api", "muster": "muster"}
START = """
echo $$ > "$1/cgroup.procs"; shift
exec setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$@"
"""
BOOT = """
mount -t tmpfs tmpfs /run
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --private-network --boot "$@"
"""


class Container:
    """One machine, from its boot to its power-off."""

    def __init__(self, home):
        need(os.geteuid() == 0, "root's right to run a container")
        for tool in ("systemd-nspawn", "unshare", "nsenter", "setpriv", "ldconfig"):
            need(shutil.which(tool), tool)
        need(Path("/bin").is_symlink(), "a system that has everything in /usr")
        self.root, self.log = home / "root", home / "boot.log"
        self.group = unified() / f"muster-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.process = None
        self._first = None
        lay_out(self.root)

    # -- the machine

    def boot(self):
        self.group.mkdir(exist_ok=True)
        words = ["-D", str(self.root), "-M", self.group.name]
        words += [f"--bind-ro={source}:{target}" for target, source in MOUNTED.items()]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                ["sh", "-c", START, "sh", str(self.group), "sh", "-c", BOOT, "sh", *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        self._first = eventually(lambda: self._systemd(self.process.pid), 90)
        eventually(self._up, 90)
        self.run("ldconfig")

    def _up(self):
        said = self.run("systemctl", "is-system-running", "--wait", check=False)
        return said.strip() in ("running", "degraded")

    def _systemd(self, parent):
        """The pid, as this machine sees it, of the container's first process."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return child
                return self._systemd(child)
        return None

    def run(self, *argv, check=True):
        """What a command printed, run as root in the container."""
        enter = [
            "nsenter",
            "-t",
            self._first,
            *["-m", "-p", "-u", "-i", "-n", "-C", "env", "-i"],
            f"PATH={PATH}",
        ]
        done = subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=100, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def power_off(self):
        """As an administrator does it; returns when the machine is off."""
        self.run("systemctl", "poweroff")
        assert self.process.wait(100) == 0, self.log.read_text(errors="replace")

    def end(self):
        """Nothing of it is left, whatever state it was in."""
        if self.process is not None:
            self.process.kill()  # the parent of a process namespace: all in it die with it
            self.process.wait()
        eventually(lambda: remove(self.group))

    def inside(self, path):
        """A file of the container, seen from here."""
        return self.root / path.lstrip("/")

    # -- its units

    def unit(self, name, *properties):
        """What systemd knows of a unit."""
        said = self.run("systemctl", "show", name, *(f"--property={each}" for each in properties))
        return dict(line.split("=", 1) for line in said.splitlines())

    def active(self, name):
        return self.unit(name, "ActiveState")["ActiveState"] == "active"

    def journal(self, unit):
        self.run("journalctl", "--sync")  # what was said just now is on its way
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    # -- Muster in it

    def nodes(self):
        with contextlib.suppress(ValueError):
            return json.loads(self.run("muster", "nodes", "-o", "json", check=False))
        return []

    def tasks(self):
        with contextlib.suppress(ValueError):
            found = json.loads(self.run("muster", "ps", "-o", "json", check=False))
            return {task["name"]: task for row in found for task in row["tasks"]}
        return {}

    def deploy(self, name, *tasks):
        """Returns once they run."""
        file = self.inside(f"/root/{name}.json")
        file.write_text(json.dumps({"name": name, "task_groups": [{"tasks": list(tasks)}]}))
        self.run("muster", "deploy", "--wait-for-capacity", f"/root/{name}.json")

    def identity(self, pid):
        """Who a process is: its pid and start time; None if there is none."""
        said = self.run("cat", f"/proc/{pid}/stat", check=False)
        return (pid, said.rpartition(")")[2].split()[19]) if said else None


def unified():
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    return need(None, "cgroup v2")


def remove(group):
    """Whether a cgroup and all below it are gone; one whose last process just died may need another try."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    return not group.exists()


def lay_out(root):
    """The files of a machine on which Muster's units are installed, but not started."""
    for name in ("etc", "var", "root", "opt", "usr", "proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(parents=True)
    for link in (
        path for path in Path("/").iterdir() if path.is_symlink() and str(path.readlink()).startswith("usr/")
    ):
        (root / link.name).symlink_to(link.readlink())
    etc = root / "etc"
    (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
    (etc / "hostname").write_text("web-1\n")
    for name in ("os-release", "passwd", "group", "nsswitch.conf"):
        shutil.copy(Path("/etc") / name, etc)
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (etc / "ld.so.conf").write_text(f"{PYTHON}/lib\n/usr/local/lib\n")
    install(root)
    units = etc / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS.glob("*.service"):
        shutil.copy(unit, units)
        extra = units / f"{unit.name}.d"
        extra.mkdir()
        (extra / "here.conf").write_text(f"[Service]\nEnvironment=PATH={PATH} MUSTER_INTERVAL=0.5\n")


def install(root):
    """Programs, as a virtual environment over what is mounted from this machine."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    venv = root / VENV.lstrip("/")
    packages = venv / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "muster.pth").write_text(f"{CODE}\n{LIBRARIES}\n")
    (venv / "pyvenv.cfg").write_text(f"home = {PYTHON}/bin\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(f"{PYTHON}/bin/{version}")
    for name, module in PROGRAMS.items():
        program = venv / "bin" / name
        program.write_text(PROGRAM.format(module=module))
        program.chmod(0o755)
