"""Keeps a server's connections from being taken by a few, through one that is never given back."""

import logging

from manager_api.settings import StoreAccess
from store.clock import Clock
from store.errors import StoreError
from store.kv import clients
from store.kv.connection import Client, connect

log = logging.getLogger("manager")

ANSWER_WITHIN = 1.0
EVERY = 2.0
SHUT_OUT = 5.0
"""Seconds: long enough for every manager to come through."""


class Warden:
    """For one server. `tick` whenever there is time; it raises nothing."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._next = 0.0
        self._out: dict[str, float] = {}
        self._said = False

    def tick(self) -> None:
        """Look, if it is time to: drop what is too much, let in who was out long enough."""
        now = self._clock.now()
        if now < self._next:
            return
        self._next = now + EVERY
        try:
            over = [user for user, until in self._out.items() if now >= until]
            if over:
                clients.let_in(self._client, over)
                self._out = {user: until for user, until in self._out.items() if now < until}
            self._note(clients.police(self._client), now)
        except StoreError as error:
            # No place for us, perhaps: the next one that is free must be ours.
            self._next = now
            log.debug("connections cannot be looked at: %s", error)

    def _note(self, done: clients.Policed | None, now: float) -> None:
        if done is None:
            self._said = False
            return
        for user, held in done.shut_out.items():
            self._out[user] = now + SHUT_OUT
            log.warning(
                "%s held %d of the store's %d connections: dropped, and shut out for %.0f s; if this goes "
                "on, its credential is stolen: delete `secret` from its identity.json and restart its agent",
                user, held, done.limit, SHUT_OUT,
            )  # fmt: skip
        if not (done.shut_out or done.nameless or self._said):
            self._said = True
            log.warning(
                "the store holds %d of %d connections (maxclients): raise maxclients and its limit of open "
                "files, or managers may be shut out", done.connected, done.limit,
            )  # fmt: skip


def wardens(access: StoreAccess, clock: Clock) -> list[Warden]:
    """One for each server that the manager knows, with a connection of its own that stays open."""
    found = [connect(access.url, name="warden", password=access.password(), within=ANSWER_WITHIN)]
    if access.presence_url:
        found.append(connect(access.presence_url, name="warden", within=ANSWER_WITHIN))
    return [Warden(client, clock) for client in found]
