"""Whether the index of devices says what the records do: many devices take seconds, however many ask."""

import threading

from manager_api.inventory import agreement
from store.clock import Clock
from store.codec import Json
from store.kv.store import Store

SHARE = 10
"""For so many times as long as it took to find is an answer that all is well good for others."""


class IndexLook:
    """One look at a time in this process, and a tenth of its time at most while all is well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[str, float, Json] | None = None
        """Epoch, until when it is good, and what was found."""

    def __call__(self, store: Store) -> Json:
        """What there is to say of the index, in whatever epoch the store is.

        Raises:
            StoreError: the store does not answer, or holds nothing.
        """
        view = Store(store.client, store.keys)
        view.enter(store.meta())
        with self._lock:
            if (
                self._found is not None
                and self._found[0] == view.epoch
                and self._clock.now() < self._found[1]
            ):
                return self._found[2]
            began = self._clock.now()
            look = agreement.look(view)
            ended = self._clock.now()
            self._found = (
                (view.epoch, ended + SHARE * (ended - began), look.as_json()) if look.agrees else None
            )
            return look.as_json()
