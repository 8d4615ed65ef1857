"""`muster brake`: when much of the fleet vanished at once, nothing is rescheduled until people say so."""

from typing import Any

import click

from muster import context, output
from muster.cli import form_option, main, speaks, url_option
from muster.client import Client, Refused

Json = dict[str, Any]


@main.group(invoke_without_command=True)
@url_option
@form_option
@click.pass_context
@speaks
def brake(ctx: click.Context, url: str | None, form: str) -> None:
    """Say whether the brake is engaged: much of the fleet vanished at once, so nothing is rescheduled."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = url
        return
    state: Json = dict(context.connect(url).get_brake())
    if form == "json":
        output.as_json(state)
    else:
        print(sentence(state["engaged"]) or "the brake is not engaged")


@brake.command()
@url_option
@click.pass_obj
@speaks
def release(outer: str | None, url: str | None) -> None:
    """Let what the vanished nodes ran be placed elsewhere."""
    state = context.connect(url or outer).release_brake()
    print("the brake is being released" if state["asked"] else "the brake is not engaged")


def sentence(engaged: Json | None) -> str:
    """What an engaged brake means; empty if it is not engaged."""
    if not engaged:
        return ""
    named = ", ".join(engaged.get("nodes", [])[:5])
    where = f" ({named}{', …' if len(engaged.get('nodes', [])) > 5 else ''})" if named else ""
    return (
        f"brake engaged {output.ago(engaged.get('since'))} ago: {engaged.get('lost', '?')} of "
        f"{engaged.get('of', '?')} nodes vanished{where}: nothing is rescheduled until they are back or "
        "`muster brake release`"
    )


def warn(client: Client) -> None:
    """Say it beside lists in which it shows; older managers have no brake."""
    try:
        engaged = client.get_brake()["engaged"]
    except Refused:
        return
    if engaged:
        output.note(f"muster: warning: {sentence(engaged)}")
