"""Answers kept for those who ask again: one key for each, first claimed, then answered; both expire.

None of it is a record: an answer that is lost means that the call is made once more.
"""

from store.codec import Json, dumps, loads
from store.keys import Keys
from store.kv.connection import Client, translated
from store.kv.lua import Scripts

CLAIMED_MS = 60_000
"""How long a claim whose claimer died keeps others waiting. Longer than any call takes."""
KEPT_MS = 24 * 3600 * 1000


class Replays:
    """The answers of one store. Threads may share it."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def claim(self, name: str, claim: Json) -> Json | None:
        """Have a name for a while; None: it is ours. Else what lies there: another's claim, or an answer.

        Raises:
            StoreError: it is not known whose it is.
        """
        key, raw = self._keys.replay(name), dumps(claim)
        while True:
            with translated():
                if self._client.set(key, raw, nx=True, px=CLAIMED_MS):
                    return None
                found = self._client.get(key)
            if found is not None:
                return loads(found, "replay")

    def keep(self, name: str, claim: Json, answer: Json, lives_ms: int = KEPT_MS) -> bool:
        """Put an answer in place of our claim; False: it was not ours any more.

        Raises:
            StoreError: it may not be kept.
        """
        return self._settle(name, claim, dumps(answer), lives_ms)

    def give_up(self, name: str, claim: Json) -> bool:
        """Leave a name free, if it is ours.

        Raises:
            StoreError: it may stay ours until it expires.
        """
        return self._settle(name, claim, b"", 0)

    def _settle(self, name: str, claim: Json, answer: bytes, lives_ms: int) -> bool:
        keys = [self._keys.replay(name)]
        return bool(self._scripts.run("settle", keys, [dumps(claim), answer, lives_ms]))
