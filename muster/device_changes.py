"""Commands on devices: add, set, release, remove."""

import sys
from typing import Any, cast

import click

from muster import context, device_words, inventory, output
from muster.cli import FAILED, examples, speaks, url_option
from muster.client import PreconditionFailed, about
from muster.deploying import Failed
from muster.devices import device

Json = dict[str, Any]
AT_ONCE = 1000
"""Devices that one call deletes."""
nic_option = click.option(
    "--nic", "nics", multiple=True, metavar="TYPE,MAC,IPV4", help="A network interface; may be repeated."
)


@device.command(
    epilog=examples(
        "muster device add --name desk --type terminal --nic wifi,12:34:56:78:9a:bc,192.168.1.2",
        "muster device add -f desk.yaml",
        "muster device show desk -o json | jq 'del(.id, .groups)' | muster device add -f - --url http://other:8080",
    ),
)
@click.option("--name", help="What people call it.")
@click.option("--type", "kind", help="What kind of device it is.")
@click.option("--status", help="How it is. [default: unknown]")
@click.option("--model", help="Of its hardware.")
@click.option("--sn", help="Its serial number.")
@click.option("--version", help="Of its software.")
@click.option("--last-update", help="When its software was last updated: 2023-08-06 20:00:00.")
@nic_option
@click.option("-f", "--file", help="A device, or a list, as JSON or YAML; - is stdin.")
@url_option
@speaks
def add(url: str | None, file: str | None, nics: tuple[str, ...], **given: str | None) -> None:
    """Add a device; its id is printed.

    What is not said of hardware and software is empty. Machines with an agent add themselves.
    """
    said = _told(given)
    if nics:
        said["nic"] = [device_words.nic(each) for each in nics]
    if file is not None and said:
        raise click.UsageError("-f FILE says it all: it goes with no other word on the device")
    if file is None and not {"name", "type"} <= said.keys():
        raise click.UsageError("give --name and --type, or -f FILE")
    rows = [device_words.whole(each) for each in ([said] if file is None else device_words.from_file(file))]
    client = context.connect(url)
    for each in rows:
        print(client.create_device(cast("Any", each))["data"], flush=True)


def _told(given: dict[str, str | None]) -> Json:
    """Flags as a device."""
    said: Json = {}
    places = {
        "name": (None, "name"), "kind": (None, "type"), "status": (None, "status"),
        "model": ("hardware", "model"), "sn": ("hardware", "sn"),
        "version": ("software", "version"), "last_update": ("software", "last_update"),
    }  # fmt: skip
    for flag, (part, key) in places.items():
        if (value := given[flag]) is not None:
            (said if part is None else said.setdefault(part, {}))[key] = value
    return said


@device.command(
    "set",
    epilog=examples(
        "muster device set desk name='Front desk' hardware.sn=SN-0043",
        "muster device set SN-0043 nic.0.ipv4=192.168.1.7",
    ),
)
@click.argument("given", metavar="DEVICE")
@click.argument("words", metavar="KEY=VALUE...", nargs=-1)
@nic_option
@url_option
@speaks
def set_(given: str, words: tuple[str, ...], nics: tuple[str, ...], url: str | None) -> None:
    """Change a device. With --nic, those given are all that it has.

    Keys: name, type, status, hardware.model, .sn, .cores, .memory, software.version, .last_update,
    .kernel, .agent, nic.0.type, .mac, .ipv4. What is said of a node's device
    stands: its agent no longer changes it.
    """
    if not words and not nics:
        raise click.UsageError("give KEY=VALUE or --nic")
    client = context.connect(url)
    seen = client.get_device(inventory.device(client, given)["id"])
    said: Any = device_words.change(words, nics, dict(seen))
    tag = about(seen).etag
    try:
        # Nics are written whole: those that somebody else changes meanwhile are not to be undone.
        options: Any = {"if_match": tag} if "nic" in said and tag else {}
        row = client.change_device(seen["id"], said, **options)
    except PreconditionFailed:
        raise Failed(f"{given} was changed by somebody else meanwhile: look, and try again") from None
    print(row["id"])


@device.command(
    epilog=examples(
        "muster device release web-1 hardware.sn nic",
        "muster device release web-1",
    ),
)
@click.argument("given", metavar="DEVICE")
@click.argument("names", metavar="[FIELD]...", nargs=-1)
@url_option
@speaks
def release(given: str, names: tuple[str, ...], url: str | None) -> None:
    """Give fields of a node's device that people edited back to its agent; all of them, if none are named.

    What the agent has said of them is put back at once. Fields are as `muster device show` lists them under
    edited: name, hardware.sn, nic, ….
    """
    client = context.connect(url)
    said: Any = {"fields": list(names)} if names else {}
    row = client.release_device(inventory.device(client, given)["id"], said)
    print(row["id"])


@device.command()
@click.argument("names", metavar="DEVICE...", nargs=-1, required=True)
@url_option
@speaks
def rm(names: tuple[str, ...], url: str | None) -> None:
    """Delete devices, with their memberships; a node's device goes once the node was removed."""
    client = context.connect(url)
    rows = {row["id"]: row for row in (inventory.device(client, name) for name in names)}
    ids, failed = list(rows), False
    for at in range(0, len(ids), AT_ONCE):
        answer: Any = client.delete_devices({"ids": ids[at : at + AT_ONCE]})
        for each in answer["ids"]:
            print(each)
        for each, why in answer.get("kept", {}).items():
            failed = True
            node = rows[each].get("node")
            hint = f"it is node {node}: first muster node rm {node}" if node else why
            output.note(f"muster: device {each} stays: {hint}")
    if failed:
        sys.exit(FAILED)
