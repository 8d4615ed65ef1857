"""Commands on nodes: list, show, cordon, drain, label, group, remove."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import click

from muster import brake, context, deploying, output
from muster.cli import form_option, main, speaks, timeout_option, url_option
from muster.client import Client, Refused

Json = dict[str, Any]
LOOK_EVERY = 0.5
label_option = click.option(
    "--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Only nodes with this label."
)
group_option = click.option("--group", "groups", multiple=True, help="Only nodes in this group.")
status_option = click.option(
    "--status",
    "states",
    multiple=True,
    help="Only online, offline, unknown, frozen; or ready, cordoned, draining, removing.",
)


@main.command()
@label_option
@group_option
@status_option
@url_option
@form_option
@speaks
def nodes(
    labels: tuple[str, ...], groups: tuple[str, ...], states: tuple[str, ...], url: str | None, form: str
) -> None:
    """List the nodes."""
    _list(url, form, labels, groups, states)


@main.group()
def node() -> None:
    """Look after single nodes."""


@node.command("ls")
@label_option
@group_option
@status_option
@url_option
@form_option
@speaks
def ls(
    labels: tuple[str, ...], groups: tuple[str, ...], states: tuple[str, ...], url: str | None, form: str
) -> None:
    """List the nodes; the same as `muster nodes`."""
    _list(url, form, labels, groups, states)


def _list(
    url: str | None, form: str, labels: tuple[str, ...], groups: tuple[str, ...], states: tuple[str, ...]
) -> None:
    client = context.connect(url)
    asked = urlencode({"label": labels, "group": groups, "status": states}, doseq=True)
    found = client.get("/v1/nodes" + (f"?{asked}" if asked else ""))["data"]
    if form == "json":
        output.as_json(found)
        return
    brake.warn(client)
    titles, rows = table(found)
    output.table(titles, rows)


def table(found: list[Json]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows of a list of nodes; labels, groups and scheduling only where there are any."""
    columns: list[tuple[str, Callable[[Json], Any], bool]] = [
        ("NODE", lambda row: row["id"], True),
        ("STATUS", output.node_state, True),
        ("SCHEDULING", scheduling, any(scheduling(row) != "ready" for row in found)),
        ("IP", lambda row: row["ip"], True),
        ("CPU", lambda row: _percent(row, "cpu_percent"), True),
        ("MEMORY", lambda row: _percent(row, "memory_percent"), True),
        ("DISK", lambda row: _percent(row, "disk_percent"), True),
        ("TASKS", lambda row: row.get("running"), True),
        ("AGENT", lambda row: row["version"], True),
        ("LABELS", _labels, any(row.get("labels") for row in found)),
        ("GROUPS", lambda row: ",".join(row.get("groups", ())), any(row.get("groups") for row in found)),
        ("WHY FROZEN", lambda row: row["frozen"], True),
    ]
    shown = [(title, read) for title, read, wanted in columns if wanted]
    return [title for title, _ in shown], [[read(row) for _, read in shown] for row in found]


def scheduling(row: Json) -> str:
    """Whether a node takes work, and how far its drain has come."""
    word = str(row.get("scheduling", "ready"))
    drain = row.get("drain") or {}
    if "of" not in drain:
        return word
    return f"{word} ({drain.get('state')}, {drain.get('left')} of {drain['of']} left)"


def _labels(row: Json) -> str:
    return ",".join(
        f"{key}={value}" if value else key for key, value in sorted(row.get("labels", {}).items())
    )


def _percent(row: Json, key: str) -> str | None:
    return None if row.get(key) is None else f"{row[key]:.0f}%"


@node.command()
@click.argument("name", metavar="NODE")
@url_option
@form_option
@speaks
def show(name: str, url: str | None, form: str) -> None:
    """Show all that is known of a node."""
    row: Any = context.connect(url).get_node(named(name))
    if form == "json":
        output.as_json(row)
        return
    for title, text in facts(row):
        if text:
            print(f"{title:<12}{text}")
    for each in row["allocations"]:
        print(f"  {each['id']}  {each['template']} {each['group']} {each['index']}  {each['wanted']}")


def facts(row: Json) -> list[tuple[str, str]]:
    """What `show` says of a node, line by line."""
    cordoned, drain = row.get("cordoned") or {}, row.get("drain") or {}
    deadline = drain.get("deadline")
    return [
        ("node", f"{row['id']} ({row['hostname']}, {', '.join(row.get('addresses') or [row['ip']])})"),
        ("status", output.node_state(row) + (f": {row['frozen']}" if row["frozen"] else "")),
        ("unknown", row.get("unknown") or ""),
        ("scheduling", scheduling(row)),
        ("cordoned", " ".join(filter(None, (_since(cordoned), cordoned.get("reason", ""))))),
        ("drain", " ".join(filter(None, (_since(drain), f"deadline {deadline:g} s" if deadline else "")))),
        ("drain", drain.get("reason") or ""),
        ("removal", row.get("removal") or ""),
        ("labels", _labels(row)),
        ("groups", ", ".join(row["groups"])),
        ("machine", _machine(row.get("facts") or {})),
        ("agent", f"{row['version']}; {', '.join(row.get('features', ()))}"),
        ("uid", row.get("uid", "")),
        ("allocations", str(len(row["allocations"]))),
    ]


def _machine(known: Json) -> str:
    """What is known of the machine, in a line."""
    memory = known.get("memory")
    found = [
        known.get("model"),
        f"serial number {known['sn']}" if known.get("sn") else None,
        f"{known['cores']} cores" if known.get("cores") else None,
        output.size(memory) if memory else None,
        known.get("os"),
    ]
    return ", ".join(filter(None, found))


def _since(said: Json) -> str:
    return f"since {output.ago(said['since'])}" if "since" in said else ""


@node.command()
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--reason", help="Why, for those who wonder later.")
@url_option
@speaks
def cordon(names: tuple[str, ...], reason: str | None, url: str | None) -> None:
    """Let nodes take no new work; what runs there runs on."""
    client = context.connect(url)
    for name in names:
        client.cordon_node(named(name), {"reason": reason} if reason else {})
        print(name)


@node.command()
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@url_option
@speaks
def uncordon(names: tuple[str, ...], url: str | None) -> None:
    """Let nodes take work again; a drain that is under way is cancelled."""
    client = context.connect(url)
    for name in names:
        client.uncordon_node(named(name))
        print(name)


@node.command()
@click.argument("name", metavar="NODE")
@click.argument("changes", metavar="KEY=VALUE|KEY-...", nargs=-1, required=True)
@url_option
@speaks
def label(name: str, changes: tuple[str, ...], url: str | None) -> None:
    """Set labels of a node (`zone=a`), or take them away (`zone-`)."""
    given: dict[str, str | None] = {}
    for each in changes:
        key, equals, value = each.partition("=")
        if not equals and not each.endswith("-"):
            raise click.UsageError(f"{each}: neither KEY=VALUE nor KEY-")
        given[key if equals else each[:-1]] = value if equals else None
    row: Any = context.connect(url).label_node(named(name), {"labels": given})
    print(_labels(row) or "no labels")


@node.command()
@click.argument("name", metavar="NODE")
@click.argument("changes", metavar="GROUP|GROUP-...", nargs=-1, required=True)
@url_option
@speaks
def group(name: str, changes: tuple[str, ...], url: str | None) -> None:
    """Put a node into groups (`edge`), or take it out of them (`edge-`)."""
    given = {each.removesuffix("-"): not each.endswith("-") for each in changes}
    row = context.connect(url).group_node(named(name), {"groups": given})
    print(", ".join(row["groups"]) or "no groups")


@node.command()
@click.argument("name", metavar="NODE")
@click.option("--force", is_flag=True, help="Although its agent is online: its tasks are stopped.")
@click.option("--wait/--no-wait", default=False, help="Wait until it is gone.", show_default=True)
@timeout_option
@url_option
@speaks
def rm(name: str, force: bool, wait: bool, timeout: float, url: str | None) -> None:  # noqa: FBT001
    """Remove a node for good; what can run elsewhere is placed there.

    Stop its agent first (`agent stop --tasks`).
    """
    client = context.connect(url)
    client.delete_node(named(name), force=force or None)
    if wait:
        _wait_gone(client, name, timeout)
    print(name)


def _wait_gone(client: Client, name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            row = client.get_node(name)
        except Refused as error:
            if error.status == 404:
                return
            raise
        if row["scheduling"] != "removing":
            return  # it is gone, and an agent has joined by its name
        if time.monotonic() > deadline:
            why = row.get("removal") or "no controller has seen to it yet"
            raise deploying.TimedOut(f"{name} is still there after {seconds:g} s: {why}")
        time.sleep(LOOK_EVERY)


def named(name: str) -> str:
    """A node's id, as it was given.

    Raises:
        click.UsageError: it is empty.
    """
    if not name:
        raise click.UsageError("NODE is empty")
    return name
