"""Files that commands write whole or not at all, and progress over what is sent and received."""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from muster import output
from muster.deploying import Failed

PIECE = 1 << 18


@contextlib.contextmanager
def part(file: Path, command: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """`FILE.part`, for one of us; gone afterwards unless it became FILE."""
    path = file.with_name(file.name + ".part")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        out = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    with out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"another muster {command} is writing {path}") from None
        try:
            os.fchmod(out.fileno(), 0o600)
            out.truncate()
            yield path, out
        except OSError as error:
            raise Failed(f"{path}: {error.strerror or error}") from None
        finally:
            path.unlink(missing_ok=True)


def appear(part: Path, file: Path, *, force: bool) -> None:
    """Under its own name, whole; never over a file that came there meanwhile."""
    if force:
        part.replace(file)
    else:
        try:
            file.hardlink_to(part)
        except FileExistsError:
            raise Failed(f"{file} has come to be there meanwhile; --force replaces it") from None
        except OSError:  # a file system without links
            part.rename(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def pieces(stream: IO[bytes], show: Callable[[int], None]) -> Iterator[bytes]:
    """What a file holds, shown how far it was read."""
    done = 0
    while piece := stream.read(PIECE):
        done += len(piece)
        show(done)
        yield piece


def note_on_terminal(text: str) -> None:
    """Say what takes long, to who watches."""
    if sys.stderr.isatty():
        output.note(text)


def meter(verb: str, whole: int) -> Callable[[int], None]:
    """Shows progress on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(done: int) -> None:
        end = "\n" if done >= whole else "\r"
        sys.stderr.write(f"{verb} {output.size(done)} of {output.size(whole)}{end}")
        sys.stderr.flush()

    return show
