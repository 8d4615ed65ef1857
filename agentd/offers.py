"""From what lies in the store to what the brain considers."""

from typing import Any

from agentd.core.obey import Offer
from store.codec import loads
from store.errors import BadRecord
from store.kv.projection import Desired


def offer(desired: Desired) -> Offer:
    """A desired hash, parsed entry by entry: one that cannot be read does not hold up the others."""
    entries: dict[str, dict[str, Any] | str] = {}
    for alloc_id, raw in desired.entries.items():
        try:
            entries[alloc_id] = loads(raw, "desired entry")
        except BadRecord as error:
            entries[alloc_id] = str(error)
    return Offer(desired.epoch, desired.rev, desired.uid, entries)
