"""Devices as lines of a CSV file, contract 5's columns; and back, exactly. Pure.

A cell that a spreadsheet would take for a formula gets a `'` before it; one `'` at its beginning is taken
away when it is read. Several network interfaces stand in one line, each cell's parts joined by `;`.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

COLUMNS = (
    "id", "name", "type", "hardware_model", "hardware_sn", "software_version", "software_last_update",
    "nic_type", "nic_mac", "nic_ipv4", "status",
)  # fmt: skip
NIC = ("type", "mac", "ipv4")
FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
BOM = "\ufeff"
DIGEST = 8
"""Bytes of a line's digest."""


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def plain(cell: str) -> str:
    """The text of a guarded cell."""
    return cell.removeprefix("'")


def row(device: Json) -> list[str]:
    """The cells of a device, in the order of `COLUMNS`."""
    hardware, software, nics = device["hardware"], device["software"], device["nic"]
    joined = [";".join(nic[part] for nic in nics) for part in NIC]
    cells = [
        device["id"], device["name"], device["type"], hardware["model"], hardware["sn"],
        software["version"], software["last_update"], *joined, device["status"],
    ]  # fmt: skip
    return [guarded(cell) for cell in cells]


def digest(cells: Sequence[str]) -> bytes:
    """By what a line is known again, however it is quoted and ended."""
    text = "\0".join(cells).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=DIGEST).digest()


def check_head(cells: Sequence[str]) -> None:
    """Go on only if the first line names the columns.

    Raises:
        ValueError: it does not; the sentence says what it should be.
    """
    found = tuple(cell.strip().removeprefix(BOM) for cell in cells)
    if found != COLUMNS:
        raise ValueError(f"the first line must be {','.join(COLUMNS)}")


def read(cells: Sequence[str]) -> tuple[str, Json]:
    """A line's id (empty: none yet), and the device that it says, as it would be posted.

    Raises:
        ValueError: it does not have the cells that it should, or its nics do not fit together.
    """
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, and there are {len(COLUMNS)} columns")
    said = dict(zip(COLUMNS, map(plain, cells), strict=True))
    return said["id"], {
        "name": said["name"],
        "type": said["type"],
        "hardware": {"model": said["hardware_model"], "sn": said["hardware_sn"]},
        "software": {"version": said["software_version"], "last_update": said["software_last_update"]},
        "nic": _nics(said),
        "status": said["status"],
    }


def _nics(said: dict[str, str]) -> list[Json]:
    parts = [said[f"nic_{part}"].split(";") for part in NIC]
    if not any(said[f"nic_{part}"] for part in NIC):
        return []
    if len({len(each) for each in parts}) > 1:
        counts = ", ".join(f"{len(each)} in nic_{name}" for name, each in zip(NIC, parts, strict=True))
        raise ValueError(f"nics do not fit together: {counts}, with `;` between them")
    return [dict(zip(NIC, each, strict=True)) for each in zip(*parts, strict=True)]


def differing(device: Json, said: Json) -> Json:
    """What a line says otherwise than a device's record: a line that nobody touched says nothing."""
    found: Json = {}
    for key, value in said.items():
        known = device[key]
        if isinstance(value, dict):
            value = {name: each for name, each in value.items() if known.get(name) != each}  # noqa: PLW2901
            if value:
                found[key] = value
        elif value != known:
            found[key] = value
    return found
