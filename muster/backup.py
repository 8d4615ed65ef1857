"""`muster backup` and `muster restore`: the whole state of the store, as one file."""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import click

from muster import context, output
from muster.cli import form_option, main, speaks, timeout_option, url_option
from muster.client import Client, Refused, Unreachable
from muster.deploying import Failed, TimedOut

ABOUT = "X-Muster-Backup"
PIECE = 1 << 18
LOOK_EVERY = 0.2
KINDS = ("templates", "deployments", "nodes")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@url_option
@form_option
@speaks
def backup(file: Path, url: str | None, form: str, force: bool) -> None:  # noqa: FBT001
    """Write the whole state of the store to FILE: one moment of it, checked before it counts.

    FILE holds secrets of nodes and tasks: it is readable by you alone. `muster restore FILE` brings it
    back; so does putting it in the place of the manager's --db-path and starting the manager.
    """
    client = Client(context.manager_url(url))
    if file.exists() and not force:
        raise Failed(f"{file} is there already; --force replaces it")
    _note_on_terminal("the manager takes a snapshot and checks it …")
    with _part(file) as (part, out):
        about = _download(client, out)
        _appear(part, file, force=force)
    if form == "json":
        output.as_json({"file": str(file), **about})
    else:
        print(f"{file}: {_contents(about)}")
        print(f"{_size(about['size'])}, sha256 {about['sha256']}, {about['server']}, {about['verified']}")


@contextlib.contextmanager
def _part(file: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """`FILE.part`, for one of us; gone afterwards unless it became FILE."""
    part = file.with_name(file.name + ".part")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        out = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")
    except OSError as error:
        raise Failed(f"{part}: {error.strerror}") from None
    with out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"another muster backup is writing {part}") from None
        try:
            os.fchmod(out.fileno(), 0o600)
            out.truncate()
            yield part, out
        except OSError as error:
            raise Failed(f"{part}: {error.strerror or error}") from None
        finally:
            part.unlink(missing_ok=True)


def _download(client: Client, out: IO[bytes]) -> dict[str, Any]:
    found, done = hashlib.sha256(), 0
    with client.stream("/v1/backup") as answer:
        about: dict[str, Any] = json.loads(answer.headers.get(ABOUT) or "null") or {}
        if not about:
            raise Failed("what answers there is no manager that makes backups")
        show = _meter("received", about["size"])
        while piece := answer.read(PIECE):
            found.update(piece)
            out.write(piece)
            done += len(piece)
            show(done)
    if done != about["size"] or found.hexdigest() != about["sha256"]:
        raise Failed(f"the backup broke off: {done} of {about['size']} bytes came, or they came damaged")
    out.flush()
    os.fsync(out.fileno())
    return about


def _appear(part: Path, file: Path, *, force: bool) -> None:
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


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do it; otherwise it is only said what would be done.")
@url_option
@form_option
@timeout_option
@speaks
def restore(file: Path, url: str | None, form: str, yes: bool, timeout: float) -> None:  # noqa: FBT001
    """Bring back the state that FILE holds, while the fleet goes on running.

    Without --yes it says what would be lost and what would come back, and changes nothing; at a terminal it
    asks then. No task is stopped: what runs and is not in FILE stays, unclaimed.
    """
    client = Client(context.manager_url(url))
    digest = _digest(file)
    plan = _upload(client, file, {"sha256": digest})
    if form == "table":
        _explain(file, plan)
    if not yes and not (form == "table" and sys.stdin.isatty() and click.confirm("Restore it?", err=True)):
        if form == "json":
            output.as_json(plan)
        output.note("nothing was changed; --yes restores it")
        return
    epoch = plan["store"]["epoch"] if plan["store"] else ""
    done = _upload(client, file, {"sha256": digest, "epoch": epoch})
    _wait_ready(client, timeout)
    if form == "json":
        output.as_json(done)
    else:
        restored = done["restored"]
        print(f"restored: epoch {restored['epoch']} begins at revision {restored['rev']}")


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from None


class _Metered:
    """A file that shows how far it was read."""

    def __init__(self, stream: IO[bytes], show: Callable[[int], None]) -> None:
        self._stream = stream
        self._show = show
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._done += len(piece)
        self._show(self._done)
        return piece


def _upload(client: Client, file: Path, asked: dict[str, str]) -> dict[str, Any]:
    """What the manager says of a file; with `epoch`, once it has restored it."""
    query = "&".join(f"{urlencode({key: value})}" for key, value in asked.items())
    size = file.stat().st_size
    with file.open("rb") as stream:
        body: Any = _Metered(stream, _meter("sent", size))
        with client.stream(f"/v1/restore?{query}", body, size) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


def _wait_ready(client: Client, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.get("/readyz")
            return
        except (Unreachable, Refused) as error:
            if time.monotonic() > deadline:
                raise TimedOut(f"restored, but the manager is not ready yet: {error}") from None
        time.sleep(LOOK_EVERY)


def _explain(file: Path, plan: dict[str, Any]) -> None:
    found, alive = plan["file"], plan["store"]
    made = f", made {output.ago(found['made'])} ago" if found["made"] else ""
    print(f"{file}: {_contents(found)}, {found['server']}{made}")
    print(f"the store: {_contents(alive) if alive else 'empty'}")
    said = False
    for kind in KINDS:
        differences = plan["differences"][kind]
        for name, text in (
            ("made", "would be lost, made since"),
            ("changed", "would be as they were, changed since"),
            ("back", "would come back"),
            ("again", "would run again, stopped since"),
        ):
            row = differences.get(name, {"count": 0})
            if row["count"]:
                said = True
                more = ", …" if row["count"] > len(row["names"]) else ""
                print(f"{row['count']} {kind} {text}: {', '.join(row['names'])}{more}")
    if not said:
        print("templates, deployments and nodes are the same in both")
    print("no task is stopped: what runs and is not in the file stays, unclaimed")


def _contents(about: dict[str, Any]) -> str:
    if "cluster" not in about:
        return "contents unknown"
    counts = ", ".join(f"{about[kind]} {kind}" for kind in KINDS)
    return f"cluster {about['cluster']}, epoch {about['epoch']}, revision {about['rev']}; {counts}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _note_on_terminal(text: str) -> None:
    if sys.stderr.isatty():
        output.note(text)


def _meter(verb: str, whole: int) -> Callable[[int], None]:
    """Shows progress on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(done: int) -> None:
        end = "\n" if done >= whole else "\r"
        sys.stderr.write(f"{verb} {_size(done)} of {_size(whole)}{end}")
        sys.stderr.flush()

    return show
