"""Processes that must not outlive their parent, how they are ended, locks, files that appear whole."""

import _thread
import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tied_to_parent(argv: list[str]) -> list[str]:
    """A command line that runs `argv` and gets SIGTERM when the process that starts it dies.

    The kernel ties it to the thread that forks: start it from a thread that lives as long as
    the process. A few milliseconds of Python, in exchange for no `preexec_fn`.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def on_end(stop: Callable[[], object]) -> None:
    """Have SIGTERM and SIGINT call `stop`, on a thread of its own.

    A handler runs in the middle of what the main thread does. If that is `Event.wait` it may hold the very
    lock that `Event.set` takes, and a handler that sets it would wait for itself, for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _thread.start_new_thread(stop, ()))


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file: readers see the old bytes or the new, also after a power cut."""
    part = path.with_name(f".{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    part.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Lock:
    """An exclusive lock on a file, held until closed or until all who inherited it are gone."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_acquire(self) -> bool:
        """Take it, if nobody has it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """For a child that shall hold it too."""
        return self._fd

    def note(self, text: str) -> None:
        """Leave word in the file of who holds it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def close(self) -> None:
        """Let go, for our part."""
        os.close(self._fd)


def _main() -> None:
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(0)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
