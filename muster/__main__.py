"""The program `muster`."""

import os
import shutil
import sys
from pathlib import Path

import click

from muster import (
    artifacts,
    backup,
    brake,
    context,
    devices,
    doctor,
    draining,
    events,
    explaining,
    groups,
    living,
    moving,
    nodes,
    output,
    releases,
    showing,
    starting,
    workspaces,
)
from muster.cli import (
    NOT_FOUND,
    form_option,
    main,
    speaks,
    url_option,
)

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


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
def templates(url: str | None, form: str) -> None:
    """List the templates."""
    found = context.connect(url).get("/v1/templates")["data"]
    if form == "json":
        output.as_json(found)
        return
    rows = [(row["name"], row["version"], ", ".join(row["tasks"])) for row in found]
    output.table(("TEMPLATE", "VERSION", "TASKS"), rows)


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
    starting.deploy,
    showing.ps,
    releases.scale,
    releases.update,
    releases.rollback,
    releases.promote,
    releases.pause,
    releases.resume,
    living.stop,
    living.restart,
    living.limit,
    living.logs,
    doctor.doctor,
    events.events,
    artifacts.artifact,
    backup.backup,
    backup.restore,
    moving.export,
    moving.import_,
    nodes.nodes,
    nodes.node,
    draining.drain,
    brake.brake,
    explaining.explain,
    devices.devices,
    devices.device,
    groups.groups,
    groups.group,
    workspaces.workspaces,
    workspaces.workspace,
)
"""Those that stand elsewhere; naming them keeps the import honest."""

if __name__ == "__main__":
    main()
