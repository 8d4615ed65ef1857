"""Who may join, and how fast a fleet may come back: connections bind before anything else does.

A known node is never refused: only a new one takes room that was not there.
"""

from manager_api.http.errors import ApiError
from store.keys import NODES
from store.kv.clients import PER_NODE, ROOM, limit
from store.kv.connection import translated
from store.kv.store import Store

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

    Every node holds `PER_NODE` of them, and `ROOM` are kept back for managers and readers of logs.

    Raises:
        ApiError: 503, with the cure.
    """
    most = limit(store.client)
    nodes = count(store)
    if most is None or PER_NODE * (nodes + 1) + ROOM <= most:
        return
    needed = PER_NODE * (nodes + 1) + ROOM
    refusal = ApiError(
        503,
        "No room for another node",
        f"the store takes {most} connections (maxclients); {nodes} nodes hold {PER_NODE} each, {ROOM} are "
        f"kept back for managers, and one node more needs {needed}. Raise maxclients of the store, and "
        f"its limit of open files (ulimit -n), above that; this agent goes on asking",
    )
    refusal.retry_after = RETRY_AFTER
    raise refusal
