"""Commands on one deployment that lives: stop, restart, limit, logs."""

from typing import Any

import click

from muster import context, deploying, output
from muster.asking import meant, yes_option
from muster.cli import (
    main,
    patience_option,
    replicated_option,
    speaks,
    timeout_option,
    url_option,
    wait_option,
    warn_unconfirmed,
)
from muster.unclaimed import claim


@main.command()
@click.argument("deployment", metavar="ID-or-NAME")
@click.option("--unclaimed", is_flag=True, help="Stop only what runs of it unclaimed.")
@yes_option
@url_option
@wait_option
@timeout_option
@replicated_option
@speaks
def stop(
    deployment: str,
    unclaimed: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    url: str | None,
    wait: bool,  # noqa: FBT001
    timeout: float,
    replicated: bool,  # noqa: FBT001
) -> None:
    """Stop a deployment, given its name or the beginning of its id."""
    client = context.connect(url, replicated=replicated)
    if unclaimed:
        claim(client, (_given(deployment),), "stop", wait=wait, timeout=timeout)
        warn_unconfirmed(client)
        return
    found = deploying.find(client, _given(deployment))
    meant(client, found, "stop", {}, yes=yes)
    warn_unconfirmed(client)
    if wait:
        deploying.wait_stopped(client, found, timeout)
    print(found)


@main.command()
@click.argument("deployment", metavar="ID-or-NAME")
@yes_option
@url_option
@wait_option
@patience_option
@replicated_option
@speaks
def restart(
    deployment: str,
    yes: bool,  # noqa: FBT001
    url: str | None,
    wait: bool,  # noqa: FBT001
    timeout: float | None,
    replicated: bool,  # noqa: FBT001
) -> None:
    """Start all tasks of a deployment anew, those that failed and stayed down, too."""
    client = context.connect(url, replicated=replicated)
    found = deploying.find(client, _given(deployment))
    meant(client, found, "restart", {}, yes=yes)
    warn_unconfirmed(client)
    if wait:
        deploying.wait_up(client, found, timeout)
    print(found)


@main.command()
@click.argument("deployment", metavar="ID-or-NAME")
@click.argument("task")
@click.option("--memory", help="Such as 512M; none takes the limit away.")
@click.option("--cpus", help="Such as 0.5, or none.")
@click.option("--pids", help="How many processes and threads, or none.")
@url_option
@speaks
def limit(
    deployment: str, task: str, memory: str | None, cpus: str | None, pids: str | None, url: str | None
) -> None:
    """Give a task that runs other limits, without restarting it; what is not named stays."""
    named = {"memory": memory, "cpus": cpus, "pids": pids}
    asked: Any = {key: _limit(value) for key, value in named.items() if value is not None}
    if not asked:
        raise click.UsageError("say which limit: --memory, --cpus or --pids")
    client = context.connect(url)
    found = deploying.find(client, _given(deployment))
    answer = client.limit_deployment(found, {"task": task, "limits": asked})
    output.note(f"{task}: " + (", ".join(f"{k} {v}" for k, v in answer["limits"].items()) or "no limits"))
    deploying.check_limited(client, found, task)
    print(found)


def _limit(text: str) -> str | int | None:
    if text == "none":
        return None
    return int(text) if text.isdigit() else text


def _given(deployment: str) -> str:
    if not deployment:
        raise click.UsageError("ID is empty")
    return deployment


@main.command()
@click.argument("deployment", metavar="ID-or-NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written, until the tasks are over.")
@click.option("--task", help="Only this task.")
@click.option("--node", help="Only on this node.")
@click.option("--tail", metavar="N", help="Lines from the end of each log, or all. [default: 100]")
@click.option(
    "--since", metavar="WHEN", help="From then on: 10m, 2026-01-31T12:00:00Z, or seconds since 1970."
)
@click.option(
    "--stream", type=click.Choice(["stdout", "stderr", "both"]), default="both", help="Which output."
)
@url_option
@speaks
def logs(deployment: str, url: str | None, follow: bool, **asked: str | None) -> None:  # noqa: FBT001
    """Print what the tasks of a deployment wrote, given its name or the beginning of its id."""
    from muster.logs import show

    client = context.connect(url)
    given = {name: value for name, value in asked.items() if value is not None}
    show(
        client, deploying.find(client, _given(deployment)), {"follow": "true" if follow else "false", **given}
    )
