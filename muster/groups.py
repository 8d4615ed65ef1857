"""Commands on groups of devices: list, show."""

from typing import Any

import click

from muster import context, inventory, output
from muster.cli import Later, examples, form_option, main, speaks, url_option

Json = dict[str, Any]
SHOWN = 20
"""Members that `show` names."""


@main.command()
@url_option
@form_option
@speaks
def groups(url: str | None, form: str) -> None:
    """List the groups."""
    _list(url, form)


@main.group(
    cls=Later,
    modules=("muster.group_changes",),
    epilog=examples(
        "muster group add edge --label zone=a,b --fact 'cores>=8'",
        "muster group join edge web-1 web-2",
        "muster nodes --group edge",
    ),
)
def group() -> None:
    """Look after groups of devices, which deployments are placed on.

    GROUP is an id or a name; DEVICE an id, or a name, node or serial number that only one device has.
    """


@group.command("ls")
@url_option
@form_option
@speaks
def ls(url: str | None, form: str) -> None:
    """List the groups; the same as `muster groups`."""
    _list(url, form)


def _list(url: str | None, form: str) -> None:
    found = context.connect(url).list_groups(sort="name")["data"]
    if form == "json":
        output.as_json(found)
        return
    rows = [(row["id"], row["name"], rule_text(row.get("rule")), row.get("description")) for row in found]
    output.table(("GROUP", "NAME", "RULE", "DESCRIPTION"), rows)


@group.command()
@click.argument("given", metavar="GROUP")
@url_option
@form_option
@speaks
def show(given: str, url: str | None, form: str) -> None:
    """Show a group: its rule, its members, and the nodes that it has."""
    client = context.connect(url)
    row = inventory.group(client, given)
    if form == "json":
        output.as_json(row)
        return
    members: Any = client.list_group_devices(row["id"], sort="name", limit=SHOWN)
    nodes = [each["id"] for each in client.list_nodes(group=[row["name"]])["data"]]
    for title, text in (
        ("group", f"{row['id']} ({row['name']})"),
        ("description", row.get("description")),
        ("rule", rule_text(row.get("rule"))),
        ("nodes", f"{len(nodes)}: {', '.join(nodes[:SHOWN])}{' …' if len(nodes) > SHOWN else ''}"),
        ("members", str(members["total"])),
    ):
        if text:
            print(f"{title:<12}{text}")
    for each in members["data"]:
        print(f"  {each['id']}  {each['name']}" + (f"  node {each['node']}" if each.get("node") else ""))
    if members["next"]:
        print(f"  … all of them: muster devices --group {row['id']}")


def rule_text(said: Any) -> str:
    """A rule as it is given: `zone=a,b cores>=8`."""
    parts = [f"{name}={_values(value)}" for name, value in (said or {}).get("labels", {}).items()]
    for name, value in (said or {}).get("facts", {}).items():
        text = _values(value)
        parts.append(f"{name}{text}" if text[:1] in tuple("<>!=") else f"{name}={text}")
    return " ".join(parts)


def _values(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
