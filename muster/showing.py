"""`muster ps`: deployments with their tasks."""

from typing import Any
from urllib.parse import urlencode

import click

from muster import brake, context, output, progress, rolling
from muster.cli import form_option, main, speaks, url_option

TITLES = (
    "ID", "NAME", "TEMPLATE", "STATUS", "TASK", "NODE", "STATE", "HEALTH", "PID", "EXIT", "RESTARTS", "SINCE",
    "CPU", "MEMORY", "REASON",
)  # fmt: skip
SHOWN = ("PENDING", "RUNNING", "DEGRADED", "FAILED", "STOPPING")
"""Without --all: what lives, and what failed and nobody has seen to."""


@main.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--template", help="Only deployments of this template.")
@click.option("--node", help="Only what is on this node.")
@click.option("--status", help="Only deployments so: RUNNING, or several: FAILED,DEGRADED.")
@url_option
@form_option
@speaks
def ps(everything: bool, url: str | None, form: str, **filters: str | None) -> None:  # noqa: FBT001
    """List deployments with their tasks."""
    client = context.connect(url)
    asked = {key: value for key, value in filters.items() if value is not None}
    if not everything:
        asked.setdefault("status", ",".join(SHOWN))
    found = client.get("/v1/deployments" + (f"?{urlencode(asked)}" if asked else ""))["data"]
    if form == "json":
        output.as_json(found)
        return
    brake.warn(client)
    lost = client.list_unclaimed()["total"]
    if lost:
        output.note(f"{lost} allocations run unclaimed: see `muster unclaimed`, then adopt or stop them")
    rows = [_row(row, task, name) for row in found for task, name in _tasks(row, asked.get("node"))]
    named = any(row.get("name") for row in found)
    keep = [place for place, title in enumerate(TITLES) if title != "NAME" or named]
    output.table([TITLES[place] for place in keep], [[cells[place] for place in keep] for cells in rows])


def _tasks(row: dict[str, Any], node: str | None) -> list[tuple[dict[str, Any], str | None]]:
    named = zip(row["tasks"], output.task_names(row["tasks"]), strict=True)
    return [each for each in named if node in (None, each[0].get("node"))] or [({}, None)]


def _row(row: dict[str, Any], task: dict[str, Any], name: str | None) -> tuple[Any, ...]:
    return (
        row["id"][:8],
        row.get("name"),
        row["template"],
        rolling.shown(row),
        name,
        task.get("node"),
        task.get("state"),
        task.get("health"),
        task.get("pid"),
        task.get("exit_code"),
        task.get("restarts"),
        output.ago(task.get("started")),
        _share(task.get("usage")),
        _size(task.get("usage")),
        _why(task) or ("" if row["tasks"] else row["reason"]),
    )


def _why(task: dict[str, Any]) -> str:
    told = (progress.amount(task.get("fetch")) if task.get("state") == "fetching" else "", task.get("reason"))
    return "; ".join(each for each in told if each) or _ill(task)


def _ill(task: dict[str, Any]) -> str:
    return task.get("health_reason", "") if task.get("health") == "unhealthy" else ""


def _share(usage: dict[str, Any] | None) -> str | None:
    return None if usage is None else f"{usage['cpu']:.0f}%"


def _size(usage: dict[str, Any] | None) -> str | None:
    return None if usage is None else f"{usage['rss'] / 1024**2:.0f}M"
