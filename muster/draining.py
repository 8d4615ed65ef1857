"""`muster node drain`: what a drain would do, what it does, how far it is."""

import time
from typing import Any

import click

from muster import context, deploying, output
from muster.cli import form_option, speaks, timeout_option, url_option
from muster.client import Client
from muster.nodes import LOOK_EVERY, Json, named, node, scheduling


@node.command()
@click.argument("name", metavar="NODE")
@click.option("--deadline", metavar="TIME", help="Such as 10m: what has not moved by then is stopped.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of what runs there.")
@click.option("--wait/--no-wait", default=False, help="Wait until it is done or stuck.", show_default=True)
@click.option("--yes", is_flag=True, help="Do it even if it moves most of a group at once.")
@timeout_option
@url_option
@form_option
@speaks
def drain(name: str, url: str | None, form: str, **asked: Any) -> None:
    """Have everything on a node run elsewhere; `uncordon` cancels it.

    Replacements are up before anything is stopped.
    """
    client = context.connect(url)
    if asked["dry_run"]:
        plan: Any = client.drain_node(named(name), {"dry_run": True})
        if form == "json":
            output.as_json(plan)
        else:
            for line in drain_lines(plan):
                print(line)
        return
    body: Any = {"deadline": asked["deadline"]} if asked["deadline"] else {}
    if asked["yes"]:
        body["confirm"] = True
    row: Any = client.drain_node(named(name), body)
    if asked["wait"]:
        row = wait_drained(client, name, asked["timeout"])
    if form == "json":
        output.as_json(row)
    else:
        print(name)


def drain_lines(plan: Json) -> list[str]:
    """What a drain would do, a line for each allocation."""
    rows = plan["allocations"]
    lines = [f"{len(rows)} allocations on {plan['node']}" if rows else f"nothing runs on {plan['node']}"]
    for row in rows:
        what = f"  {row['id']} ({row.get('template', '?')}, group {row['group']})"
        lines.append(
            f"{what}: to {row['to']}: {row['reason']}" if row.get("to") else f"{what}: {row['reason']}"
        )
    if plan.get("left_out"):
        lines.append(f"  and {plan['left_out']} more")
    return lines


def wait_drained(client: Client, name: str, seconds: float) -> Json:
    """Wait until a node is drained, and say how far it is.

    Raises:
        Failed: it is stuck, or was cancelled.
        TimedOut: it took longer than `seconds`.
    """
    deadline, said = time.monotonic() + seconds, ""
    while True:
        row: Json = dict(client.get_node(name))
        progress = row.get("drain") or {}
        text = scheduling(row) + (f": {progress['reason']}" if progress.get("reason") else "")
        if text != said:
            said = text
            output.note(f"  {name}: {text}")
        if row["scheduling"] != "draining":
            raise deploying.Failed(f"the drain of {name} was cancelled: it is {row['scheduling']}")
        if progress.get("state") == "done":
            return row
        if progress.get("state") == "stuck":
            raise deploying.Failed(f"{name} is stuck: {progress.get('reason') or 'no reason given'}")
        if time.monotonic() > deadline:
            raise deploying.TimedOut(f"{name} is not drained after {seconds:g} s: {text}")
        time.sleep(LOOK_EVERY)
