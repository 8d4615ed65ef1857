"""The program `muster`."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from muster import backup, context, deploying, doctor, events, living, output
from muster.cli import (
    NOT_FOUND,
    form_option,
    main,
    replicated_option,
    speaks,
    timeout_option,
    url_option,
    wait_option,
    warn_unconfirmed,
)
from muster.client import Client

PS_TITLES = (
    "ID", "TEMPLATE", "STATUS", "TASK", "NODE", "STATE", "HEALTH", "PID", "EXIT", "RESTARTS", "SINCE", "CPU",
    "MEMORY", "REASON",
)  # fmt: skip
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
OVER = ("COMPLETED", "STOPPED")


@main.command()
@click.option(
    "--data-dir",
    envvar="MUSTER_DATA_DIR",
    type=click.Path(path_type=Path),
    help="Where everything is kept. [default: ~/.local/state/muster/dev]",
)
@click.option("--agents", default=1, type=click.IntRange(1, 100), help="How many nodes.", show_default=True)
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Port of the API. [default: 8080 or a free one]",
)
@speaks
def dev(data_dir: Path | None, agents: int, port: int) -> None:
    """Run store, manager and agents here, in the foreground; Ctrl-C ends all, tasks too."""
    from muster.dev import Dev

    sys.exit(Dev(data_dir or context.dev_directory(), agents, port).run())


@main.command()
@url_option
@form_option
@speaks
def nodes(url: str | None, form: str) -> None:
    """List the nodes."""
    found = Client(context.manager_url(url)).get("/v1/nodes")["data"]
    if form == "json":
        output.as_json(found)
        return
    rows = [
        (
            row["id"],
            output.node_state(row),
            row["ip"],
            _percent(row, "cpu_percent"),
            _percent(row, "memory_percent"),
            _percent(row, "disk_percent"),
            row.get("running"),
            row["version"],
            row["frozen"],
        )
        for row in found
    ]
    output.table(("NODE", "STATUS", "IP", "CPU", "MEMORY", "DISK", "TASKS", "AGENT", "WHY FROZEN"), rows)


def _percent(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else f"{row[key]:.0f}%"


@main.command()
@url_option
@form_option
@speaks
def templates(url: str | None, form: str) -> None:
    """List the templates."""
    found = Client(context.manager_url(url)).get("/v1/templates")["data"]
    if form == "json":
        output.as_json(found)
        return
    rows = [(row["name"], row["version"], ", ".join(row["tasks"])) for row in found]
    output.table(("TEMPLATE", "VERSION", "TASKS"), rows)


@main.command()
@click.argument("what", metavar="FILE-or-NAME")
@url_option
@form_option
@wait_option
@timeout_option
@replicated_option
@speaks
def deploy(what: str, url: str | None, form: str, wait: bool, timeout: float, replicated: bool) -> None:  # noqa: FBT001
    """Deploy a template file (JSON or YAML), or a template that the manager has."""
    client = Client(context.manager_url(url), replicated=replicated)
    path = Path(what)
    if path.is_file():
        template = deploying.read_template(path)
        posted = client.post("/api/task/task_group", template)
        name = posted["name"]
        output.note(f"template {name}, version {posted['version']}")
    elif path.suffix in (".json", ".yaml", ".yml") or "/" in what:
        raise deploying.Failed(f"{what}: {'is a directory' if path.is_dir() else 'no such file'}")
    else:
        name = what
    deployment = client.post("/api/task/task_group/deploy", {"name": name})["id"]
    output.note(f"deployment {deployment}")
    warn_unconfirmed(client)
    if wait:
        deploying.wait_up(client, deployment, timeout)
    if form == "json":
        output.as_json(client.get(f"/deployments/{deployment}"))
    else:
        print(deployment)


@main.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that are over.")
@url_option
@form_option
@speaks
def ps(everything: bool, url: str | None, form: str) -> None:  # noqa: FBT001
    """List deployments with their tasks."""
    client = Client(context.manager_url(url))
    found = client.get("/v1/deployments")["data"]
    shown = [row for row in found if everything or row["status"] not in OVER]
    if form == "json":
        output.as_json(shown)
        return
    lost = client.get("/v1/unclaimed")["total"]
    if lost:
        output.note(f"{lost} allocations run unclaimed: see `muster unclaimed`, then adopt or stop them")
    rows = [
        (
            row["id"][:8],
            row["template"],
            row["status"],
            task.get("name"),
            task.get("node"),
            task.get("state"),
            task.get("health"),
            task.get("pid"),
            task.get("exit_code"),
            task.get("restarts"),
            output.ago(task.get("started")),
            _share(task.get("usage")),
            _size(task.get("usage")),
            task.get("reason") or _ill(task) or ("" if row["tasks"] else row["reason"]),
        )
        for row in shown
        for task in row["tasks"] or [{}]
    ]
    output.table(PS_TITLES, rows)


def _ill(task: dict[str, Any]) -> str:
    return task.get("health_reason", "") if task.get("health") == "unhealthy" else ""


def _share(usage: dict[str, Any] | None) -> str | None:
    return None if usage is None else f"{usage['cpu']:.0f}%"


def _size(usage: dict[str, Any] | None) -> str | None:
    return None if usage is None else f"{usage['rss'] / 1024**2:.0f}M"


@main.command("redis-cli", context_settings=PASS_ON)
@click.option(
    "--db-path",
    envvar="MUSTER_DB_PATH",
    type=click.Path(path_type=Path),
    help="The manager's --db-path. [default: that of a running muster dev, else ./resource_monitor.db]",
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@speaks
def redis_cli(db_path: Path | None, args: tuple[str, ...]) -> None:
    """Talk to the embedded store with redis-cli, or with our own where there is none.

    ARGS are redis-cli's: a command, or none for a prompt.
    """
    home = context.database(db_path)
    home = home.with_name(home.name + ".d")
    try:
        port = (home / "port").read_text()
        password = (home / "password").read_text()
    except OSError as error:
        dev = "" if context.running_dev() else f"; no muster dev runs on {context.dev_directory()}"
        output.note(f"muster: no embedded store in {home} ({error.strerror}); give its --db-path{dev}")
        sys.exit(NOT_FOUND)
    os.environ["REDISCLI_AUTH"] = password
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    argv = [program, "-p", port] if program else [sys.executable, "-P", "-m", "store.shell", "-p", port]
    sys.stdout.flush()
    os.execv(argv[0], [*argv, *args])


COMMANDS = (
    living.stop,
    living.restart,
    living.limit,
    living.logs,
    doctor.doctor,
    events.events,
    backup.backup,
    backup.restore,
)
"""Those that stand elsewhere; naming them keeps the import honest."""

if __name__ == "__main__":
    main()
