"""A device as people write it: flags, `hardware.model=X`, files; and as the cells of a CSV file."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from muster.deploying import Failed

Json = dict[str, Any]
STDIN = "-"
TEXTS = ("name", "type", "status")
PARTS: dict[str, tuple[str, ...]] = {
    "hardware": ("model", "sn", "cores", "memory"),
    "software": ("version", "last_update", "kernel", "agent"),
}
NUMBERS = ("cores", "memory")
NIC = ("type", "mac", "ipv4")
COLUMNS = (
    "id", "name", "type", "hardware_model", "hardware_sn", "software_version", "software_last_update",
    "nic_type", "nic_mac", "nic_ipv4", "status",
)  # fmt: skip
"""Contract 5's, in its order."""
_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
_KNOWN = [*TEXTS, *(f"{part}.{key}" for part, keys in PARTS.items() for key in keys), "nic.N.type|mac|ipv4"]


def change(words: Sequence[str], nics: Sequence[str], known: Json) -> Json:
    """What `hardware.model=X` and its like change of a device; `nic` is said whole, as the API wants it.

    Raises:
        click.UsageError: a word is none of those, or is there twice.
    """
    said: Json = {"nic": [nic(each) for each in nics]} if nics else {}
    seen = set()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is not KEY=VALUE")
        if name in seen:
            raise click.UsageError(f"{name} is given twice")
        seen.add(name)
        _put(said, name, value, known)
    return said


def _put(said: Json, name: str, value: str, known: Json) -> None:
    part, _, key = name.partition(".")
    if name in TEXTS:
        said[name] = value
    elif key in PARTS.get(part, ()):
        said.setdefault(part, {})[key] = _number(name, value) if key in NUMBERS else value
    elif part == "nic" and key:
        place, _, end = key.partition(".")
        nics = said.setdefault("nic", [dict(each) for each in known["nic"]])
        if end not in NIC or not (place.isascii() and place.isdigit()):
            raise click.UsageError(f"{name}: not nic.0.{', nic.0.'.join(NIC)} or another number's")
        if int(place) >= len(nics):
            raise click.UsageError(f"{name}: it has {len(nics)} nics, and the first is nic.0")
        nics[int(place)][end] = value
    else:
        raise click.UsageError(f"{name} is not one of {', '.join(_KNOWN)}")


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise click.UsageError(f"{name}={value}: {value!r} is not a whole number")
    return int(value)


def nic(word: str) -> Json:
    """`wifi,12:34:56:78:9a:bc,192.168.1.2`, the latter two perhaps empty, as a network interface.

    Raises:
        click.UsageError: it is no such word.
    """
    parts = [each.strip() for each in word.split(",")]
    if len(parts) > len(NIC) or not parts[0]:
        raise click.UsageError(f"--nic {word}: not TYPE,MAC,IPV4")
    return dict(zip(NIC, [*parts, "", ""], strict=False))


def whole(said: Json) -> Json:
    """A device that can be added: what need not be known is empty."""
    hardware, software = said.get("hardware", {}), said.get("software", {})
    filled = {"status": "unknown", "nic": [], **said}
    if isinstance(hardware, dict):
        filled["hardware"] = {"model": "", "sn": "", **hardware}
    if isinstance(software, dict):
        filled["software"] = {"version": "", "last_update": "", **software}
    return filled


def from_file(file: str) -> list[Json]:
    """The devices of a JSON or YAML file, or of stdin (`-`): one, or a list.

    Raises:
        Failed: it cannot be read, or holds something else.
    """
    try:
        text = sys.stdin.buffer.read().decode() if file == STDIN else Path(file).read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _yaml(text, file)
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # JSON's errors and Unicode's
        raise Failed(f"{file}: {error}") from None
    rows = found if isinstance(found, list) else [found]
    if not rows or not all(isinstance(each, dict) for each in rows):
        raise Failed(
            f"{file}: neither a device, such as {{name: desk, type: terminal}}, nor a list of devices"
        )
    return rows


def _yaml(text: str, file: str) -> Any:
    import yaml

    class Plain(yaml.SafeLoader):
        """Dates stay as they are written: `last_update` is a text."""

    Plain.yaml_implicit_resolvers = {
        first: [each for each in those if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, those in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Plain)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise Failed(f"{file}: {error}") from None


def as_csv(rows: Sequence[Json]) -> str:
    """Devices as the manager's own CSV files have them: a file that can be imported again."""
    out = io.StringIO(newline="")
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow(COLUMNS)
    for row in rows:
        hardware, software = row["hardware"], row["software"]
        nics = [";".join(each[part] for each in row["nic"]) for part in NIC]
        cells = [
            row["id"], row["name"], row["type"], hardware["model"], hardware["sn"],
            software["version"], software["last_update"], *nics, row["status"],
        ]  # fmt: skip
        lines.writerow(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells)
    return out.getvalue()
