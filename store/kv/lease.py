"""Leases with fencing tokens: hold a name for a while, and prove it."""

import secrets

from store.errors import Fenced
from store.kv.lua import verdict
from store.kv.store import Store

MOST_STEP = 2**20
"""By how much a token is higher than the one before, at most."""


class Lease:
    """A named lease. `leader` is the one whose token the other scripts check."""

    def __init__(self, store: Store, name: str, holder: str, ttl_ms: int) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._ttl_ms = ttl_ms

    def acquire(self) -> int | None:
        """The fencing token, or None while somebody else holds the lease.

        The same holder gets a new token at once: a restarted process fences its former self.
        """
        answer = self._run("acquire", "")
        return None if answer[0] == b"held" else int(answer[1])

    def renew(self, token: int) -> None:
        """Hold it for another time to live.

        Raises:
            Fenced: it ran out, or somebody has it.
        """
        if self._run("renew", str(token))[0] == b"lost":
            raise Fenced(f"the lease {self._name} is no longer held with token {token}")

    def release(self, token: int) -> None:
        """Give it up, if it is still held; somebody else's lease is left alone."""
        self._run("release", str(token))

    def _run(self, verb: str, token: str) -> list[bytes]:
        store = self._store
        keys = [store.keys.meta, store.keys.lease(self._name), store.keys.fence(self._name)]
        step = 1 + secrets.randbelow(MOST_STEP)
        args: list[str | bytes | int] = [store.epoch, verb, self._holder, token, self._ttl_ms, step]
        answer: list[bytes] = store.scripts.run("lease", keys, args)
        if answer[0] in (b"epoch", b"schema"):
            verdict(answer, store.epoch)
        return answer
