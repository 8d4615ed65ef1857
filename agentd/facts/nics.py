"""A machine's network interfaces: of which kind, with which addresses."""

import socket
from pathlib import Path
from typing import Any

import psutil

from agentd.facts.reading import ROOT, text

ETHERNET, LOOPBACK, INFINIBAND = "1", "772", "32"
"""Numbers of the kernel's types of links (ARPHRD)."""
_PASSING = (
    "veth",
    "docker",
    "br-",
    "virbr",
    "cni",
    "flannel",
    "cali",
    "podman",
    "tap",
    "vnet",
    "lxc",
    "ifb",
    "dummy",
)
"""What names begin with that come and go with containers and virtual machines."""


def nics(root: Path = ROOT) -> list[dict[str, Any]]:
    """`{"type", "mac", "ipv4"}` of each interface, by name; those of containers only if they are all."""
    every = sorted(psutil.net_if_addrs().items())
    found = [
        (name, _nic(root, name, addresses)) for name, addresses in every if _kind(root, name) != "loopback"
    ]
    own = [nic for name, nic in found if not name.startswith(_PASSING)]
    return [nic for nic in own or [nic for _, nic in found] if nic["mac"] or nic["ipv4"]]


def _nic(root: Path, name: str, addresses: list[Any]) -> dict[str, Any]:
    found = {"type": _kind(root, name), "mac": "", "ipv4": ""}
    for each in addresses:
        if each.family == psutil.AF_LINK and each.address.strip("0:"):
            found["mac"] = each.address.lower()
        elif each.family == socket.AF_INET and not found["ipv4"]:
            found["ipv4"] = each.address
    return found


def _kind(root: Path, name: str) -> str:
    """What an interface is, by what the kernel shows of it."""
    here = root / "sys/class/net" / name
    if (here / "wireless").exists() or (here / "phy80211").exists():
        return "wifi"
    for kind, sign in (("bridge", "bridge"), ("bond", "bonding"), ("tunnel", "tun_flags")):
        if (here / sign).exists():
            return kind
    link = text(here / "type")
    if link == LOOPBACK or name == "lo":
        return "loopback"
    if "DEVTYPE=vlan" in (text(here / "uevent") or ""):
        return "vlan"
    if "DEVTYPE=wwan" in (text(here / "uevent") or ""):
        return "mobile"
    return {ETHERNET: "ethernet", INFINIBAND: "infiniband", None: "unknown"}.get(link, "other")
