"""`NodeLink`: the verbs by which the brain reaches the store. Redis is the first to speak them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from store.kv.asks import Chunk
from store.kv.node import Pulse, Word
from store.kv.projection import Desired


class NodeLink(Protocol):
    """All may raise `store.errors.StoreError`; none keeps state that matters."""

    def claim(self, uid: str, beat: bytes, ttl_ms: int) -> None:
        """Take the node id. Raises `Claimed` while another uid's heartbeat lives."""

    def beat(self, beat: bytes, ttl_ms: int) -> Pulse:
        """Renew the heartbeat; learn where desired stands."""
        ...

    def granted(self) -> bytes | None:
        """The grant key as it is, see `store.model.turns`; None: there is none, or it may not be read yet."""
        ...

    def fetch(self) -> Desired:
        """Desired, whole."""
        ...

    def report(self, puts: Mapping[str, bytes], deletes: Sequence[str]) -> None:
        """Write what changed in `actual`."""

    def reported(self) -> dict[str, bytes]:
        """What lies in `actual`."""
        ...

    def hint(self) -> None:
        """Make the manager look sooner."""

    def describe(self, facts: Mapping[str, bytes]) -> None:
        """Write the node's facts."""

    def leave(self) -> None:
        """Be offline at once."""

    def wake(self, wait_ms: int) -> Word:
        """Wait for hints and asks. An ask may be heard more than once."""
        ...

    def chunk(self, ask: str, chunks: Sequence[Chunk]) -> None:
        """Answer an ask (for logs), piece by piece. For another thread than the beats'."""

    def rest(self) -> None:
        """Nobody asks just now: hold no connection for answers."""

    def close(self) -> None:
        """Let go of all connections."""
