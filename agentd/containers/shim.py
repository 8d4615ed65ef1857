"""The main process of a container: starts it, passes signals on, ends with its exit code.

Standard library only, and little of it: it lives as long as the container. An engine's client would
do, but podman's weighs 15 MB. Here podman starts the container and goes (`--detach`); what stays is
conmon, podman's own small parent of a container, which becomes our child because we are its
subreaper, and whose exit code is the container's. Docker's client has to stay: it copies the output.

A second process, a waiting shell, removes the container if this one is killed: a run that is
over for the keeper must be over. Ours may die by `kill -9` at any moment; a container's parent may not.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
from collections.abc import Callable

from agentd.containers.watched import Watched, kill, parent_of, read

CONMON, INIT, STATUS, LOCK = "conmon.pid", "container.pid", "status", "lock"
OOM = "oom"
"""What conmon calls a file that it makes, where it was started, when it hears of such a kill."""
SAID = 2000
"""Bytes of what the client said last that are kept when it failed."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_OURS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, *_FAULTS)
_CLIENTS_OWN = (125, 126, 127)
"""Codes with which a client that stays says that there was no container; a container may have them, too."""
_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    """`HOME REMOVE… -- RUN…`, both command lines of the engine. The exit code to end with."""
    home, rest = argv[0], argv[1:]
    cut = rest.index("--")
    remove, run = rest[:cut], rest[cut + 1 :]
    os.chdir(home)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    shim = Shim(home, remove, detached=run[2:3] == ["--detach"])
    lock = shim.alone()
    over = _remove_if_we_are_killed(remove, lock)
    code = shim.run(run)
    os.write(over, b"\n")
    return code


class Shim:
    """One container's life."""

    def __init__(self, home: str, remove: list[str], *, detached: bool) -> None:
        self._home = home
        self._remove = remove
        self._detached = detached
        self._asked = 0
        self._ended: dict[int, int] = {}
        """Children that ended: pid to wait status."""
        self._poll = select.poll()
        self._wake = self._hear_signals()

    def alone(self) -> int:
        """Remove what an earlier run left, and wait until its processes have gone: there is one at a time."""
        lock = os.open(f"{self._home}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._run_to_its_end(self._remove)
        while not _locked(lock) and not self._asked:
            self._wait(lambda _: None, 20)
        return lock

    def run(self, argv: list[str]) -> int:
        """Start the container and stay until it is over."""
        if self._asked:
            return 128 + self._asked
        for name in (CONMON, INIT, STATUS, OOM):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._home}/{name}")
        said_from = os.fstat(2).st_size
        client = _spawn(argv, tied=True)
        while client not in self._ended:
            # A client that only starts the container gives up when it is asked to stop, also while it pulls.
            self._wait(lambda number: kill(client, signal.SIGTERM if self._detached else number))
        code = _exit_code(self._ended[client])
        said = _said(said_from) if code and (self._detached or code in _CLIENTS_OWN) else ""
        if code and (self._detached or _is_the_client_s(said)):
            self._run_to_its_end(self._remove)
            self._tell(state="refused", code=code, said=said)
            return code
        return self._stay() if self._detached else self._over(code, None)

    def _stay(self) -> int:
        """Until conmon has ended, which it does when it has cleaned up after the container."""
        conmon, init = self._pid_in(CONMON), self._pid_in(INIT)
        if conmon is None:
            raise RuntimeError("podman told no pid of conmon")
        container = Watched(conmon, init)
        self._tell(state="running", pid=init)
        if self._asked:
            container.signal(self._asked)
        if container.pidfd >= 0:
            self._poll.register(container.pidfd, select.POLLIN)
        while conmon not in self._ended:
            self._wait(container.signal, container.pause())
            if container.has_ended():
                self._poll.unregister(container.pidfd)
            container.look()
        if os.WIFSIGNALED(self._ended[conmon]) and init is not None and parent_of(init) == os.getpid():
            return self._without_conmon(container, init)
        code = _exit_code(self._ended[conmon])
        return self._over(code if container.code is None else container.code, container.oom_kills)

    def _without_conmon(self, container: Watched, init: int) -> int:
        """With conmon killed, its container is our child now, and nobody cleans up after it."""
        while init not in self._ended:
            self._wait(lambda number: kill(init, number))
        self._run_to_its_end(self._remove)
        return self._over(_exit_code(self._ended[init]), container.oom_kills)

    def _over(self, code: int, oom_kills: int | None) -> int:
        if oom_kills is None and os.path.exists(OOM):
            oom_kills = 1
        self._tell(state="ended", code=code, oom_kills=oom_kills)
        return code

    def _hear_signals(self) -> int:
        heard, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in signal.valid_signals() - set(_OURS):
            signal.signal(number, lambda *_: None)
        self._poll.register(heard, select.POLLIN)
        return heard

    def _wait(self, forward: Callable[[int], None], milliseconds: int | None = None) -> None:
        """Until something happens; signals are passed on, children that ended are noted."""
        if not any(fd == self._wake for fd, _ in self._poll.poll(milliseconds)):
            return
        for number in os.read(self._wake, 512):
            if number != signal.SIGCHLD:
                self._asked = number
                forward(number)
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._ended[pid] = status

    def _run_to_its_end(self, argv: list[str]) -> None:
        pid = _spawn(argv, tied=False, quiet=True)
        while pid not in self._ended:
            self._wait(lambda _: None)

    def _pid_in(self, name: str) -> int | None:
        text = read(f"{self._home}/{name}").strip()
        return int(text) if text.isdigit() else None

    def _tell(self, **fields: object) -> None:
        """Leave word for the brain. A full disk must not end a container."""
        words = [f'"{key}": {_json(value)}' for key, value in {"main": os.getpid(), **fields}.items()]
        with contextlib.suppress(OSError):
            part = f"{self._home}/.{STATUS}"
            with open(part, "w", encoding="ascii") as file:
                file.write("{" + ", ".join(words) + "}")
            os.replace(part, f"{self._home}/{STATUS}")


def _remove_if_we_are_killed(argv: list[str], lock: int) -> int:
    """Start who does; a line on the descriptor tells it that all is well. A shell weighs least.

    It holds the lock too: otherwise it might come late, and remove what the next run has started.
    """
    read_end, write = os.pipe()
    if os.fork():
        os.close(read_end)
        return write
    try:
        os.setsid()  # whoever kills our group or session does not mean this one
        _silence()
        os.dup2(read_end, 0)
        os.set_inheritable(lock, True)
        os.execv("/bin/sh", ["sh", "-c", 'read -r _ || exec "$@"', "sh", *argv])
    finally:
        os._exit(0)


def _spawn(argv: list[str], *, tied: bool, quiet: bool = False) -> int:
    """Start a client in a process group of its own; a tied one dies with us."""
    us = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        if tied:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != us:
                os._exit(125)
        os.setpgid(0, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and containers would inherit that
        if quiet:
            _silence()
        os.execv(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(125)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _silence() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _exit_code(status: int) -> int:
    """As a shell tells it: 128 and the signal for who was killed."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _said(since: int) -> str:
    """What went to our standard error since it had that size."""
    with contextlib.suppress(OSError), open("/proc/self/fd/2", "rb") as file:
        file.seek(max(since, os.fstat(2).st_size - SAID))
        return file.read().decode(errors="replace")
    return ""


def _is_the_client_s(said: str) -> bool:
    return any(line.startswith(("docker: ", "Error: ")) for line in said.splitlines())


def _json(value: object) -> str:
    if value is None or isinstance(value, int):
        return "null" if value is None else str(value)
    if isinstance(value, str) and value.isascii() and value.isalnum():
        return f'"{value}"'
    import json  # late: only failures need it

    return json.dumps(value)
