"""Connections of a server: how many there may be, and the policing of those that take too many.

Redis keeps no connection back for anybody, so whoever opens enough shuts the managers out. A
manager's connection that is open stays open; through it, nodes that hold too many lose theirs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from store.kv.connection import Client, translated
from store.kv.server import user_of
from store.model.server import KEPT_FOR_MANAGERS

MOST_OF_ONE = 10
"""An agent that reconnects may hold a few dead ones beside its own."""
UNNAMED_SECONDS = 10
"""Longest that a connection may go without saying who it is, while there is a crowd."""


@dataclass(frozen=True, slots=True)
class Policed:
    """What was done."""

    connected: int
    limit: int
    shut_out: dict[str, int]
    """Users that held too many, and how many: they lost them, and cannot come back before `let_in`."""
    nameless: int = 0
    """Dropped connections of nobody."""


def limit(client: Client) -> int | None:
    """The most connections that a server takes; None if it does not say."""
    with translated():
        found = client.info("clients").get("maxclients")
        if found is None:  # before 7.0
            found = client.config_get("maxclients").get("maxclients")
    return None if found is None else int(found)


def police(client: Client) -> Policed | None:
    """Shut out node users that hold too many connections, if the server is crowded; else None.

    A shut-out user loses all it holds, and is refused until `let_in`: so there is a time in which
    managers and other nodes come through, however fast the flood is.
    """
    with translated():
        about = client.info("clients")
        connected, most = int(about["connected_clients"]), limit(client)
        if most is None or not crowded(connected, most):
            return None
        rows = client.client_list()
        held = Counter(row["user"] for row in rows if row.get("user", "").startswith(user_of("")))
        greedy = {user: number for user, number in held.items() if number > MOST_OF_ONE}
        nameless = [row["id"] for row in rows if _nameless(row)]
        pipe = client.pipeline(transaction=False)
        for user in greedy:
            pipe.execute_command("ACL", "SETUSER", user, "off")
            pipe.execute_command("CLIENT", "KILL", "USER", user)
        for number in nameless:
            pipe.execute_command("CLIENT", "KILL", "ID", number)
        pipe.execute(raise_on_error=False)
    return Policed(connected, most, greedy, len(nameless))


def let_in(client: Client, users: Iterable[str]) -> None:
    """Let users in again that were shut out. One that is gone meanwhile stays gone."""
    with translated():
        known = set(client.acl_users())
        pipe = client.pipeline(transaction=False)
        for user in known.intersection(users):
            pipe.execute_command("ACL", "SETUSER", user, "on")
        pipe.execute()


def crowded(connected: int, most: int) -> bool:
    """Whether what is kept back for managers is being taken: half of it, for they hold some themselves.

    A fleet may be as large as admission lets it be without being called a crowd: to look who holds what
    costs the server milliseconds for every thousand of them.
    """
    return connected > most - min(KEPT_FOR_MANAGERS // 2, most // 2)


def _nameless(row: dict[str, str]) -> bool:
    """Connected for a while, and never said a word, or never who it is."""
    silent = row.get("cmd") in ("NULL", "auth", "hello") and not row.get("name")
    return row.get("user") == "default" and silent and int(row.get("age", 0)) > UNNAMED_SECONDS
