"""Follows the store as the controller does: lists, watches from there, lists again when told to."""

import threading
from dataclasses import dataclass, field

from store.errors import Compacted, EpochChanged, HistoryLost, Unavailable
from store.kv.watch import Watch

COLLECTIONS = ("alpha", "beta")


@dataclass
class Session:
    """One list and the watch from it: all changes in (`began`, `reached`] were events of it."""

    began: int
    reached: int
    events: list = field(default_factory=list)
    why: str = ""


class Follower(threading.Thread):
    """A mirror of the collections in memory, and a record of how it was kept."""

    def __init__(self, store, rng):
        super().__init__(name="follower", daemon=True)
        self.store, self.rng = store, rng
        self.mirror = {}
        self.sessions = []
        self.trouble = None
        self._stop_at = None
        self._ended = threading.Event()

    def finish(self, rev):
        """Follow up to a revision, then end."""
        self._stop_at = rev

    def caught_up(self):
        at = self.sessions[-1].reached if self.sessions else 0
        return self._stop_at is not None and at >= self._stop_at

    def run(self):
        while not self.caught_up():
            try:
                self._session()
            except HistoryLost as error:
                self.trouble = error
                return
            except (Unavailable, EpochChanged, Compacted) as error:
                if self.sessions:
                    self.sessions[-1].why = type(error).__name__
                self._ended.wait(0.02)
            except Exception as error:
                self.trouble = error
                return

    def _session(self):
        self.store.attach()
        snapshot = self.store.snapshot(COLLECTIONS)
        self.mirror = {
            (name, key): record
            for name, found in snapshot.collections.items()
            for key, record in found.items()
        }
        watch = Watch(self.store.client, self.store.keys, epoch=snapshot.epoch, after=snapshot.rev)
        session = Session(snapshot.rev, snapshot.rev)
        self.sessions.append(session)
        while not self.caught_up():
            try:
                events = watch.poll(self.rng.choice((0, 50, 200)), most=self.rng.choice((1, 2, 7, 1024)))
            except Unavailable:
                if self.rng.random() < 0.5:
                    raise  # the controller's way: list again
                self._ended.wait(0.02)  # the watch's own promise: nothing is skipped
                continue
            session.events += events
            self._apply(events)
            # All of a revision was handed out once the watch says so.
            session.reached = watch.rev
            if self.rng.random() < 0.1:
                self._ended.wait(self.rng.random() * 0.1)  # a slow one falls behind

    def _apply(self, events):
        moved = list(dict.fromkeys((event.collection, event.field) for event in events))
        if not moved:
            return
        while True:
            try:
                records = self.store.get_many(moved)
                break
            except Unavailable:
                self._ended.wait(0.02)
        for key, record in zip(moved, records, strict=True):
            if record is None:
                self.mirror.pop(key, None)
            else:
                self.mirror[key] = record


def check_session(session, acknowledged):
    """In order, nothing twice, and no acknowledged change missing in between."""
    seen = [(event.rev, event.collection, event.field) for event in session.events]
    revs = [rev for rev, _, _ in seen]
    assert revs == sorted(revs), "revisions fell"
    assert len(set(seen)) == len(seen), "an event came twice"
    assert all(rev > session.began for rev in revs), "an event of what was listed already"
    missed = {
        (rev, *what) for rev, changes in acknowledged.items() for what in changes
        if session.began < rev <= session.reached
    } - set(seen)  # fmt: skip
    assert not missed, f"changes that nobody was told of: {sorted(missed)[:5]}"
