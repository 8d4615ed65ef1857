"""What a node is: addresses, features, and what is written of it in the store."""

import platform
import socket
from typing import Any

import psutil

from agentd.facts import machine, nics
from store.version import VERSION

FEATURES = (
    "artifacts", "depends_on", "disconnect", "duration", "health", "hooks", "limits", "literal", "logs",
    "peers", "ports", "presence", "process", "restart", "ulimits", "umask", "user",
)  # fmt: skip
"""What this agent claims; it is never sent what it does not."""


def addresses() -> list[str]:
    """The machine's addresses, IPv4 first, without loopback and link-local ones."""
    found: list[tuple[int, str]] = []
    for nic in psutil.net_if_addrs().values():
        for each in nic:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                found.append((4, each.address))
            elif each.family == socket.AF_INET6 and not each.address.startswith(("::1", "fe80")):
                found.append((6, each.address))
    return [address for _, address in sorted(found)] or ["127.0.0.1"]


def features(engine: dict[str, str] | None) -> tuple[str, ...]:
    """What this agent claims on a node with this container engine, or none."""
    return (*FEATURES, "container") if engine else FEATURES


def inventory() -> dict[str, Any]:
    """What the manager is told of the machine at a join: hardware, software, nics; only what is known."""
    return {"hardware": machine.hardware(), "software": machine.software(), "nic": nics.nics()}


def facts(engine: dict[str, str] | None = None) -> dict[str, Any]:
    """What changes rarely."""
    found: dict[str, Any] = {
        "hardware": {**machine.hardware(), "cpus": psutil.cpu_count() or 1},
        "software": {
            "system": platform.system(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "muster": VERSION,
            **machine.software(),
        },
        "nic": nics.nics(),
        "addresses": addresses(),
        "features": list(features(engine)),
    }
    return {**found, "containers": engine} if engine else found
