"""Commands on workspaces: one container per user."""

import time
from typing import Any

import click

from muster import context, output
from muster.cli import examples, form_option, main, speaks, timeout_option, url_option, wait_option
from muster.client import Client
from muster.deploying import Failed, TimedOut

Json = dict[str, Any]
LOOK_EVERY = 0.5
UP, OVER = ("RUNNING",), ("COMPLETED", "FAILED", "STOPPING", "STOPPED")
everything_option = click.option(
    "-a", "--all", "everything", is_flag=True, help="Also, of each user, the last one that is over."
)


@main.command()
@everything_option
@url_option
@form_option
@speaks
def workspaces(everything: bool, url: str | None, form: str) -> None:  # noqa: FBT001
    """List the workspaces, newest first."""
    _list(url, form, everything=everything)


@main.group(
    epilog=examples(
        "muster workspace create jane",
        "muster workspaces",
        "muster workspace rm jane",
    ),
)
def workspace() -> None:
    """Look after workspaces: one container per user."""


@workspace.command("ls")
@everything_option
@url_option
@form_option
@speaks
def ls(everything: bool, url: str | None, form: str) -> None:  # noqa: FBT001
    """List the workspaces; the same as `muster workspaces`."""
    _list(url, form, everything=everything)


def _list(url: str | None, form: str, *, everything: bool) -> None:
    found = context.connect(url).list_workspaces(all=everything or None)["data"]
    if form == "json":
        output.as_json(found)
        return
    rows = [
        (
            row["user_id"],
            row["status"],
            row["node"],
            row["url"],
            output.ago(row["created"]),
            _left(row),
            row["reason"],
        )
        for row in found
    ]
    output.table(("USER", "STATUS", "NODE", "URL", "SINCE", "ENDS IN", "REASON"), rows)


def _left(row: Any) -> str:
    """How long it still has."""
    return "" if row["ends"] is None else output.ago(2 * time.time() - row["ends"])


@workspace.command()
@click.argument("user", metavar="USER")
@wait_option
@timeout_option
@url_option
@form_option
@speaks
def create(user: str, wait: bool, timeout: float, url: str | None, form: str) -> None:  # noqa: FBT001
    """Start a user's workspace, or find the one that lives; where it answers is printed."""
    client = context.connect(url)
    row: Json = dict(client.create_workspace({"user_id": user}))
    if not row["made"]:
        output.note(f"{user} has this workspace already")
    if wait:
        row = _wait_up(client, user, row, timeout)
    if form == "json":
        output.as_json(row)
    elif row["url"]:
        print(row["url"])
    else:
        output.note(f"{row['status']}: it is not decided yet where it runs; see muster workspaces")


def _wait_up(client: Client, user: str, row: Json, seconds: float) -> Json:
    """Wait until its task runs.

    Raises:
        Failed: it is over. TimedOut: it took longer.
    """
    deadline = time.monotonic() + seconds
    while row["status"] not in UP:
        if row["status"] in OVER:
            raise Failed(f"{row['status']}: {row['reason'] or 'it is over'}")
        if time.monotonic() > deadline:
            raise TimedOut(f"still {row['status']} after {seconds:g} s: {row['reason'] or 'no reason given'}")
        time.sleep(LOOK_EVERY)
        row = dict(client.get_workspace(user))
    return row


@workspace.command()
@click.argument("users", metavar="USER...", nargs=-1, required=True)
@url_option
@speaks
def rm(users: tuple[str, ...], url: str | None) -> None:
    """Stop users' workspaces; their data stays."""
    client = context.connect(url)
    for user in users:
        if not user:
            raise click.UsageError("USER is empty")
        client.delete_workspace(user)
        print(user)


@workspace.command()
@click.option(
    "--images",
    is_flag=True,
    help="Also remove images from all nodes that no container uses and no template names: those that were "
    "built there are gone for good.",
)
@url_option
@form_option
@speaks
def cleanup(images: bool, url: str | None, form: str) -> None:  # noqa: FBT001
    """Forget ended workspaces; users' data stays."""
    done = context.connect(url).clean_up_workspaces({"images": images})
    if form == "json":
        output.as_json(done)
        return
    print(f"{len(done['removed'])} ended workspaces are forgotten within a minute")
    if done["images"]:
        print(f"images are removed by deployment {done['images']}: muster logs {done['images']} says which")
