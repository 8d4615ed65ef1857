"""Agents' hints that their `actual` moved. Lossy and forgeable: they only make things sooner."""

from store.keys import Keys, is_node_id
from store.kv.connection import Client, translated

MOST_HEARD = 2000
"""Messages in one go: a storm of them must not keep us from handing on any."""


class Hints:
    """A subscription, for one thread."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._subscribed = False
        self.storm = False
        """Whether the last wait ended for the number of its messages."""

    def wait(self, seconds: float) -> set[str]:
        """Node ids that were named within so many seconds; those that are there at once, within reason."""
        with translated():
            if not self._subscribed:
                self._pubsub.subscribe(self._keys.hints)
                self._subscribed = True
            named: set[str] = set()
            message = self._pubsub.get_message(timeout=seconds)
            heard = 0
            while message is not None and heard < MOST_HEARD:
                heard += 1
                if message["type"] == "message":
                    name = message["data"].decode(errors="replace")
                    named |= {name} if is_node_id(name) else set()
                message = self._pubsub.get_message(timeout=0)
            self.storm = heard == MOST_HEARD
            return named

    def reset(self) -> None:
        """Forget the connection; the next wait makes a new one."""
        self._subscribed = False
        self._pubsub.close()
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
