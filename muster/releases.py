"""Commands that change a deployment that lives: scale, update, rollback, promote, pause, resume."""

from typing import Any

import click

from muster import context, deploying, output, rolling
from muster.asking import counts, meant, pairs, params_option, yes_option
from muster.cli import (
    main,
    patience_option,
    replicated_option,
    speaks,
    url_option,
    wait_option,
    warn_unconfirmed,
)


def _some(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value:
        raise click.UsageError("ID is empty")
    return value


deployment_argument = click.argument("deployment", metavar="ID-or-NAME", callback=_some)


@main.command()
@deployment_argument
@click.argument("groups", metavar="GROUP=N...", nargs=-1, required=True)
@yes_option
@url_option
@replicated_option
@speaks
def scale(deployment: str, groups: tuple[str, ...], yes: bool, url: str | None, replicated: bool) -> None:  # noqa: FBT001
    """Have other numbers of instances; nothing that stays is restarted."""
    asked = counts(groups)
    client = context.connect(url, replicated=replicated)
    found = deploying.find(client, deployment)
    answer = meant(client, found, "scale", {"groups": asked}, yes=yes)
    output.note(", ".join(f"{name}: {count}" for name, count in answer["groups"].items()))
    warn_unconfirmed(client)
    print(found)


@main.command()
@deployment_argument
@click.option("--version", type=click.IntRange(1), help="Of its template. [default: the newest]")
@params_option
@yes_option
@url_option
@wait_option
@patience_option
@replicated_option
@speaks
def update(deployment: str, url: str | None, replicated: bool, **asked: Any) -> None:  # noqa: FBT001
    """Bring a deployment to another version or other parameters; what is not named stays."""
    given = {"version": asked["version"], "parameters": pairs(asked["params"], "NAME=VALUE")}
    client = context.connect(url, replicated=replicated)
    found = deploying.find(client, deployment)
    body = {key: value for key, value in given.items() if value}
    answer = meant(client, found, "update", body, yes=asked["yes"])
    warn_unconfirmed(client)
    rolling.follow(client, found, answer, asked["timeout"], wait=asked["wait"])
    print(found)


@main.command()
@deployment_argument
@click.option("--to", type=click.IntRange(1), help="Version. [default: the last one that came up wholly]")
@yes_option
@url_option
@wait_option
@patience_option
@replicated_option
@speaks
def rollback(
    deployment: str,
    to: int | None,
    yes: bool,  # noqa: FBT001
    url: str | None,
    wait: bool,  # noqa: FBT001
    timeout: float | None,
    replicated: bool,  # noqa: FBT001
) -> None:
    """Bring a deployment back to what it ran before; asked for twice, it goes back once."""
    client = context.connect(url, replicated=replicated)
    found = deploying.find(client, deployment)
    answer = meant(client, found, "rollback", {} if to is None else {"version": to}, yes=yes)
    warn_unconfirmed(client)
    rolling.follow(client, found, answer, timeout, wait=wait)
    print(found)


@main.command()
@deployment_argument
@url_option
@wait_option
@patience_option
@replicated_option
@speaks
def promote(deployment: str, url: str | None, wait: bool, timeout: float | None, replicated: bool) -> None:  # noqa: FBT001
    """Let the rest follow the canaries of an update."""
    client = context.connect(url, replicated=replicated)
    found = deploying.find(client, deployment)
    change = client.promote_deployment(found)["promoted"]
    warn_unconfirmed(client)
    if wait:
        rolling.watch(client, found, change, timeout, promoted=True)
    print(found)


@main.command()
@deployment_argument
@url_option
@speaks
def pause(deployment: str, url: str | None) -> None:
    """Hold the updates of a deployment: what is updated stays, the rest waits."""
    _hold(deployment, url, paused=True)


@main.command()
@deployment_argument
@url_option
@speaks
def resume(deployment: str, url: str | None) -> None:
    """Let the updates of a deployment go on."""
    _hold(deployment, url, paused=False)


def _hold(deployment: str, url: str | None, *, paused: bool) -> None:
    client = context.connect(url)
    found = deploying.find(client, deployment)
    if paused:
        client.pause_deployment(found)
    else:
        client.resume_deployment(found)
    print(found)
