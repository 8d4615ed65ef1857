"""A real sshd on loopback, with a port, host keys, users and files of its own.

As root it lives in a mount namespace where /etc/passwd and /etc/shadow are copies with users of its own: the
system's accounts are not touched, and nothing is left when it is killed. Otherwise only whoever runs it
can log in, with a key.
"""

import base64
import contextlib
import getpass
import hashlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import bcrypt
import psutil

from store.embedded import _quiet_port
from store.process import tied_to_parent
from tests.conftest import eventually, need
from tests.leftovers import temporary

USER, PASSWORD = "files", "pass/w@rd:1 ü"
"""Who may log in by default."""
FIRST_UID = 61_000
IN_NAMESPACE = """
set -e
mount --bind {etc}/passwd /etc/passwd
mount --bind {etc}/shadow /etc/shadow
mount -t tmpfs -o mode=755 none /run
mkdir -m 755 /run/sshd
exec "$@"
"""
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
{host_keys}
PidFile none
UsePAM no
UseDNS no
StrictModes no
PasswordAuthentication {passwords}
KbdInteractiveAuthentication no
PubkeyAuthentication yes
AuthorizedKeysFile {home}/authorized/%u
AllowTcpForwarding no
X11Forwarding no
PrintMotd no
MaxStartups 500
MaxSessions 100
LoginGraceTime 60
LogLevel VERBOSE
Subsystem sftp {sftp_server}
{more}
"""
SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


@dataclass(frozen=True)
class User:
    """Somebody who may log in: by password (only if the server runs as root) and by key."""

    name: str
    password: str
    uid: int


def is_root():
    return os.geteuid() == 0


def need_root():
    """Skip what logs in by password where no user can be made; CI runs as root."""
    need(is_root(), "root (for users of a test's own)")


class Sshd:
    """An SSH server. `more` are further lines of its configuration. Begin it with `start`, end it with `end`."""

    def __init__(self, *, host_keys=("ed25519",), users=(USER,), more=""):
        self._program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        need(self._program and shutil.which("ssh-keygen"), "openssh-server")
        # Not in pytest's directory: that is closed to other users, and those of ours are others.
        self.home = temporary("sshd")
        self.home.chmod(0o755)
        self.root = self.home / "files"
        self.root.mkdir(mode=0o755)
        self.log = self.home / "log"
        self.log.touch()
        self._more, self._types, self._process = more, tuple(host_keys), None
        self.port = _quiet_port("127.0.0.1")
        names = users if is_root() else (getpass.getuser(),)
        self.users = {name: User(name, PASSWORD, FIRST_UID + n) for n, name in enumerate(names)}
        self.user = next(iter(self.users.values()))
        self.new_host_keys()
        self.key_file = self._new_key("user_key")
        self.authorize(self.key_file)
        if is_root():
            self._write_accounts()

    def _write_accounts(self):
        etc = self.home / "etc"
        etc.mkdir(mode=0o755)
        passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
        if "\nsshd:" not in passwd:
            passwd += "sshd:x:60999:65534::/run/sshd:/usr/sbin/nologin\n"
        for user in self.users.values():
            hashed = bcrypt.hashpw(user.password.encode(), bcrypt.gensalt(4)).decode()
            passwd += f"{user.name}:x:{user.uid}:{user.uid}::{self.root}:/bin/sh\n"
            shadow += f"{user.name}:{hashed}:19000:0:99999:7:::\n"
        (etc / "passwd").write_text(passwd)
        (etc / "shadow").write_text(shadow)
        (etc / "shadow").chmod(0o600)
        os.chown(self.root, self.user.uid, self.user.uid)

    # -- keys

    def _new_key(self, name, kind="ed25519", passphrase=""):
        file = self.home / name
        for old in (file, file.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        keygen = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(file)]
        subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        return file

    def new_key(self, name, *, kind="ed25519", passphrase=""):
        """A private key's file, which nobody knows yet; see `authorize`."""
        return self._new_key(f"{name}_key", kind, passphrase)

    def authorize(self, key_file):
        """Every user may log in with this key (and no other, besides those before)."""
        directory = self.home / "authorized"
        directory.mkdir(exist_ok=True, mode=0o755)
        for name in self.users:
            with (directory / name).open("a") as file:
                file.write(Path(f"{key_file}.pub").read_text())

    def new_host_keys(self):
        """Become another server; it shows after a restart."""
        for kind in self._types:
            self._new_key(f"host_{kind}", kind)

    def _public(self, kind=None):
        return (self.home / f"host_{kind or self._types[0]}.pub").read_text().split()[:2]

    @property
    def fingerprint(self):
        """Of its first host key, as OpenSSH writes it."""
        return self.fingerprint_of(self._types[0])

    def fingerprint_of(self, kind):
        digest = hashlib.sha256(base64.b64decode(self._public(kind)[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def known_hosts(self, *kinds, port=None):
        """Lines of a known_hosts file: of all its keys, or of these kinds; of a proxy's port before it."""
        where = f"[127.0.0.1]:{port or self.port}"
        return "".join(f"{where} {' '.join(self._public(kind))}\n" for kind in kinds or self._types)

    # -- files

    def file(self, name, content=b"", *, mode=0o644, size=None):
        """A file under its root, the first user's; with `size`, sparse up to there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            if size is not None:
                file.truncate(size)
        path.chmod(mode)
        if is_root():
            for each in [path, *path.parents]:
                if each == self.home:
                    break
                os.chown(each, self.user.uid, self.user.uid)
        return path

    def forbid(self, path):
        """Nobody may read it but root (or, without root, nobody)."""
        if is_root():
            os.chown(path, 0, 0)
        path.chmod(0o600 if is_root() else 0)

    def url(self, path="", *, user=None, password=None, port=None):
        """Of something under its root. With `user=""` nobody is named."""
        user = self.user.name if user is None else user
        secret = "" if password is None else f":{quote(password, safe='')}"
        who = f"{quote(user, safe='')}{secret}@" if user else ""
        where = quote(str(self.root / path) + ("/" if not path else ""))
        return f"sftp://{who}127.0.0.1:{port or self.port}{where}"

    # -- the process

    def _command(self):
        plain = [self._program, "-D", "-e", "-f", str(self.home / "sshd_config")]
        if not is_root():
            return plain
        script = IN_NAMESPACE.format(etc=self.home / "etc")
        return ["unshare", "--mount", "sh", "-c", script, "sh", *plain]

    def start(self):
        """Begin to listen; on the same port again, if it did before."""
        sftp_server = next((path for path in SERVERS if Path(path).exists()), "internal-sftp")
        (self.home / "sshd_config").write_text(
            CONFIG.format(
                port=self.port,
                home=self.home,
                host_keys="\n".join(f"HostKey {self.home}/host_{kind}" for kind in self._types),
                passwords="yes" if is_root() else "no",
                sftp_server=sftp_server,
                more=self._more,
            )
        )
        said = self.log.stat().st_size
        with self.log.open("ab") as log:
            command = tied_to_parent(self._command())
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        eventually(lambda: self._listens(said))
        return self

    def _listens(self, said):
        new = self.log.read_bytes()[said:]
        if self._process.poll() is not None:
            raise AssertionError(f"sshd ended: {new.decode(errors='replace')}")
        return b"Server listening on" in new

    def _sessions(self):
        """Each a process for one connection, whether somebody has logged in or not yet."""
        if self._process is None or self._process.poll() is not None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            return [each for each in children if each.status() != psutil.STATUS_ZOMBIE]
        return []

    @property
    def connections(self):
        """How many are connected now."""
        return len(self._sessions())

    @property
    def alive(self):
        return self._process is not None and self._process.poll() is None

    def stop(self):
        """Listen no more; who is connected stays so. Nobody can tell these sessions from others after it."""
        if self.alive:
            self._process.terminate()
        if self._process is not None:
            self._process.wait(10)

    def kill(self):
        """The server and all its sessions are gone at once, as when a machine loses its power."""
        if not self.alive:
            return
        self._process.send_signal(signal.SIGSTOP)  # it takes nobody new while we look who is there
        for each in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.kill()
        self._process.wait(10)

    def kill_sessions(self):
        """Who is connected is thrown out; the server goes on listening."""
        for session in self._sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in [*session.children(recursive=True), session]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()

    def restart(self):
        self.kill()
        return self.start()

    def end(self):
        """Nothing of it is left."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def running(**how):
    """A server for a while; see `Sshd`."""
    server = Sshd(**how)
    try:
        yield server.start()
    finally:
        server.end()
