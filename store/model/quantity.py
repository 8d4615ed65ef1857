"""Durations, sizes and processor shares, as people write them."""

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:I?B)?", re.IGNORECASE)
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}
MOST_SECONDS = 10 * 365 * 86400.0


def duration(value: object) -> float:
    """Seconds in `"100ms"`, `"30s"`, `"5m"`, `"8h"`, `"7d"`, or several of them: `"1m30s"`.

    Raises:
        ValueError: it is not such a text, or over ten years.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a duration such as 100ms, 30s, 5m, 8h or 7d")
    seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in _PART.finditer(match[0]))
    if seconds > MOST_SECONDS:
        raise ValueError("longer than ten years")
    return seconds


def size(value: object) -> int:
    """Bytes in `"512M"`, `"2GiB"` or a plain number; 1024-based.

    Raises:
        ValueError: it is not such a text, or over an exabyte.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        result = value
    else:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError("not a size such as 512M or 2GiB")
        result = int(float(match[1]) * _BYTES[match[2].upper()])
    if result > 1024**6:
        raise ValueError("more than an exabyte")
    return result


def size_text(count: float) -> str:
    """Bytes for people: `80.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def cpus(value: object) -> float:
    """Processors in `"0.5"`, `1` or `2.0`.

    Raises:
        ValueError: it is not a number from 0 to 100,000.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number of processors such as 0.5")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("not a number of processors such as 0.5") from None
    if not 0 <= number <= 100_000:  # also refuses NaN
        raise ValueError("not a number of processors from 0 to 100000")
    return number
