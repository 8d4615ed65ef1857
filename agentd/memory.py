"""The last obeyed orders, on disk: synced before they are acted on, obeyed without a store."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from agentd.core.obey import Orders
from agentd.identity import Identity
from store.faults import fault
from store.process import write_whole

log = logging.getLogger("agent")


@dataclass(slots=True)
class Memory:
    """One file, replaced as a whole."""

    path: Path
    identity: Identity

    def recall(self) -> Orders:
        """What this machine was last told; nothing, if that was another machine or identity."""
        try:
            raw = json.loads(self.path.read_text())
        except FileNotFoundError:
            return Orders()
        except ValueError as error:
            log.error("%s cannot be read: %s; waiting for the store", self.path, error)
            return Orders()
        if raw.get("uid") != self.identity.uid or raw.get("machine") != self.identity.machine:
            return Orders()
        return Orders(raw["epoch"], raw["rev"], raw["entries"], raw.get("ended", {}))

    def remember(self, orders: Orders) -> None:
        """Put new orders on disk, before anything is done about them.

        Raises:
            OSError: they could not be written; they must not be acted on.
        """
        record = {
            "uid": self.identity.uid,
            "machine": self.identity.machine,
            "epoch": orders.epoch,
            "rev": orders.rev,
            "entries": dict(orders.entries),
            "ended": dict(orders.ended),
        }
        fault("brain.memory.before")
        write_whole(self.path, json.dumps(record).encode())
        fault("brain.memory.after")
