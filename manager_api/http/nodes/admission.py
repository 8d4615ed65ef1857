"""Who may join, and how fast a fleet may come back: connections bind before anything else does.

A known node is never refused: only a new one takes room that was not there.
"""

from manager_api.http.frame.errors import ApiError
from store.keys import NODES
from store.kv.clients import limit
from store.kv.connection import translated
from store.kv.store import Store
from store.model.server import KEPT_FOR_MANAGERS, PER_NODE, connections_for

RETRY_AFTER = 30
NODES_PER_SECOND = 1000
LEAST_SPREAD, MOST_SPREAD = 0.5, 20.0


def spread(nodes: int) -> float:
    """Seconds over which the agents of so many nodes come back after they all lost the store."""
    return min(max(nodes / NODES_PER_SECOND, LEAST_SPREAD), MOST_SPREAD)


def count(store: Store) -> int:
    """How many nodes are known."""
    with translated():
        return int(store.client.hlen(store.keys.collection(NODES)))


def check_room(store: Store) -> None:
    """Refuse a new node that the store has no connections for.

    Raises:
        ApiError: 503, with the cure.
    """
    most, nodes = limit(store.client), count(store)
    needed = connections_for(nodes + 1)
    if most is None or needed <= most:
        return
    refusal = ApiError(
        503,
        "No room for another node",
        f"the store takes {most} connections (maxclients); {nodes} nodes hold {PER_NODE} each, "
        f"{KEPT_FOR_MANAGERS} are kept back for managers, and one node more needs {needed}. Raise maxclients "
        f"of the store, and its limit of open files (ulimit -n), above that; this agent goes on asking",
    )
    refusal.retry_after = RETRY_AFTER
    raise refusal
