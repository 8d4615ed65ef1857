"""`muster export` and `muster import`: all records as lines, from one system into another, of any store."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import click

from muster import context, output
from muster.cli import form_option, main, speaks, url_option
from muster.client import Client
from muster.deploying import Failed
from muster.saving import appear, meter, note_on_terminal, part, pieces

LONGEST_END = 4096


@main.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@url_option
@form_option
@speaks
def export(file: Path, url: str | None, form: str, force: bool) -> None:  # noqa: FBT001
    """Write all records to FILE, as JSON lines: templates, deployments, nodes, devices, groups.

    `muster import FILE` takes them into another system, whatever kind of store that has; a backup
    (`muster backup`) goes back only into a store of its own kind. FILE may hold secrets of tasks: it is
    readable by you alone.
    """
    client = context.connect(url)
    if file.exists() and not force:
        raise Failed(f"{file} is there already; --force replaces it")
    with part(file, "export") as (path, out):
        end, size = _receive(client, out)
        appear(path, file, force=force)
    if form == "json":
        output.as_json({"file": str(file), "size": size, **end})
    else:
        print(f"{file}: {end['lines'] - 1} records at revision {end['rev']}, {output.size(size)}")


def _receive(client: Client, out: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Write the lines down as they come; the end line, and how many bytes there are."""
    digest, lines, size, last = hashlib.sha256(), 0, 0, b""
    for line in client.lines("/v1/export"):
        if last:
            digest.update(last)
            lines += 1
        last = line
        out.write(line)
        size += len(line)
    try:
        end = json.loads(last).get("end") if len(last) <= LONGEST_END else None
    except (ValueError, AttributeError):
        end = None
    if not end or (end["lines"], end["sha256"]) != (lines, digest.hexdigest()):
        raise Failed(f"the export broke off after {lines} lines; the manager's log may say why. Try again")
    out.flush()
    os.fsync(out.fileno())
    return end, size


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do it; otherwise it is only said what would be done.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "move", "merge"]),
    default="auto",
    help="move: the whole cluster moves into an empty system; merge: what people said comes into this one; "
    "auto: whichever fits.",
    show_default=True,
)
@click.option(
    "--conflict",
    type=click.Choice(["refuse", "skip", "replace"]),
    default="refuse",
    help="What becomes of records that are here and say something else.",
    show_default=True,
)
@url_option
@form_option
@speaks
def import_(file: Path, url: str | None, form: str, mode: str, conflict: str, yes: bool) -> None:  # noqa: FBT001
    """Take in what `muster export` wrote to FILE.

    Into an empty system the whole cluster moves in: stop the old manager first, and let the new one answer
    where the old one did; its agents find it, and their tasks go on meanwhile. Into a living system come
    templates, groups, devices and living deployments, which are placed anew. Without --yes it says what
    would be done, and changes nothing; at a terminal it asks then.
    """
    client = context.connect(url)
    note_on_terminal("the manager looks at the file …")
    asked = {"mode": mode, "conflict": conflict}
    plan = _send(client, file, {**asked, "dry_run": "true"})
    if form == "table":
        _explain(plan, "would be ")
    if not yes and not (form == "table" and sys.stdin.isatty() and click.confirm("Import it?", err=True)):
        if form == "json":
            output.as_json(plan)
        output.note("nothing was changed; --yes imports it")
        return
    meant = {"confirm": "true"} if plan.get("stops") else {}  # only what was shown
    done = _send(client, file, {**asked, **meant, "mode": plan["mode"]})
    if form == "json":
        output.as_json(done)
    else:
        _explain(done, "")


def _send(client: Client, file: Path, asked: dict[str, str]) -> dict[str, Any]:
    size = file.stat().st_size
    with file.open("rb") as source:
        sent = pieces(source, meter("sent", size))
        found: dict[str, Any] = client.upload("POST", f"/v1/import?{urlencode(asked)}", sent, size)
        return found


def _explain(said: dict[str, Any], would: str) -> None:
    if said["mode"] == "move":
        print(f"cluster {said['cluster']} {'would move' if would else 'has moved'} in whole")
    kinds = said["records"]
    words = [word for word in ("made", "same", "replaced", "skipped", "conflicts") if _any(kinds, word)]
    output.table(
        ["KIND", *(word.upper() for word in words)],
        [[kind, *(row[w] for w in words)] for kind, row in kinds.items()],
    )
    for each in said["conflicts"]:
        then = "a conflict" if each["then"] == "conflicts" else f"{would}{each['then']}"
        print(f"{each['kind']} {each['name']}: {each['why']}: {then}")
    for each in said.get("stops", ()):
        print(each)
    if not would and said["epoch"]:
        print(f"epoch {said['epoch']} begins")


def _any(kinds: dict[str, dict[str, int]], word: str) -> bool:
    return word == "made" or any(row[word] for row in kinds.values())
