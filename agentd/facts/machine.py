"""A machine's hardware and operating system, as firmware and kernel name them; only what is known."""

import platform
from pathlib import Path
from typing import Any

import psutil

from agentd.facts.reading import ROOT, names, number, text

SECTOR = 512
"""Bytes that the kernel counts a disk's size in, whatever the disk's own sectors."""
_DMI = "sys/class/dmi/id"
_TREES = ("sys/firmware/devicetree/base", "proc/device-tree")
_NOTHING = frozenset(
    {
        "", "0", "none", "n/a", "na", "null", "unknown", "default", "default string", "not specified",
        "not applicable", "not available", "system product name", "system serial number", "product name",
        "serial number", "to be filled by o.e.m.", "to be filled by o.e.m", "o.e.m.", "oem", "invalid",
        "empty", "123456789", "0123456789", "1234567890", "xxxxxxxx",
    }
)  # fmt: skip
"""What vendors leave in place of a name or number."""


def hardware(root: Path = ROOT) -> dict[str, Any]:
    """Model, serial number (which only root may read), machine, cores, bytes of memory, disks."""
    found = {
        "model": model(root),
        "sn": serial(root),
        "machine": platform.machine(),
        "cores": psutil.cpu_count() or 1,
        "memory": psutil.virtual_memory().total,
        "disks": disks(root),
    }
    return {key: value for key, value in found.items() if value}


def software(root: Path = ROOT) -> dict[str, Any]:
    """The operating system as it calls itself, and the kernel."""
    return {"version": system(root) or platform.system(), "kernel": platform.release()}


def model(root: Path = ROOT) -> str | None:
    """The machine's model, with its vendor where the model alone does not say it."""
    name = _said(root, f"{_DMI}/product_name") or _tree(root, "model")
    vendor = _said(root, f"{_DMI}/sys_vendor")
    if name is None or vendor is None or name.lower().startswith(vendor.lower()):
        return name or vendor
    return f"{vendor} {name}"


def serial(root: Path = ROOT) -> str | None:
    """The machine's serial number, else its main board's."""
    found = (_said(root, f"{_DMI}/{name}") for name in ("product_serial", "chassis_serial", "board_serial"))
    return next(filter(None, found), None) or _tree(root, "serial-number")


def disks(root: Path = ROOT) -> list[dict[str, Any]]:
    """The disks that are devices, not made of others: their names and bytes."""
    block = root / "sys/block"
    sizes = {
        name: number(block / name / "size") or 0
        for name in names(block)
        if (block / name / "device").exists() and text(block / name / "removable") != "1"
    }
    return [{"name": name, "bytes": size * SECTOR} for name, size in sizes.items() if size]


def system(root: Path = ROOT) -> str | None:
    """The pretty name of the operating system."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        for line in (text(root / path) or "").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME" and value.strip("\"' "):
                return value.strip("\"' ")
    return None


def _said(root: Path, path: str) -> str | None:
    found = text(root / path)
    return None if found is None or found.lower() in _NOTHING else found


def _tree(root: Path, name: str) -> str | None:
    return next(filter(None, (_said(root, f"{tree}/{name}") for tree in _TREES)), None)
