"""`muster explain`: why a deployment is where it is, what is missing, what it waits for."""

from typing import Any

import click

from muster import context, deploying, output
from muster.cli import form_option, main, speaks, url_option
from muster.doctor import clean

Json = dict[str, Any]
MOST_REASONS = 10
MOST_ROWS = 200


@main.command()
@click.argument("deployment", metavar="ID")
@url_option
@form_option
@speaks
def explain(deployment: str, url: str | None, form: str) -> None:
    """Explain where a deployment runs and why, what of it is missing, and what it waits for."""
    if not deployment:
        raise click.UsageError("ID is empty")
    client = context.connect(url)
    said: Json = dict(client.explain_deployment(deploying.find(client, deployment)))
    if form == "json":
        output.as_json(said)
        return
    for line in lines(said):
        print(line)


def lines(said: Json) -> list[str]:
    """The answer for people."""
    reason = f": {said['reason']}" if said["reason"] else ""
    found = [f"{said['id']}  {said['template']}  {said['status']}{reason}"]
    found += [f"  {text}" for text in said["waits"]]
    for group in said["groups"]:
        found.append(
            f"group {group['name']}: {group['up']} of {group['wanted']} up, {group['placed']} placed"
        )
        found += [_allocation(row) for row in group["allocations"][:MOST_ROWS]]
        more = len(group["allocations"][MOST_ROWS:]) + group["left_out"]
        if more:
            found.append(f"  and {more} more")
        for each in group["missing"]:
            found += _missing(each)
    found += [
        f"stopping {row['id']} on {row['node']}: {row['why']}; {row['waits']}" for row in said["stopping"]
    ]
    return [clean(line) for line in found]


def _allocation(row: Json) -> str:
    since = f" since {output.ago(row['since'])}" if row.get("since") else ""
    reason = f" ({row['reason']})" if row["reason"] else ""
    moves = f"; {row['moves']}" if row.get("moves") else ""
    name = row["id"].rpartition(".")[2] + (" canary" if row.get("canary") else "")
    return f"  {name} on {row['node']} {row['state']}{since}{reason}: {row['why']}{moves}"


def _missing(each: Json) -> list[str]:
    """Missing instances, and below them what the nodes say, grouped."""
    which = ", ".join(map(str, each["indexes"][:MOST_REASONS]))
    which += ", …" if len(each["indexes"]) > MOST_REASONS else ""
    found = [f"  missing {each['count']}{f' (index {which})' if which else ''}: {each['reason']}"]
    first: dict[str, str] = {}
    for row in each["nodes"]:
        first.setdefault(row["reason"], row["node"])
    reasons = list(each.get("reasons", {}).items())
    for reason, count in reasons[:MOST_REASONS]:
        who = (
            f"node {first[reason]}"
            if count == 1 and reason in first
            else f"{count} node{'' if count == 1 else 's'}"
        )
        found.append(f"    {who}: {reason}")
    if len(reasons) > MOST_REASONS:
        found.append(f"    and {len(reasons) - MOST_REASONS} other reasons")
    return found
