"""What /proc says of processes. A process is (boot id, pid, start time)."""

import os


def boot_id() -> str:
    """Differs after every boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def has_execed(pid: int) -> bool:
    """Whether a child of a keeper runs something else than the keeper by now."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as its, open("/proc/self/cmdline", "rb") as ours:
            return its.read() != ours.read()
    except OSError:
        return False


def children() -> list[int]:
    """Our children, adopted orphans included."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return [pid for pid in pids if (_stat(pid) or ["", ""])[1] == str(os.getpid())]


def session_of(pid: int) -> int | None:
    """The session of a living process."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else int(fields[3])


def session_members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = _stat(int(name))
        if fields is not None and fields[0] not in ("Z", "X") and int(fields[3]) == session:
            found.append(int(name))
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields after the command name, which may hold spaces and parentheses."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:  # gone, or (hidepid) not ours to see
        return None
