"""A machine with cgroup v2 and all of root's rights: a Debian kernel in qemu, Python as its only program.

Nothing is installed and nobody needs to be root: the kernel comes out of its package, and the whole
file system is one archive in memory. No hardware virtualisation either: it is emulated, in seconds.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import need
from tests.vm.archive import Archive, add_python

ROOT = Path(__file__).resolve().parents[2]
CODE = "/opt/muster"
WITHIN = 150.0
"""Seconds that a guest may take in all. An empty one takes 5, thrice that on busy cores."""

INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp /run /var/lib
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/root PYTHONPATH={CODE}
mount -t devtmpfs dev /dev && mount -t proc proc /proc && mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp && mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
exec </dev/null >/dev/ttyS0 2>&1
cd {CODE}
stty -F /dev/ttyS1 raw
python3 guest.py >/dev/ttyS1
echo "the guest's script ended with $?"
poweroff -f
"""
USERS = "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000:worker:/tmp:/bin/sh\n"
GROUPS = "root:x:0:\nworker:x:1000:\n"


class Machine:
    """Boots as often as asked; what never changes is made once for all tests of a run."""

    def __init__(self, cache):
        need(platform.machine() == "x86_64", "an x86_64 machine")
        self._qemu = shutil.which("qemu-system-x86_64")
        need(self._qemu, "qemu-system-x86_64")
        self._kernel = once(cache / "vmlinuz", fetch_kernel)
        self._base = once(cache / "base.cpio", make_base)

    def run(self, script, home):
        """What a script of a guest printed as JSON on its standard output.

        Args:
            script: a file, run as root by the first process; it can import `agentd` and `store`
                (the standard library is there, third-party modules are not), and user `worker` exists.
            home: an empty directory. Standard error goes to the console, which is `console.log` there.
        """
        initrd, console, result = home / "initrd", home / "console.log", home / "result.json"
        initrd.write_bytes(self._base.read_bytes() + code(script))
        argv = [self._qemu, "-accel", "tcg,thread=multi", "-smp", "2", "-m", "512", "-no-reboot",
                "-display", "none", "-monitor", "none", "-net", "none",
                "-serial", f"file:{console}", "-serial", f"file:{result}",
                "-kernel", str(self._kernel), "-initrd", str(initrd),
                "-append", "console=ttyS0 quiet mitigations=off panic=1"]  # fmt: skip
        try:
            subprocess.run(argv, timeout=WITHIN, check=True)
        except subprocess.SubprocessError as error:
            pytest.fail(f"{error}\n{console.read_text(errors='replace') if console.exists() else ''}")
        finally:
            initrd.unlink()
        said = console.read_text(errors="replace")
        assert "the guest's script ended with 0" in said, said
        return json.loads(result.read_text())


def once(path, make):
    """A file that the first test process to come makes and the others use."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(path)
    return path


def fetch_kernel(path):
    """Debian's kernel for virtual machines, out of its package; or the file that the user names."""
    given = os.environ.get("MUSTER_VM_KERNEL")
    if given:
        shutil.copyfile(given, path)
        return
    need(shutil.which("apt-get"), "apt-get (or a kernel in MUSTER_VM_KERNEL)")
    about = subprocess.run(["apt-cache", "show", "linux-image-cloud-amd64"], capture_output=True, text=True, check=False).stdout  # fmt: skip
    named = re.search(r"linux-image-[\d.]+\S*-cloud-amd64", about)
    need(named, "Debian's package linux-image-cloud-amd64 (or a kernel in MUSTER_VM_KERNEL)")
    home = path.with_suffix(".deb")
    home.mkdir(exist_ok=True)
    done = subprocess.run(["apt-get", "download", "-qq", named[0]], cwd=home, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    package = next(iter(home.glob("*.deb")), None)
    need(package, f"{named[0]} ({done.stderr.strip()})")
    unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    with unpack, tarfile.open(fileobj=unpack.stdout, mode="r|") as files:
        kernel = next(each for each in files if each.name.startswith("./boot/vmlinuz-"))
        part = path.with_suffix(".part")
        part.write_bytes(files.extractfile(kernel).read())
        unpack.kill()
    shutil.rmtree(home)
    part.rename(path)


def make_base(path):
    """The part of the file system that all guests have."""
    busybox = shutil.which("busybox")
    need(busybox and not is_dynamic(busybox), "busybox-static")
    archive = Archive()
    add_python(archive)
    archive.copy(Path(busybox).resolve(), "/bin/busybox")
    archive.file("/init", INIT.encode(), 0o755)
    archive.file("/etc/passwd", USERS.encode())
    archive.file("/etc/group", GROUPS.encode())
    archive.link("/usr/bin/env", "/bin/busybox")
    part = path.with_suffix(".part")
    part.write_bytes(archive.bytes())
    part.rename(path)


def is_dynamic(program):
    return subprocess.run(["ldd", program], capture_output=True, check=False).returncode == 0


def code(script):
    """The part that is a test's own. A kernel unpacks one archive after the other."""
    archive = Archive()
    for package in ("agentd", "store"):
        archive.copy_package(ROOT / package, f"{CODE}/{package}")
    archive.copy(script, f"{CODE}/guest.py")
    return archive.bytes()
