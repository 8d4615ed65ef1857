"""Why a task could not be started, in words its user can act on."""

import errno
import os
import stat
from pathlib import Path

_STEPS = {
    "setsid": "could not get a session of its own",
    "log": "its log could not be opened",
    "ulimits": "its ulimits could not be set",
    "user": "could not become its user",
    "cwd": "could not enter its directory {cwd}",
    "go": "its start was broken off",
}


def explain(error: str, path: str, cwd: str) -> str:
    """The keeper's `step:errno` as a sentence; what is one already stays as it is."""
    step, _, number = error.partition(":")
    if not number.isdigit():
        return error
    code = int(number)
    if step == "exec":
        return _exec(code, path)
    what = _STEPS.get(step, step).format(cwd=cwd)
    return f"{what}: {os.strerror(code)}" if code else what


CHMOD = "chmod +x"
FETCHED = 'mode: "0755" with its artifact, or in the archive that it came in'
"""What gives the exec bit to a program; to one that was fetched."""


def _exec(code: int, path: str) -> str:
    if code == errno.ENOENT:
        interpreter = _interpreter(path)
        if interpreter:
            return f"{path}: its interpreter {interpreter} does not exist on this node"
        return f"{path} does not exist on this node"
    if code == errno.ENOEXEC:
        return f"{path} lacks a shebang (#!) line and is no program for this machine"
    if code == errno.EACCES:
        return _access(path)
    if code == errno.ENOTDIR:
        return f"{path}: a part of the path is not a directory"
    if code == errno.E2BIG:
        return f"{path}: arguments and environment are too long"
    return f"{path} cannot be run: {os.strerror(code) if code else 'invalid arguments'}"


def _access(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return f"{path} cannot be reached: permission denied"
    if stat.S_ISDIR(mode):
        return f"{path} is a directory"
    if not mode & 0o111:
        return f"{path} is not executable: it lacks the exec bit ({CHMOD})"
    return f"{path}: permission denied"


def _interpreter(path: str) -> str | None:
    """The interpreter that a script names, if the script is there."""
    try:
        with Path(path).open("rb") as file:
            first = file.readline(256)
    except OSError:
        return None
    words = first[2:].split() if first.startswith(b"#!") else []
    return words[0].decode(errors="replace") if words else None


class CannotStart(Exception):
    """A task cannot be started as it is written; the message says why."""


class FilesMissing(CannotStart):
    """The files of a task are not there (any more): it can be started once they are fetched again."""
