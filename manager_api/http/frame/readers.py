"""Readers of single values, each with its sentence: what a text or number must be to be taken.

All raise ValueError with that sentence (marshmallow's ValidationError is one).
"""

import re
from typing import Any

from manager_api.http.frame.fields import is_open, shaped, text
from store.model import command, quantity
from store.model.spec import SIGNALS

_USER = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_MOUNT = re.compile(r"(/[^:\x00]*|\$\{(?:alloc|task)\.dir\}[^:\x00]*):(/[^:\x00]*)(:ro|:rw)?")
_NUMBER = r"(\d{1,5}|\$\{port\.[A-Za-z0-9_-]+\})"
_PORT = re.compile(rf"(?:(?:\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?{_NUMBER}:{_NUMBER}(?:/tcp|/udp)?", re.ASCII)
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_UMASK = re.compile(r"0?[0-7]{3}")
MOST_ID = 2**32 - 2
LEAST_MEMORY = 1024**2
LEAST_PROBE = 0.1
LEAST_LOG = 64 * 1024
DURATION: dict[str, Any] = {
    "pattern": r"^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$",
    "examples": ["100ms", "30s", "1h30m", "7d"],
}
SIZE: dict[str, Any] = {
    "kind": ["string", "integer"],
    "pattern": r"^\s*\d+(?:\.\d+)?\s*[KkMmGgTtPp]?(?:[Ii]?[Bb])?\s*$",
    "minimum": 0,
    "examples": ["512M", "2GiB", 65536],
}
CPUS: dict[str, Any] = {
    "kind": ["number", "string"],
    "minimum": 0,
    "maximum": 100_000,
    "examples": [0.5, "2.0"],
}


@shaped(examples=["/srv/app"])
def absolute_path(value: Any) -> str:
    """A directory to run in.

    Raises:
        ValueError: it is not absolute.
    """
    found = text(value)
    if not is_open(value) and not found.startswith(("/", "${alloc.dir}", command.TASK_DIR)):
        raise ValueError("not an absolute path")
    return found


@shaped(examples=["www-data", "1000:1000"])
def user(value: Any) -> str:
    """`name`, `name:group`, `uid`, `uid:gid`.

    Raises:
        ValueError: it is none of these.
    """
    if is_open(value):
        return text(value)
    if not isinstance(value, str) or not _USER.fullmatch(value):
        raise ValueError("not a user such as www-data, 1000 or 1000:1000")
    if any(part.isdigit() and int(part) > MOST_ID for part in value.split(":")):
        raise ValueError(f"users and groups have numbers up to {MOST_ID}")
    return value


@shaped(enum=sorted(SIGNALS))
def signal_name(value: Any) -> str:
    """A signal by name, one that a program can answer.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in SIGNALS:
        raise ValueError("not a signal such as SIGTERM that a program can answer")
    return str(value)


@shaped(pattern=f"^{_UMASK.pattern}$", examples=["0027"])
def umask(value: Any) -> str:
    """An octal mask as text, `0027`."""
    if not isinstance(value, str) or not _UMASK.fullmatch(value):
        raise ValueError('not a mask such as "0027", in octal and as a text')
    return value


@shaped(minLength=1, examples=["docker.io/library/redis:7"])
def image(value: Any) -> str:
    """The name of a container image."""
    if is_open(value):
        return text(value)
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        raise ValueError("not an image such as docker.io/library/redis:7")
    return value


@shaped(examples=["/srv/data:/data:ro"])
def mount(value: Any) -> str:
    """`/host:/inside`, perhaps with `:ro`."""
    if not _MOUNT.fullmatch(text(value)) and not is_open(value):
        raise ValueError("not a mount such as /srv/data:/data or /srv/data:/data:ro")
    return str(value)


@shaped(examples=["8080:80", "${port.http}:80"])
def published_port(value: Any) -> str:
    """`8080:80`, perhaps with an address before it or a protocol after it; `${port.http}:80`."""
    if is_open(value):
        return text(value)
    match = _PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not all(port[0] == "$" or 0 < int(port) < 65536 for port in match.groups()):
        raise ValueError("not a port such as 8080:80, 127.0.0.1:8080:80/tcp or ${port.http}:80")
    return str(value)


@shaped(pattern=f"^{_NETWORK.pattern}$", examples=["bridge"])
def network(value: Any) -> str:
    """`none`, `host`, `bridge`, or a network that the engine knows."""
    if not isinstance(value, str) or not _NETWORK.fullmatch(value):
        raise ValueError("not a network such as none, host or bridge")
    return value


@shaped(**SIZE)
def memory_limit(value: Any) -> int:
    """A size that something could run in."""
    found = quantity.size(value)
    if found < LEAST_MEMORY:
        raise ValueError("less than 1M, in which nothing could run")
    return found


@shaped(**CPUS)
def cpu_limit(value: Any) -> float:
    """A share of processors that something could run with."""
    found = quantity.cpus(value)
    if found < 0.01:
        raise ValueError("less than 0.01, with which nothing could run")
    return found


@shaped(**SIZE)
def log_size(value: Any) -> int:
    """The size at which a log is rotated."""
    found = quantity.size(value)
    if found < LEAST_LOG:
        raise ValueError("less than 64K, which is not worth a file")
    return found


@shaped(**DURATION)
def positive_duration(value: Any) -> float:
    """A duration longer than nothing."""
    found = quantity.duration(value)
    if not found:
        raise ValueError("0 is not long enough")
    return found


@shaped(**DURATION)
def probe_duration(value: Any) -> float:
    """A duration that a probe can keep to without being a load."""
    found = quantity.duration(value)
    if found < LEAST_PROBE:
        raise ValueError(f"shorter than {LEAST_PROBE * 1000:g}ms")
    return found


duration = shaped(**DURATION)(quantity.duration)
size = shaped(**SIZE)(quantity.size)
cpus = shaped(**CPUS)(quantity.cpus)
