"""What /proc says of processes. A process is (boot id, pid, start time)."""

import os
from dataclasses import dataclass

MOST_WORDS = 200
"""Bytes of a command line that are worth telling."""


@dataclass(frozen=True)
class Stat:
    """One process as it is now. `start` in clock ticks since boot."""

    pid: int
    dead: bool
    parent: int
    session: int
    start: int


def boot_id() -> str:
    """Differs after every boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def stat(pid: int) -> Stat | None:
    """A process, zombies included (`dead`); None when it is gone, or (hidepid) not ours to see."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before may hold anything
    except OSError:
        return None
    return Stat(pid, fields[0] in (b"Z", b"X"), int(fields[1]), int(fields[3]), int(fields[19]))


def start_time(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot."""
    found = stat(pid)
    return None if found is None or found.dead else found.start


def has_execed(pid: int) -> bool:
    """Whether a child of a keeper runs something else than a keeper by now."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    return not (words[1:3] == [b"-I", b"-S"] and words[3:4] and words[3].endswith(b"/keeper"))


def children() -> list[int]:
    """Our children, adopted orphans included."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return [found.pid for found in everybody() if found.parent == os.getpid()]


def everybody() -> list[Stat]:
    """All processes that are alive."""
    found = (stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [each for each in found if each is not None and not each.dead]


def carries(pid: int, variable: bytes) -> bool:
    """Whether a process was given this environment variable (`NAME=value`)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return variable in file.read().split(b"\0")
    except OSError:
        return False


def command(pid: int) -> str:
    """What a process runs, for people."""
    for name in ("cmdline", "comm"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                words = file.read().rstrip(b"\0\n").replace(b"\0", b" ")
        except OSError:
            return "?"
        if words:
            return words[:MOST_WORDS].decode(errors="replace")
    return "?"
