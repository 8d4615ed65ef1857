"""`muster backup` and `muster restore`: the whole state of the store, as one file."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

import click

from muster import context, output
from muster.cli import form_option, main, speaks, timeout_option, url_option
from muster.client import Client, Refused, Unreachable
from muster.deploying import Failed, TimedOut
from muster.saving import appear, meter, note_on_terminal, part, pieces

ABOUT = "X-Muster-Backup"
LOOK_EVERY = 0.2
KINDS = ("templates", "deployments", "nodes", "devices", "groups")


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
    client = context.connect(url)
    if file.exists() and not force:
        raise Failed(f"{file} is there already; --force replaces it")
    note_on_terminal("the manager takes a snapshot and checks it …")
    with part(file, "backup") as (path, out):
        about = _download(client, out)
        appear(path, file, force=force)
    if form == "json":
        output.as_json({"file": str(file), **about})
    else:
        print(f"{file}: {_contents(about)}")
        print(
            f"{output.size(about['size'])}, sha256 {about['sha256']}, {about['server']}, {about['verified']}"
        )


def _download(client: Client, out: IO[bytes]) -> dict[str, Any]:
    found, done = hashlib.sha256(), 0
    with client.create_backup() as answer:
        about: dict[str, Any] = json.loads(answer.headers.get(ABOUT.lower()) or "null") or {}
        if not about:
            raise Failed("what answers there is no manager that makes backups")
        show = meter("received", about["size"])
        for piece in answer.pieces():
            found.update(piece)
            out.write(piece)
            done += len(piece)
            show(done)
    if done != about["size"] or found.hexdigest() != about["sha256"]:
        raise Failed(f"the backup broke off: {done} of {about['size']} bytes came, or they came damaged")
    out.flush()
    os.fsync(out.fileno())
    return about


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
    client = context.connect(url)
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


def _upload(client: Client, file: Path, asked: dict[str, str]) -> dict[str, Any]:
    """What the manager says of a file; with `epoch`, once it has restored it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        sent = pieces(stream, meter("sent", size))
        return dict(client.restore_backup(sent, size, sha256=asked["sha256"], epoch=asked.get("epoch")))


def _wait_ready(client: Client, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.get_readiness()
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
        differences = plan["differences"].get(kind, {})  # an earlier manager compares less
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
        print(f"{', '.join(KINDS[:-1])} and {KINDS[-1]} are the same in both")
    print("no task is stopped: what runs and is not in the file stays, unclaimed")


def _contents(about: dict[str, Any]) -> str:
    if "cluster" not in about:
        return "contents unknown"
    counts = ", ".join(f"{about[kind]} {kind}" for kind in KINDS if kind in about)
    return f"cluster {about['cluster']}, epoch {about['epoch']}, revision {about['rev']}; {counts}"
