"""What can be seen of a container's first process, for the process that waits for it."""

import contextlib
import os
import select
import signal


class Watched:
    """What is seen of a container's first process, which is conmon's child and not ours.

    `code` and `oom_kills` are known for a moment only: from its end until conmon has cleaned up.
    """

    def __init__(self, conmon: int, init: int | None) -> None:
        self._conmon = conmon
        self.pidfd = -1
        self.code: int | None = None
        self.oom_kills: int | None = None
        self._ended = False
        self._exit_file = _exit_file(conmon)
        self._oom_file = _oom_file(init) if init is not None else ""
        if init is not None:
            with contextlib.suppress(OSError, AttributeError):  # gone already, or a kernel before 5.3
                self.pidfd = os.pidfd_open(init)
        if self.pidfd >= 0 and parent_of(init) != conmon:
            self.pidfd = -1  # the number is somebody else's by now

    def signal(self, number: int) -> None:
        """Pass one on. conmon does it for TERM, INT and QUIT, where the kernel has no pidfd."""
        if self.pidfd < 0:
            kill(self._conmon, number)
            return
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, number)

    def pause(self) -> int | None:
        """Milliseconds until `look` should be asked again anyway."""
        return 2 if self._ended and self.code is None else None

    def has_ended(self) -> bool:
        """True once, when it has just ended."""
        if self._ended or self.pidfd < 0 or not select.select([self.pidfd], [], [], 0)[0]:
            return False
        self._ended = True
        self.oom_kills = _number_after("oom_kill", read(self._oom_file))
        return True

    def look(self) -> None:
        """Take the exit code, once conmon has written it."""
        text = read(self._exit_file).strip() if self._ended and self.code is None else ""
        if text.isdigit():
            self.code = int(text)


def kill(pid: int, number: int) -> None:
    """Signal a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def parent_of(pid: int | None) -> int | None:
    """The parent of a process; None when it is gone."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else None


def _exit_file(conmon: int) -> str:
    """Where conmon will write the exit code. Its own ends with the clean-up's when that fails."""
    words = read(f"/proc/{conmon}/cmdline").split("\0")
    try:
        return f"{words[words.index('--exit-dir') + 1]}/{words[words.index('-c') + 1]}"
    except (ValueError, IndexError):
        return ""


def _oom_file(pid: int) -> str:
    """The file that counts what the kernel killed for memory in a process's cgroup."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return f"/sys/fs/cgroup/memory{path}/memory.oom_control"
    unified = [line[3:] for line in read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::")]
    return f"/sys/fs/cgroup{unified[0]}/memory.events" if unified else ""


def _number_after(word: str, text: str) -> int | None:
    pairs = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) > 1)
    return int(pairs[word]) if word in pairs else None


def read(path: str) -> str:
    """A small file's text; nothing when there is none."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
