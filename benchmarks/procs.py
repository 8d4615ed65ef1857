"""What benchmarks read of processes: sleeps that are there, memory, processor time; and a bell for restarts."""

import contextlib
import os
import re
import select
import shutil
import time
from pathlib import Path

POLL = 0.004
"""Seconds between two looks at /proc, at least: how exact bring-up and stop are."""
LOOKING = 0.1
"""The share of a processor that looking may take from those who are looked at."""


def _read(path):
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _pids():
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def children(pid):
    """Processes whose parent is `pid`."""
    return [each for each in _pids() if _parent(each) == pid]


def _parent(pid):
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else None


def naming(argument):
    """Living processes that have `argument` as one of their words."""
    word = os.fsencode(argument)
    return [pid for pid in _pids() if word in _read(f"/proc/{pid}/cmdline").split(b"\0")]


class Sleeps:
    """The sleeps of one measurement, told from all others by how long they sleep."""

    def __init__(self):
        self.seconds = str(1_000_000 + time.time_ns() // 1000 % 8_000_000)
        self.command = [shutil.which("sleep"), self.seconds]
        self._words = {
            b"\0".join((os.fsencode(name), self.seconds.encode(), b"")) for name in ("sleep", self.command[0])
        }
        self._others = set(_pids())
        self._found = set()

    def look(self):
        """Their pids. What is known is not read again: looking costs a millisecond, once it is quiet."""
        there = set(_pids())
        self._found &= there
        self._others &= there
        for pid in there - self._found - self._others:
            if _read(f"/proc/{pid}/cmdline") in self._words:
                self._found.add(pid)
        return self._found

    def wait(self, number, since, seconds=120):
        """Seconds from `since` until exactly so many are there."""
        while True:
            begin = time.monotonic()
            found = len(self.look())
            now = time.monotonic()
            if found == number:
                return now - since
            if now - since > seconds:
                raise SystemExit(f"{found} of {number} tasks after {seconds} s")
            time.sleep(max(POLL, (now - begin) / LOOKING))

    def kill(self):
        for pid in self.look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


class Bell:
    """A pipe on which tasks say their pid just before they exec `sleep`: heard at once, without looking."""

    def __init__(self, directory, sleeps):
        path = Path(directory) / "bell"
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self.command = ["/bin/sh", "-c", f"echo $$ > {path}; exec {' '.join(sleeps.command)}"]

    def hear(self, number, seconds=60):
        """The next so many pids."""
        found = []
        deadline = time.monotonic() + seconds
        while len(found) < number:
            if not select.select([self._fd], [], [], deadline - time.monotonic())[0]:
                raise SystemExit(f"only {len(found)} of {number} tasks said that they run")
            *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
            found += [int(line) for line in lines]
        return found

    def close(self):
        os.close(self._fd)


def pss(pids):
    """Bytes: private memory and a fair share of what is shared."""
    found = 0
    for pid in pids:
        match = re.search(rb"^Pss:\s+(\d+) kB", _read(f"/proc/{pid}/smaps_rollup"), re.MULTILINE)
        found += int(match[1]) * 1024 if match else 0
    return found


def cpu(pids):
    """Processor seconds used so far, by all threads."""
    found = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            fields = _read(thread / "schedstat").split()
            found += int(fields[0]) if fields else 0
    return found / 1e9


def cpu_share(pids_of, seconds):
    """Percent of one processor over a time in which nothing is asked for."""
    pids = pids_of()
    before = cpu(pids)
    begin = time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu(pids) - before) / (time.monotonic() - begin)
