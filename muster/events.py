"""What happened and why: `muster events`."""

import json
import os
import sys
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import click

from muster import context, output
from muster.cli import form_option, main, speaks, url_option
from muster.client import Client, MusterError, Refused
from muster.client.following import BEGINNING
from muster.output import note

MOST_ROWS = 1000
"""What the manager answers in one page."""


@main.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--deployment", metavar="ID", help="Only of this deployment; the beginning of its id is enough."
)
@click.option("--node", metavar="NODE", help="Only of this node.")
@click.option("--kind", metavar="KIND", help="Only of this kind: deployment, node.offline, api, …")
@click.option(
    "--since", metavar="WHEN", help="From then on: 10m, 2026-01-31T12:00:00Z, or seconds since 1970."
)
@click.option(
    "-n", "count", default=50, type=click.IntRange(0), show_default=True, help="How many, the newest."
)
@url_option
@form_option
@speaks
def events(follow: bool, count: int, url: str | None, form: str, **asked: str | None) -> None:  # noqa: FBT001
    """Print what was decided and done, and why; the newest last.

    With -o json: a list, or one object a line when following.
    """
    client = context.connect(url)
    given = {name: value for name, value in asked.items() if value is not None}
    if "deployment" in given:
        given["deployment"] = _whole(client, given["deployment"])
    try:
        _print(client, given, count, follow=follow, form=form)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail


def _whole(client: Client, prefix: str) -> str:
    """A deployment's id by its beginning; what is not there any more is asked for as it was given."""
    from muster import deploying

    try:
        return deploying.find(client, prefix)
    except Refused as error:
        if error.status != 404:
            raise
        return prefix


def _print(client: Client, asked: dict[str, str], count: int, *, follow: bool, form: str) -> None:
    newest = client.get("/v1/events?limit=1")["data"] if follow else []
    rows = _newest(client, asked, count)
    if form == "json" and not follow:
        output.as_json(rows)
        return
    for row in rows:
        _show(row, form)
    if follow:
        last = max([row["id"] for row in [*newest, *rows]], key=_order, default=BEGINNING)
        for row in client.follow_events(
            deployment=asked.get("deployment"), node=asked.get("node"), kind=asked.get("kind"),
            after=last, on_trouble=_say_away,
        ):  # fmt: skip
            _show(row, form)


def _newest(client: Client, asked: dict[str, str], count: int) -> list[dict[str, Any]]:
    """The newest events, the oldest first."""
    rows: list[dict[str, Any]] = []
    cursor = None
    while len(rows) < count:
        page = {**asked, "limit": str(min(MOST_ROWS, count - len(rows)))}
        answer = client.get(f"/v1/events?{urlencode(page | ({'cursor': cursor} if cursor else {}))}")
        rows += answer["data"]
        cursor = answer["next"]
        if cursor is None:
            break
    return rows[::-1]


def _say_away(error: MusterError) -> None:
    note(f"muster: {error}; going on when it is back")


def _order(number: str) -> tuple[int, int]:
    ms, _, n = number.partition("-")
    return int(ms), int(n)


def _show(row: dict[str, Any], form: str) -> None:
    print(json.dumps(row, ensure_ascii=False) if form == "json" else line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """An event on one line: time, kind, subject, reason."""
    when = datetime.fromtimestamp(row["time"]).astimezone().isoformat(timespec="seconds")
    about = row["subject"]
    named = about.get("allocation") or about.get("deployment") or about.get("template") or ""
    node = about.get("node", "")
    where = f"{named}@{node}" if named and node else named or node or "-"
    data = row.get("data")
    remote = data.get("remote") if isinstance(data, dict) else None
    who = f" from {remote}" if remote else ""
    return f"{when}  {row['kind']:<20}  {where}  {' '.join((row['reason'] + who).split())}"
