"""Whether the store remembers all it ever said; if not, the leader begins the next epoch.

Witnesses are this process's memory, its manager's disk, the nodes (each says which revision it has
obeyed), whoever left a mark in `meta`, and the server itself: a promoted replica may lack what it had
not received. Beginning an epoch is safe to do by itself, because nothing stops by absence.
"""

import logging

from manager_api.controller.mirror import Mirror
from manager_api.core.fleet import Fleet
from store import bootstrap, highest
from store.clock import Clock
from store.errors import EpochChanged, HistoryLost
from store.faults import fault
from store.home import Files
from store.keys import ALLOCATIONS, DEPLOYMENTS, GROUPS, NODES, STATUS, VERSIONS
from store.kv.api import Meta
from store.kv.sentinel import has_sentinels
from store.kv.server import Server
from store.kv.store import Store
from store.model.epoch import Seen, above, contradicts, credible, epoch_number

log = logging.getLogger("controller")

DOUBTED_FOR = 3600.0
"""Seconds in which the same few nodes alone cannot make us begin a second epoch."""
MOST_NAMED = 50
WRITTEN_EVERY = 4.0
"""Seconds between two notes on disk of how far history has gone."""


class History:
    """What one candidate knows of the store's history."""

    def __init__(self, store: Store, clock: Clock, files: Files | None) -> None:
        self._store = store
        self._clock = clock
        self._files = files
        self._memory: Seen | None = None
        self._write_at = 0.0
        self._cluster = ""
        self._doubted: dict[str, float] = {}
        self._called: set[str] = set()
        """Nodes whose word made us lead anew just now."""
        self._said: set[str] = set()
        self._disk_trouble = ""

    def enter(self) -> Meta:
        """Take the store for what it is; `settle` judges it once we lead.

        Raises:
            EpochChanged: it is another cluster's.
            WrongRelease: a later release writes it.
            StoreEmpty, Unavailable: there is nothing to judge.
        """
        self.remember()
        meta = self._store.meta()
        meta.schema.check()
        on_disk = self._files.known_cluster() if self._files is not None else None
        cluster = on_disk or self._cluster or meta.cluster  # `muster recover` writes the disk
        if meta.cluster != cluster:
            raise EpochChanged(f"the store holds cluster {meta.cluster}, not {cluster}")
        self._cluster = cluster
        self._store.enter(meta)
        return meta

    def remember(self) -> None:
        """Note how far history has gone, in memory and on disk."""
        epoch, rev = self._store.epoch, self._store.seen
        if not epoch:
            return
        known = self._memory
        if known is None or (epoch_number(epoch), rev) > (known.number, known.rev):
            self._memory = Seen("this controller", epoch, rev)
        now = self._clock.now()
        if self._files is not None and now >= self._write_at:  # a standby comes here five times a second
            self._write_at = now + WRITTEN_EVERY
            self._record(self._files, Meta(self._cluster, epoch, "", rev))

    def _record(self, files: Files, meta: Meta) -> None:
        """A disk that is full is no reason not to lead: there are other witnesses."""
        try:
            highest.record(files, meta)
            self._disk_trouble = ""
        except OSError as error:
            if str(error) != self._disk_trouble:
                self._disk_trouble = str(error)
                log.warning("how far history has gone is not noted on disk: %s", error)

    def settle(self, mirror: Mirror, before: Fleet | None, token: int) -> bool:
        """As leader, judge what was just read; whether a new epoch began, and all is to be read again.

        `before` is the fleet as this process knew it when it led last.
        """
        meta = self._store.meta()
        server, reason = self._server(meta)
        found = Seen("the store", meta.epoch, meta.rev)
        claims = [*self._own(found), *self._nodes(found, mirror, set(mirror.fleet.nodes))]
        reason = meta.lost or self._verdict(found, claims) or reason
        self._forgive(none_confirmed=not reason)
        if not reason:
            if server != meta.replid:
                self._store.judged(server, token=token)
            return False
        lost = tuple(lost_records(before, mirror.fleet))
        fault("controller.mint.before")
        new = bootstrap.mint(
            self._store,
            above(found, claims),
            kind="lost",
            reason=reason,
            lost=(*lost[:MOST_NAMED], *([f"and {len(lost) - MOST_NAMED} more"] if lost[MOST_NAMED:] else ())),
            token=token,
            replid=server,
        )
        fault("controller.mint.after")
        log.error("history was lost: %s. Epoch %s begins at revision %d", reason, new.epoch, new.rev)
        for each in lost:
            log.error("lost: %s", each)
        return True

    def _forgive(self, *, none_confirmed: bool) -> None:
        """Whose word had us lead anew, and says otherwise by now, does not have us do so again and again."""
        if none_confirmed:
            self._doubted |= dict.fromkeys(self._called, self._clock.now())
        self._called = set()

    def check(self, mirror: Mirror) -> None:
        """While leading: look closer at nodes that seem ahead of the store.

        Raises:
            HistoryLost: they are; lead anew, which judges it.
        """
        ahead = mirror.take_ahead()
        if not ahead:
            return
        meta = self._store.meta()
        found = Seen("the store", meta.epoch, meta.rev)
        reason = self._verdict(found, self._nodes(found, mirror, ahead), note=False)
        if reason:
            self._called = {f"node {node}" for node in ahead}
            raise HistoryLost(reason)

    def _server(self, meta: Meta) -> tuple[str, str]:
        """The server's replication id, and why its history is in doubt."""
        own, former = Server(self._store.client).lineage()
        if not meta.replid or own == meta.replid:
            return own, ""
        if former or has_sentinels(self._store.client):  # one that restarts forgets whose replica it was
            return own, "a replica was promoted, perhaps: it may lack what it had not received"
        return own, ""

    def _own(self, found: Seen) -> list[Seen]:
        claims = [self._memory] if self._memory is not None else []
        if self._files is not None:
            number, rev = highest.recorded(self._files)
            if number > 0:
                epoch = found.epoch if number == found.number else f"{number}-"
                claims.append(Seen("this manager's disk", epoch, rev))
        return claims

    def _nodes(self, found: Seen, mirror: Mirror, nodes: set[str]) -> list[Seen]:
        """What nodes have obeyed, as far as it can be believed."""
        claims = []
        for node in sorted(nodes & mirror.fleet.nodes.keys()):
            beat = mirror.fleet.states[node].beat
            if beat.get("epoch") and beat.get("uid") == mirror.fleet.nodes[node].data["uid"]:
                claims.append(Seen(f"node {node}", str(beat["epoch"]), int(beat["rev"])))
        believed = credible(found, claims)
        known = set(believed)  # 10,000 nodes in a list took half a minute
        for claim in claims:
            if claim not in known and claim.who not in self._said:
                self._said.add(claim.who)
                log.error(
                    "%s claims revision %d of epoch %s: not believed", claim.who, claim.rev, claim.epoch
                )
        return believed

    def _verdict(self, found: Seen, claims: list[Seen], *, note: bool = True) -> str:
        """Why history was lost, or ''. A few nodes that made us begin one are not heard alone again soon."""
        witnesses = [(claim, why) for claim in claims if (why := contradicts(found, claim)) is not None]
        now = self._clock.now()
        fresh = [
            each for each in witnesses if self._doubted.get(each[0].who, -DOUBTED_FOR) + DOUBTED_FOR <= now
        ]
        if not fresh:
            return ""
        few = len(fresh) == 1 or len(fresh) * 2 < len(claims)
        if note and few and all(claim.who.startswith("node ") for claim, _ in fresh):
            self._doubted |= {claim.who: now for claim, _ in fresh}
        return fresh[0][1]


def lost_records(before: Fleet | None, after: Fleet) -> list[str]:
    """Records that were known and are gone, or are older than they were: `collection/field`."""
    if before is None:
        return []
    pairs = (
        (DEPLOYMENTS, before.deployments, after.deployments),
        (VERSIONS, before.versions, after.versions),
        (NODES, before.nodes, after.nodes),
        (GROUPS, before.device_groups, after.device_groups),
        (STATUS, before.status, after.status),
        (ALLOCATIONS, before.allocations, after.allocations),
    )
    return [
        f"{name}/{field}"
        for name, old, new in pairs
        for field, stored in sorted(old.items())
        if field not in new or new[field].rev < stored.rev
    ]
