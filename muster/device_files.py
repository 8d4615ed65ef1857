"""`muster device import` and `export`: the inventory as a CSV file, line by line, however long it is."""

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import click

from muster import context, device_words, output
from muster.cli import FAILED, examples, form_option, speaks, url_option
from muster.client import Client
from muster.deploying import Failed
from muster.devices import device
from muster.progress import Ticker
from muster.saving import appear, part, pieces

Json = dict[str, Any]
STDIO = Path("-")
TOLD_EVERY = 1000
SPOOLED = 1 << 20
_WORDS = ("created", "changed", "same", "refused")


class _Ticker(Ticker):
    """Only for those who watch."""

    def bytes(self, text: str) -> None:
        if sys.stderr.isatty():
            super().bytes(text)


def show(rows: list[Json]) -> None:
    """Print devices as a CSV file."""
    with _open_stdout() as out:
        out(device_words.as_csv(rows).encode())


@contextlib.contextmanager
def _open_stdout() -> Iterator[Callable[[bytes], object]]:
    """Bytes as they are; whoever stops reading ends it quietly."""

    class Closed(Exception):
        pass

    def write(data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise Closed from None

    sys.stdout.flush()
    try:
        yield write
    except Closed:
        _to_nobody()


def _tell(text: str) -> None:
    """A line to stdout; an import goes on though nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _to_nobody()


def _to_nobody() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail


@device.command(
    "export",
    epilog=examples(
        "muster device export devices.csv",
        "muster device export - | grep T-1000",
    ),
)
@click.argument("file", metavar="FILE|-", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@url_option
@speaks
def export(file: Path, url: str | None, force: bool) -> None:  # noqa: FBT001
    """Write all devices to FILE as CSV, or to stdout (-).

    What a spreadsheet would take for a formula has a ' before it, which an import takes away. Some of them
    only: `muster devices --model T-1 -o csv`.
    """
    client = context.connect(url)
    if file == STDIO:
        with _open_stdout() as write:
            _receive(client, write)
        return
    if not file.name:
        raise click.UsageError("FILE is empty")
    if file.exists() and not force:
        raise Failed(f"{file} is there already; --force replaces it")
    with part(file, "device export") as (where, out):
        lines, size = _receive(client, out.write)
        out.flush()
        os.fsync(out.fileno())
        appear(where, file, force=force)
    print(f"{file}: {lines - 1} devices, {output.size(size)}")


def _receive(client: Client, write: Callable[[bytes], object]) -> tuple[int, int]:
    """Write the file down as it comes; its lines and bytes."""
    ticker, lines, size = _Ticker(), 0, 0
    try:
        with client.export_devices() as answer:
            for piece in answer.pieces():
                write(piece)
                lines += piece.count(b"\n")  # no device holds a line end
                size += len(piece)
                ticker.bytes(f"{output.size(size)} received")
    finally:
        ticker.clear()
    return lines, size


@device.command(
    "import",
    epilog=examples(
        "muster device import devices.csv --dry-run",
        "muster device import devices.csv",
        "muster device import devices.csv --match sn",
    ),
)
@click.argument(
    "file", metavar="FILE|-", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--dry-run", is_flag=True, help="Only say what would come of it.")
@click.option(
    "--match", type=click.Choice(["sn"]), help="Find devices of lines without an id by their serial number."
)
@url_option
@form_option
@speaks
def import_(file: Path, url: str | None, form: str, dry_run: bool, match: Literal["sn"] | None) -> None:  # noqa: FBT001
    """Take in the devices of a CSV file, or of stdin (-).

    A line without an id, or with one that is not there, makes a device; others change it, and only what they
    say otherwise. A bad line is refused with its reason, and does not hold up the others: exit code 1.
    Whoever imports a file without ids twice has all devices twice, unless --match sn finds them again:
    `muster device export` writes the ids.
    """
    client = context.connect(url)
    with _opened(file) as (source, size):
        asked: Any = {"dry_run": dry_run or None, "match": match}
        refused, counts = _send(client, source, size, asked, tell=form == "table")
    if form == "json":
        output.as_json({**counts, "lines": refused})
    else:
        would = "would be " if dry_run else ""
        _tell(", ".join(f"{counts[word]} {would}{word}" for word in _WORDS))
    if counts["refused"]:
        sys.exit(FAILED)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A file and its bytes; what is no plain file is read to its end first.

    Raises:
        Failed: it cannot be read.
    """
    try:
        with contextlib.ExitStack() as stack:
            source: IO[bytes] = sys.stdin.buffer if file == STDIO else stack.enter_context(file.open("rb"))
            if file != STDIO and stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                size = os.fstat(source.fileno()).st_size
            else:
                kept = stack.enter_context(tempfile.SpooledTemporaryFile(SPOOLED))
                size = sum(kept.write(piece) for piece in iter(lambda: source.read(SPOOLED), b""))
                kept.seek(0)
                source = kept
            opened = (source, size)
            yield opened
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or error}") from None


def _send(
    client: Client, source: IO[bytes], size: int, asked: dict[str, Any], *, tell: bool
) -> tuple[list[Json], Json]:
    """The lines that were refused, and the numbers of all.

    Raises:
        Failed: the report did not come to its end.
    """
    refused: list[Json] = []
    ticker, seen, last = _Ticker(), 0, 0
    sent = pieces(source, lambda done: ticker.bytes(f"sent {output.size(done)} of {output.size(size)}"))
    headers = {"Content-Type": "text/csv"}
    try:
        with client.import_devices(sent, size, **asked, headers=headers) as answer:
            for line in answer.lines():
                said = json.loads(line) if line.endswith(b"\n") else {}
                if "created" in said:
                    if "error" in said:
                        raise Failed(_broken(last, said["error"]))
                    return refused, said
                seen, last = seen + 1, said.get("line", last)
                if seen % TOLD_EVERY == 1:
                    ticker.bytes(f"line {last}")
                if said.get("result") == "refused":
                    refused.append(said)
                    if tell:
                        ticker.clear()
                        _tell(f"line {last}: {said['error']}" + (f" ({said['id']})" if said["id"] else ""))
    finally:
        ticker.clear()
    raise Failed(_broken(last, "the manager's answer broke off"))


def _broken(line: int, why: str) -> str:
    return (
        f"{why}; up to line {line} it is done. Import the lines after it (some may be there already: "
        "compare with muster device export), or all of the file again if each of them has an id"
    )
