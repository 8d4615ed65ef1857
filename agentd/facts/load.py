"""How busy a machine is: psutil's figures of all of it."""

from typing import Any

import psutil

from store.clock import Clock


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
