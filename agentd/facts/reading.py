"""Small files of the kernel and the firmware: read whole, or not at all."""

from pathlib import Path

MOST = 4096
ROOT = Path("/")


def text(path: Path) -> str | None:
    """The one line of a file, without what surrounds it; None: it is not there, not for us, or empty."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST)
    except OSError:
        return None
    return raw.decode(errors="replace").replace("\x00", " ").strip() or None


def number(path: Path) -> int | None:
    """The number in a file."""
    found = text(path)
    return int(found) if found is not None and found.isascii() and found.isdigit() else None


def names(path: Path) -> list[str]:
    """What is in a directory, sorted; nothing if it cannot be read."""
    try:
        return sorted(each.name for each in path.iterdir())
    except OSError:
        return []
