"""Which device and which group are meant by a word; what the commands of the inventory have in common."""

from collections.abc import Sequence
from typing import Any

import click

from muster.client import Client, NotFound, Refused
from muster.deploying import Failed

Json = dict[str, Any]
MOST_TOLD = 10
"""Candidates that are named when a word could mean several."""
_ID = 10


def device(client: Client, given: str) -> Json:
    """The device with an id, or else the one with this name, node or serial number.

    Raises:
        click.UsageError: nothing was given.
        Refused: 404 when there is none.
        Failed: there are several.
    """
    if not given:
        raise click.UsageError("DEVICE is empty")
    if _is_id(given):
        try:
            return dict(client.get_device(given))
        except NotFound:
            pass  # ten digits may as well be a name or a serial number
    most = MOST_TOLD + 1
    answers = (
        client.list_devices(name=given, limit=most),
        client.list_devices(node=given, limit=most),
        client.list_devices(sn=given, limit=most),
    )
    found: dict[str, Json] = {row["id"]: dict(row) for answer in answers for row in answer["data"]}
    if not found:
        raise Refused(404, {"error": f"there is no device with id, name, node or serial number {given}"})
    if len(found) > 1:
        raise Failed(_several(given, list(found.values())))
    return found.popitem()[1]


def _several(given: str, found: Sequence[Json]) -> str:
    lines = [f"{given} could be several devices; give the id of one:"]
    lines += [f"  {_described(row)}" for row in found[:MOST_TOLD]]
    return "\n".join(lines + (["  …"] if len(found) > MOST_TOLD else []))


def _described(row: Json) -> str:
    facts = (
        row["id"],
        row["name"],
        f"model {row['hardware']['model']}" if row["hardware"]["model"] else "",
        f"serial number {row['hardware']['sn']}" if row["hardware"]["sn"] else "",
        f"node {row['node']}" if row.get("node") else "",
    )
    return ", ".join(filter(None, facts))


def group(client: Client, given: str) -> Json:
    """The group with an id, or else the one with this name.

    Raises:
        click.UsageError: nothing was given.
        Refused: 404 when there is none.
    """
    if not given:
        raise click.UsageError("GROUP is empty")
    if _is_id(given):
        try:
            return dict(client.get_group(given))
        except NotFound:
            pass
    found = client.list_groups(name=given)["data"]
    if not found:
        raise Refused(404, {"error": f"there is no group with id or name {given}"})
    return dict(found[0])


def group_names(client: Client, rows: Sequence[Json]) -> dict[str, str]:
    """The names of groups by id; they are not asked for while no row is in any."""
    if not any(row.get("groups") for row in rows):
        return {}
    return {row["id"]: row["name"] for row in client.list_groups()["data"]}


def _is_id(word: str) -> bool:
    return len(word) == _ID and word.isascii() and word.isdigit()
