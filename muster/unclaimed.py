"""Commands for a store that lost its memory: recover it, adopt or stop what still runs."""

import sys
import time
from typing import Any

import click

from muster import context, deploying, output
from muster.cli import form_option, main, speaks, timeout_option, url_option, wait_option
from muster.client import Client, Refused

TITLES = ("DEPLOYMENT", "TEMPLATE", "ALLOCATION", "NODE", "TASK", "STATE", "PID", "CLAIMED")


def listed(client: Client) -> list[dict[str, Any]]:
    """The rows of unclaimed work."""
    rows: list[dict[str, Any]] = client.get("/v1/unclaimed")["data"]
    return rows


@main.command()
@url_option
@form_option
@speaks
def unclaimed(url: str | None, form: str) -> None:
    """List what runs although the store does not know why; adopt it or stop it."""
    found = listed(context.connect(url))
    if form == "json":
        output.as_json(found)
        return
    rows = [
        (row["deployment"], row["template"], row["allocation"], row["node"], task.get("name"),
         task.get("state"), task.get("pid"), row["claimed"])
        for row in found
        for task in row["tasks"] or [{}]
    ]  # fmt: skip
    output.table(TITLES, rows)


@main.command()
@click.argument("deployments", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All unclaimed work of all nodes.")
@url_option
@wait_option
@timeout_option
@speaks
def adopt(
    deployments: tuple[str, ...],
    everything: bool,  # noqa: FBT001
    url: str | None,
    wait: bool,  # noqa: FBT001
    timeout: float,
) -> None:
    """Make unclaimed work a deployment again, without touching what runs; the beginning of an id is enough.

    Templates that the store has lost are made again from what the nodes know of them.
    """
    if bool(deployments) == everything:
        raise click.UsageError("name deployments, or say --all")
    client = context.connect(url)
    claim(client, deployments, "adopt", wait=wait, timeout=timeout)


def claim(client: Client, deployments: tuple[str, ...], verb: str, *, wait: bool, timeout: float) -> None:
    """Adopt or stop the unclaimed work of some deployments; of all, when none is named.

    Raises:
        Refused: 404 when there is none; what the manager refuses, after all else was done.
        TimedOut: nodes or controller took longer than `timeout` seconds.
    """
    say = client.adopt_unclaimed if verb == "adopt" else client.stop_unclaimed
    ids = sorted({str(row["deployment"]) for row in listed(client)})
    chosen = [_find(ids, each) for each in deployments] if deployments else ids
    refused: Refused | None = None
    claimed: set[str] = set()
    for each in chosen:
        try:
            claimed |= set(say(each)["allocations"])
            print(each)
        except Refused as error:
            output.note(f"{each}: {error}")
            refused = error
    if not chosen:
        output.note("nothing is unclaimed")
    if wait and claimed:
        _wait(client, claimed, timeout)
    if refused is not None:
        raise refused


def _find(ids: list[str], prefix: str) -> str:
    found = [each for each in ids if each.startswith(prefix)] if prefix else []
    if len(found) > 1:
        raise deploying.Failed(f"{prefix} is the beginning of {len(found)} unclaimed deployments")
    if not found:
        raise Refused(404, {"error": f"nothing unclaimed belongs to a deployment {prefix}"})
    return found[0]


def _wait(client: Client, claimed: set[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := claimed & {f"{row['node']}/{row['allocation']}" for row in listed(client)}:
        if time.monotonic() > deadline:
            raise deploying.TimedOut(f"{len(left)} still unclaimed after {seconds:g} s: {min(left)}")
        time.sleep(deploying.LOOK_EVERY)


@main.command()
@click.option("--cluster", help="The cluster that lived in the store, if this manager does not know it.")
@click.option("--yes", is_flag=True, help="Do it; without it, only say what would be done.")
@url_option
@speaks
def recover(cluster: str | None, yes: bool, url: str | None) -> None:  # noqa: FBT001
    """Begin anew in a store that was emptied, as the cluster that lived there.

    Nothing that runs is stopped: the nodes join again, and their work is unclaimed until adopted.
    Where there is a backup, restore that instead.
    """
    client = context.connect(url)
    body: dict[str, Any] = {"cluster": cluster} if cluster else {}
    plan = client.post("/v1/recover", {**body, "dry_run": not yes})
    if yes:
        output.note(f"cluster {plan['cluster']} goes on in epoch {plan['epoch']}")
        output.note("its nodes join by themselves; then: muster unclaimed, muster adopt --all")
        return
    if plan["known"] not in (None, plan["cluster"]):
        output.note(f"look again: this manager knows cluster {plan['known']}; its nodes would be shut out")
    if plan["kept"]:
        output.note(
            "the store has lost its cluster id, epoch or revision; its records are there. With --yes,"
        )
        output.note(
            f"cluster {plan['cluster']} goes on with them in a new epoch; nothing that runs is stopped"
        )
        sys.exit(1)
    output.note(
        f"the store is empty; cluster {plan['cluster']} lived there, up to revision {plan['above_rev']}"
    )
    output.note("with --yes, it goes on in a new epoch: templates and deployments are gone, tasks run on,")
    output.note("unclaimed until `muster adopt`. Is there a backup? Then restore that instead.")
    sys.exit(1)
