"""What the leader sees to on its servers beside the records: connections, and users for heartbeats."""

import logging
from typing import Protocol

from manager_api.controller.mirror import Mirror
from manager_api.warden import Warden
from store.batches import batches
from store.clock import Clock
from store.errors import Unavailable
from store.kv.presence import Apart, grant_beats
from store.kv.store import Store

log = logging.getLogger("controller")

GRANTED_AT_ONCE = 500


class Tender(Protocol):
    """One care. It raises nothing about servers other than the store itself."""

    def tick(self, mirror: Mirror) -> None:
        """Housekeeping has come round."""

    def anew(self) -> None:
        """We have just begun to lead, or the store is another server."""


class Connections:
    """Nobody takes so many connections of the store that managers have none."""

    def __init__(self, warden: Warden) -> None:
        self._warden = warden

    def tick(self, _mirror: Mirror) -> None:
        """See to it."""
        self._warden.tick()

    def anew(self) -> None:
        """Nothing is remembered."""


class BeatUsers:
    """The presence store knows the nodes' users: in part at each housekeeping, whole when it is another."""

    def __init__(self, store: Store, presence: Apart) -> None:
        self._store = store
        self._presence = presence
        self._run_id = ""
        self._granted: dict[str, str] = {}

    def anew(self) -> None:
        """Grant all of them."""
        self._run_id = ""

    def tick(self, mirror: Mirror) -> None:
        """Grant those that it may not know."""
        try:
            run_id = str(self._presence.ask(lambda client: client.info("server"))["run_id"])
            if run_id != self._run_id:
                self._granted, self._run_id = {}, run_id
            wanted = mirror.fleet.secrets()
            self._granted = {node: secret for node, secret in self._granted.items() if node in wanted}
            missing = [node for node, secret in wanted.items() if self._granted.get(node) != secret]
            for batch in batches(missing, GRANTED_AT_ONCE):
                self._grant({node: wanted[node] for node in batch})
        except Unavailable as error:
            log.debug("users of the presence store: %s", error)

    def _grant(self, secrets: dict[str, str]) -> None:
        self._presence.ask(lambda client: grant_beats(client, self._store.keys, secrets))
        self._granted |= secrets


def tenders(store: Store, clock: Clock) -> list[Tender]:
    """What there is to see to on the servers of a store."""
    found: list[Tender] = [Connections(Warden(store.client, clock))]
    if store.presence is not None:
        found.append(BeatUsers(store, store.presence))
    return found
