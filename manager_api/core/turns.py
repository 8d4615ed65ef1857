"""Turns at servers of files: who holds one, who waits, who is next.

A turn is held from before its node can know of it until its node cannot use it any more: its heartbeat, as
this leader read it, does not ask for it, or the node was silent for longer than a heartbeat lives. So there
are never more than `limit` at one server, whoever led before. What each call costs grows with what moved, not
with how many wait. `manager_api.controller.turns` writes it down.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from math import inf
from typing import Any

from manager_api.core.lines import Line
from store.model.beat import DEFAULT_TTL
from store.model.turns import MOST_TTL, PER_SOURCE, Ask, Held, asks_of
from transfer.urls import BASE

NO_BASE = "no --sftp-host is configured on the manager that leads"
MOST_MOVED = 1000
"""Nodes whose news one round takes note of; it may be that all of a fleet ask at once."""
MOST_WATCHED = 200
"""Nodes that are looked at out of turn."""


@dataclass(slots=True)
class Asking:
    """What a node's last heartbeat asks for."""

    uid: str
    ttl: float
    asks: Mapping[str, Ask]


@dataclass(slots=True)
class Holder:
    """A node's turns."""

    uid: str
    ttl: float
    turns: dict[str, str] = field(default_factory=dict)
    """Ask to server."""
    heard: bool = True
    """Whether this leader has read a heartbeat of the node."""
    until: float = -inf
    """Silence gives nothing back before then (steady seconds)."""


class Turns:
    """One leader's view. Whoever changes it writes down what has changed, or leads no more."""

    def __init__(self, limit: int = PER_SOURCE, base: str | None = None) -> None:
        self.limit = limit
        self.base = base
        """The server that `~` means; None: there is none."""
        self.asking: dict[str, Asking] = {}
        self.holders: dict[str, Holder] = {}
        self.refused: dict[str, dict[str, str]] = {}
        """Asks that cannot be granted as things are, and why; judged again at the node's next heartbeat."""
        self._waiting: dict[str, dict[str, str]] = {}
        self._lines: dict[str, Line] = {}
        self._open: dict[str, None] = {}
        self._moved: dict[str, None] = {}

    # -- what is heard

    def hear(self, node: str, beat: Mapping[str, Any]) -> None:
        """A heartbeat of a node was read."""
        asks = asks_of(beat) if "fetching" in beat else {}
        before, holder = self.asking.get(node), self.holders.get(node)
        if not asks and before is None and holder is None:
            return
        uid, ttl = str(beat.get("uid", "")), min(float(beat.get("ttl", DEFAULT_TTL)), MOST_TTL)
        if holder is not None:
            if not holder.heard or (before is not None and before.asks != asks):
                self._moved[node] = None
            holder.heard = True
            holder.ttl = ttl if uid == holder.uid else holder.ttl
        if before is None or before.asks != asks or before.uid != uid or node in self.refused:
            self._moved[node] = None
        if asks:
            self.asking[node] = Asking(uid, ttl, asks)
        else:
            self.asking.pop(node, None)

    def forget(self, node: str, now: float) -> None:
        """The node was removed: until its last heartbeat is over it may use what it holds."""
        self.asking.pop(node, None)
        self._moved[node] = None
        holder = self.holders.get(node)
        if holder is not None:
            holder.heard, holder.until = False, now + holder.ttl

    def recover(self, node: str, held: Held, *, until: float, heard: bool) -> None:
        """An earlier leader has given these."""
        holder = self.holders.get(node)
        if holder is None:
            holder = self.holders[node] = Holder(held.uid, held.ttl, heard=heard, until=until)
        for ask, server in held.turns.items():
            if ask not in holder.turns:
                if ask in self._waiting.get(node, ()):
                    self._leave(node, ask)
                holder.turns[ask] = server
                self._line(server).take(node, self._waiting.get(node, ()))
        self._moved[node] = None

    def rebase(self, base: str | None) -> None:
        """`~` means this server from now on."""
        if base != self.base:
            self.base = base
            self._moved |= dict.fromkeys(self.asking)

    def server(self, pool: str) -> str | None:
        """The server of a pool."""
        return self.base if pool == BASE else pool.lower()

    # -- what follows from it

    @property
    def behind(self) -> bool:
        """Whether something was heard of which no note has been taken."""
        return bool(self._moved)

    def take_back(self, most: int = MOST_MOVED) -> tuple[set[str], set[str]]:
        """Take note of what was heard, of so many nodes; those that gave turns back, and all of them."""
        holding = (node for node in self._moved if node in self.holders)
        moved = dict.fromkeys(islice(chain(holding, self._moved), most))
        for node in moved:
            del self._moved[node]
        gave: set[str] = set()
        for node in moved:
            holder = self.holders.get(node)
            if holder is not None and holder.heard:
                asking = self.asking.get(node)
                asks = asking.asks if asking is not None and asking.uid == holder.uid else {}
                over = [ask for ask in holder.turns if ask not in asks]
                self._free(node, over)
                if over:
                    gave.add(node)
        for node in moved:
            self._stand(node)
        return gave, set(moved)

    def silent(self, now: float, is_away: Callable[[str], bool]) -> set[str]:
        """Take back the turns of nodes that are surely gone: these."""
        gone = {node for node, holder in self.holders.items() if now >= holder.until and is_away(node)}
        for node in gone:
            self._free(node, list(self.holders[node].turns))
        return gone

    def give(self, judge: Callable[[str, Ask], str | None], most: int) -> set[str]:
        """Give what is free to those who are next; the nodes that got some.

        `judge` says why a node must not have a turn; it is asked about `most` times.
        """
        got: set[str] = set()
        for server in list(self._open):
            line, key = self._lines[server], None
            while line.total < self.limit and most > 0:
                key = line.next(max(1, self.limit // 2))
                if key is None or key[0] in self._moved:
                    break
                most -= 1
                node, ask = key
                asking = self.asking[node]
                why = judge(node, asking.asks[ask])
                self._leave(node, ask)
                if why is not None:
                    self.refused.setdefault(node, {})[ask] = why
                    continue
                self._hold(node, ask, server, asking)
                got.add(node)
            if most <= 0:
                break
            if key is not None and line.total < self.limit:
                continue  # what it asks for now is taken note of first
            del self._open[server]
            self._tidy(server)
        return got

    def _hold(self, node: str, ask: str, server: str, asking: Asking) -> None:
        holder = self.holders.get(node)
        if holder is None:
            holder = self.holders[node] = Holder(asking.uid, asking.ttl)
        holder.turns[ask] = server
        self._lines[server].take(node, self._waiting.get(node, ()))

    def _free(self, node: str, asks: Iterable[str]) -> None:
        holder = self.holders[node]
        for ask in asks:
            server = holder.turns.pop(ask)
            self._lines[server].give_back(node, self._waiting.get(node, ()))
            self._open[server] = None
        if not holder.turns:
            del self.holders[node]

    def _stand(self, node: str) -> None:
        """Wait for what is asked for and not held, and for nothing else."""
        self.refused.pop(node, None)
        asking, holder = self.asking.get(node), self.holders.get(node)
        held: Mapping[str, str] = holder.turns if holder is not None else {}
        waiting = self._waiting.get(node, {})
        wanted: dict[str, str] = {}
        for ask, each in asking.asks.items() if asking is not None else ():
            server = self.server(each.pool)
            if ask in held:
                continue
            if server is None:
                self.refused.setdefault(node, {})[ask] = NO_BASE
            else:
                wanted[ask] = server
        for ask in [ask for ask, server in waiting.items() if wanted.get(ask) != server]:
            self._leave(node, ask)
        for ask, server in wanted.items():
            if ask not in waiting:
                self._waiting.setdefault(node, {})[ask] = server
                self._line(server).add((node, ask))
                self._open[server] = None

    def _leave(self, node: str, ask: str) -> None:
        waiting = self._waiting[node]
        server = waiting.pop(ask)
        if not waiting:
            del self._waiting[node]
        self._lines[server].drop((node, ask))
        self._open[server] = None

    def _line(self, server: str) -> Line:
        return self._lines.setdefault(server, Line())

    def _tidy(self, server: str) -> None:
        line = self._lines[server]
        if not line.total and not len(line):
            del self._lines[server]

    # -- what can be said of it

    def stands(self, node: str) -> dict[str, Ask]:
        """The turns that a node holds and asks for; what it does not ask for it has given back, or will."""
        asking, holder = self.asking.get(node), self.holders.get(node)
        if asking is None or holder is None or asking.uid != holder.uid:
            return {}
        return {ask: each for ask, each in asking.asks.items() if ask in holder.turns}

    def record(self, node: str) -> Held | None:
        """What the next leader has to know of a node; None: nothing."""
        holder = self.holders.get(node)
        return Held(holder.uid, dict(holder.turns), holder.ttl) if holder is not None else None

    def lines(self) -> Mapping[str, Line]:
        """Everybody who waits, by server."""
        return self._lines

    def waits(self, node: str) -> dict[str, str]:
        """What a node asks for and does not hold, with the server, or why it cannot be had."""
        return {**self._waiting.get(node, {}), **self.refused.get(node, {})}

    def watched(self) -> list[str]:
        """Nodes for whose turns others wait."""
        found: dict[str, None] = {}
        for line in self._lines.values() if self._waiting else ():
            if len(line):
                found |= dict.fromkeys(line.taken)
            if len(found) >= MOST_WATCHED:
                break
        return list(found)[:MOST_WATCHED]
