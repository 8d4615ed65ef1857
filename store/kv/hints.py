"""Agents' hints that their `actual` moved. Lossy and forgeable: they only make things sooner."""

from store.keys import Keys, is_node_id
from store.kv.connection import Client, translated


class Hints:
    """A subscription, for one thread."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._subscribed = False

    def wait(self, seconds: float) -> set[str]:
        """Node ids that were named within so many seconds; all that are there at once."""
        with translated():
            if not self._subscribed:
                self._pubsub.subscribe(self._keys.hints)
                self._subscribed = True
            named: set[str] = set()
            message = self._pubsub.get_message(timeout=seconds)
            while message is not None:
                if message["type"] == "message":
                    named.add(message["data"].decode(errors="replace"))
                message = self._pubsub.get_message(timeout=0)
            return {name for name in named if is_node_id(name)}

    def reset(self) -> None:
        """Forget the connection; the next wait makes a new one."""
        self._subscribed = False
        self._pubsub.close()
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
