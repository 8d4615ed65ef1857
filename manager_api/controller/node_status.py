"""The leader's word on a node: several of its cares say something there, none may take another's away."""

from typing import Any

from store.codec import Json, dumps, loads
from store.errors import BadRecord, Conflict
from store.keys import NODES_STATUS
from store.kv.api import Change, Compare
from store.kv.store import Store


def say(store: Store, node: str, key: str, word: Any, *, token: int) -> None:
    """Write one key of a node's status, or (None) take it away; the others stay.

    Raises:
        Fenced, EpochChanged, StoreEmpty, Unavailable: nothing was written, as far as is known.
    """
    while True:
        found = store.get(NODES_STATUS, node)
        old = _read(found.value) if found else {"v": 1}
        new = {name: each for name, each in old.items() if name != key}
        if word is not None:
            new[key] = word
        if new == old:
            return
        record = dumps(new) if new.keys() - {"v"} else None
        if record is None and found is None:
            return
        try:
            store.txn(
                [Compare(NODES_STATUS, node, found.rev if found else 0)],
                [Change(NODES_STATUS, node, record)],
                token=token,
            )
        except Conflict:
            continue
        return


def _read(raw: bytes) -> Json:
    """What cannot be read is only the leader's own word: it is said anew."""
    try:
        return loads(raw)
    except BadRecord:
        return {"v": 1}
