"""One leader at a time, by lease; every write of it carries its fencing token."""

from store.clock import Clock
from store.errors import Fenced
from store.kv.lease import Lease
from store.kv.store import Store

TTL = 5.0
"""Seconds without renewal after which somebody else may lead."""


class Election:
    """A candidate. `token` is its proof while it leads, None otherwise."""

    def __init__(self, store: Store, holder: str, clock: Clock, ttl: float = TTL) -> None:
        self._lease = Lease(store, "leader", holder, int(ttl * 1000))
        self._clock = clock
        self._ttl = ttl
        self._renew_at = 0.0
        self.token: int | None = None

    def campaign(self) -> bool:
        """Lead, or go on leading; whether we do. Cheap to call often.

        Raises:
            Fenced: we led, and somebody else does now. The next call is a fresh candidacy.
        """
        now = self._clock.now()
        if self.token is None:
            self.token = self._lease.acquire()
        elif now >= self._renew_at:
            try:
                self._lease.renew(self.token)
            except Fenced:
                self.token = None
                raise
        else:
            return True
        self._renew_at = now + self._ttl / 3
        return self.token is not None

    def resign(self) -> None:
        """Let somebody else lead at once."""
        token, self.token = self.token, None
        if token is not None:
            self._lease.release(token)

    def forget(self) -> None:
        """Stop believing that we lead: the store's answers can no longer be trusted."""
        self.token = None
