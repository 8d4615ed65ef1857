"""Commands on devices: list, show."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import click

from muster import context, inventory, output
from muster.cli import Later, examples, form_option, main, speaks, url_option
from muster.client import Client

Json = dict[str, Any]
PAGE = 1000
SORTS = ("id", "-id", "name", "-name", "sn", "-sn", "model", "-model")


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the list."""
    options = (
        click.option("--sn", help="Only the one with exactly this serial number."),
        click.option("--model", help="Only where this is part of the model; capitals matter."),
        click.option("--group", help="Only members of this group: its name or id."),
        click.option(
            "--status", "states", multiple=True, help="Only with this status: online, say; may be repeated."
        ),
        click.option("--sort", type=click.Choice(SORTS), default="name", help="Order.", show_default=True),
        click.option("--limit", type=click.IntRange(1), help="At most so many. [default: all]"),
        url_option,
        click.option(
            "-o",
            "form",
            type=click.Choice(["table", "json", "csv"]),
            default="table",
            help="Form of the output; csv can be imported again.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command(
    epilog=examples(
        "muster devices --model T-1 --status offline",
        "muster devices --group edge -o csv > edge.csv",
    ),
)
@filters
@speaks
def devices(**given: Any) -> None:
    """List the devices."""
    _list(**given)


@main.group(
    cls=Later,
    modules=("muster.device_changes", "muster.device_files"),
    epilog=examples(
        "muster device add --name desk --type terminal --model T-1000 --sn SN-0042",
        "muster device set desk status=repair hardware.model=T-2000",
        "muster device import devices.csv --dry-run",
    ),
)
def device() -> None:
    """Look after devices: what the inventory knows, nodes among them.

    DEVICE is an id, or a name, node or serial number that only one device has.
    """


@device.command("ls")
@filters
@speaks
def ls(**given: Any) -> None:
    """List the devices; the same as `muster devices`."""
    _list(**given)


def _list(url: str | None, form: str, limit: int | None, states: tuple[str, ...], **asked: Any) -> None:
    client = context.connect(url)
    if asked["group"] is not None:
        asked["group"] = inventory.group(client, asked["group"])["id"]
    rows = list(_found(client, limit, states, asked))
    if form == "json":
        output.as_json(rows)
    elif form == "csv":
        from muster import device_files

        device_files.show(rows)
    else:
        names = inventory.group_names(client, rows)
        titles, cells = table(rows, names)
        output.table(titles, cells)


def _found(client: Client, limit: int | None, states: tuple[str, ...], asked: Json) -> Iterator[Json]:
    """The devices in their order, no more asked for than need be; status is looked at here."""
    if limit is None:
        found: Any = client.list_devices(**asked)["data"]
    else:
        found = client.iter_devices(limit=PAGE if states else min(limit, PAGE), **asked)
    return islice((row for row in found if not states or row["status"] in states), limit)


def table(rows: list[Json], names: dict[str, str]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows of a list of devices; nodes and groups only where there are any."""
    columns: list[tuple[str, Callable[[Json], Any], bool]] = [
        ("DEVICE", lambda row: row["id"], True),
        ("NAME", lambda row: row["name"], True),
        ("TYPE", lambda row: row["type"], True),
        ("STATUS", lambda row: row["status"], True),
        ("MODEL", lambda row: row["hardware"]["model"], True),
        ("SN", lambda row: row["hardware"]["sn"], True),
        ("VERSION", lambda row: row["software"]["version"], True),
        ("IP", lambda row: ",".join(nic["ipv4"] for nic in row["nic"] if nic["ipv4"]), True),
        ("NODE", lambda row: row.get("node"), any(row.get("node") for row in rows)),
        ("GROUPS", lambda row: _groups(row, names), any(row.get("groups") for row in rows)),
    ]
    shown = [(title, read) for title, read, wanted in columns if wanted]
    return [title for title, _ in shown], [[read(row) for _, read in shown] for row in rows]


def _groups(row: Json, names: dict[str, str]) -> str:
    """A group that went a moment ago has no name any more."""
    return ", ".join(sorted(names[each] for each in row.get("groups", ()) if each in names))


@device.command()
@click.argument("given", metavar="DEVICE")
@url_option
@form_option
@speaks
def show(given: str, url: str | None, form: str) -> None:
    """Show all that is known of a device."""
    client = context.connect(url)
    row = inventory.device(client, given)
    if form == "json":
        output.as_json(row)
        return
    for title, text in facts(row, inventory.group_names(client, [row])):
        if text:
            print(f"{title:<12}{text}")


def facts(row: Json, names: dict[str, str]) -> list[tuple[str, str]]:
    """What `show` says of a device, line by line."""
    hardware, software = row["hardware"], row["software"]
    memory = hardware.get("memory")
    return [
        ("device", f"{row['id']} ({row['name']}, {row['type']})"),
        ("status", row["status"]),
        ("node", row.get("node") or ""),
        ("model", hardware["model"]),
        ("sn", hardware["sn"]),
        ("cores", str(hardware.get("cores") or "")),
        ("memory", output.size(memory) if memory else ""),
        *(("disk", f"{each['name']} {output.size(each['bytes'])}") for each in hardware.get("disks", ())),
        ("version", software["version"]),
        ("kernel", software.get("kernel") or ""),
        ("agent", software.get("agent") or ""),
        ("updated", software["last_update"]),
        *(("nic", " ".join(filter(None, (each["type"], each["mac"], each["ipv4"])))) for each in row["nic"]),
        ("groups", _groups(row, names)),
        ("edited", ", ".join(row.get("edited", ()))),
    ]
