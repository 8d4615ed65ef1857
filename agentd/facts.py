"""What a node is, and how busy: psutil's figures of the whole machine."""

import platform
import socket
from typing import Any

import psutil

from store.clock import Clock
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


def facts(engine: dict[str, str] | None = None) -> dict[str, Any]:
    """What changes rarely."""
    memory = psutil.virtual_memory()
    found: dict[str, Any] = {
        "hardware": {"cpus": psutil.cpu_count() or 1, "memory": memory.total, "machine": platform.machine()},
        "software": {
            "system": platform.system(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "muster": VERSION,
        },
        "addresses": addresses(),
        "features": list(features(engine)),
    }
    return {**found, "containers": engine} if engine else found


class Load:
    """The machine's load. Looking twice within a second gives the first look's figures."""

    def __init__(self, directory: str, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._cpus = psutil.cpu_count() or 1
        psutil.cpu_percent()
        self._looked = clock.now()
        self._cpu = 0.0

    def sample(self) -> dict[str, Any]:
        """Figures for a heartbeat; memory is what others could not have."""
        now = self._clock.now()
        if now - self._looked >= 1.0:
            self._looked, self._cpu = now, psutil.cpu_percent()
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(self._directory)
        return {
            "load": [round(each, 2) for each in psutil.getloadavg()],
            "cpu_percent": self._cpu,
            "cpus": self._cpus,
            "memory_percent": memory.percent,
            "memory_total": memory.total,
            "memory_used": memory.total - memory.available,
            "disk_percent": disk.percent,
            "disk_total": disk.total,
            "disk_used": disk.used,
        }
