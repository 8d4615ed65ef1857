"""Fork and exec of one task. The child waits for the word "go": nothing runs unjournalled."""

import _signal  # type: ignore[import-not-found]
import ctypes
import errno
import os
import resource
import signal
from dataclasses import dataclass
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
OOM_SCORE = "-900"
NEVER_BEGAN = 213
"""Exit code of a child whose keeper died before it said go."""
_libc = ctypes.CDLL(None, use_errno=True)


def give_up_new_privileges() -> None:
    """No program that we or our children execute gains rights by doing so. Children inherit it.

    Raises:
        OSError: the kernel knows how, and did not.
    """
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def become_subreaper() -> None:
    """Orphans of our tasks become our children, so that they do not stay as zombies."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


_protected = False


def protect() -> None:
    """Let the kernel look elsewhere when memory runs out, if we may ask for that."""
    global _protected  # noqa: PLW0603 - what the children of this process have to undo
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            file.write(OOM_SCORE)
        _protected = True
    except OSError:
        with open("/proc/self/oom_score_adj", encoding="ascii") as file:
            _protected = int(file.read()) < 0  # inherited from who may


@dataclass(frozen=True)
class Born:
    """A forked child that waits. `go` is closed by saying so, `verdict` tells how exec went."""

    pid: int
    go: int
    verdict: int


def fork(order: dict[str, Any]) -> Born:
    """Fork a child for `order`; it execs once it is told to, and ends if we die before that.

    Raises:
        OSError: no process, descriptor or memory for it.
    """
    fds: list[int] = []
    # What is sent to the child before it has handlers of its own waits for them: ours would swallow it.
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)
    try:
        fds += os.pipe2(os.O_CLOEXEC)
        fds += os.pipe2(os.O_CLOEXEC)
        go_read, go_write, verdict_read, verdict_write = fds
        pid = os.fork()
        if pid == 0:
            os.close(go_write)
            _be_the_child(order, go_read, verdict_write)
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    os.close(go_read)
    os.close(verdict_write)
    return Born(pid, go_write, verdict_read)


def _be_the_child(order: dict[str, Any], go: int, verdict: int) -> None:
    """Never returns. Every step is named, so that its error can be told."""
    step = "go"
    try:
        if os.read(go, 1) != b"g":
            os._exit(NEVER_BEGAN)
        step = "cgroup"
        for directory in order.get("cgroups") or ():
            _enter(directory)
        step = "setsid"
        os.setsid()
        _reset_signals()
        _be_as_mortal_as_any()
        step = "log"
        _redirect(order)
        os.umask(order.get("umask", 0o022))
        step = "ulimits"
        for number, soft, hard in order["rlimits"]:
            resource.setrlimit(number, (soft, hard))
        step = "user"
        if order["uid"] is not None:
            os.setgroups([])
            os.setresgid(order["gid"], order["gid"], order["gid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        step = "cwd"
        os.chdir(order["cwd"])
        step = "exec"
        os.execve(order["path"], order["argv"], order["env"])
    except OSError as error:
        os.write(verdict, f"{step} {error.errno or 0}".encode())
    except BaseException:  # noqa: BLE001 - a forked child must not run its parent's code on
        os.write(verdict, f"{step} 0".encode())
    os._exit(127)


def _enter(directory: str) -> None:
    fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"0")
    os.close(fd)


def _be_as_mortal_as_any() -> None:
    """The keeper is spared when memory runs out; its tasks are not."""
    if _protected:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("0")


def _reset_signals() -> None:
    """As a program expects them. By number: each touch of an enum costs a forked child a page."""
    for number in _RESET:
        _signal.signal(number, 0)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


_ALL = frozenset(int(number) for number in signal.valid_signals())
_RESET = tuple(sorted(_ALL - {int(signal.SIGKILL), int(signal.SIGSTOP)}))
"""All: keeper, guard and Python change some, and a shell that started us in the background, others."""


def _redirect(order: dict[str, Any]) -> None:
    """Logs go straight to files: no pipe that could break, no process that could fall behind."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    for number, path in ((1, order["stdout"]), (2, order["stderr"])):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        if order["uid"] is not None and path != os.devnull:
            os.fchown(fd, order["uid"], order["gid"])  # a program may open /dev/stdout
        os.dup2(fd, number)
        os.close(fd)
    os.close(null)
