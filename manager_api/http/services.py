"""What the resources of one worker process share: store view, decisions, clock."""

from collections.abc import Callable
from typing import TypeVar

from manager_api.http.waiting.decisions import Decisions
from manager_api.http.waiting.ear import Ear
from manager_api.http.waiting.sharing import Room, Sharing
from manager_api.settings import StoreAccess
from store.clock import Clock
from store.errors import EpochChanged, HistoryLost
from store.kv.connection import connect
from store.kv.presence import apart
from store.kv.projection import Projection
from store.kv.store import Store

T = TypeVar("T")


class Services:
    """Made before the fork, connected after it, attached at the first request."""

    def __init__(self, access: StoreAccess, clock: Clock, store: Store | None = None) -> None:
        self.access = access
        self.clock = clock
        self._store = store
        self.slot = 0
        """Which of the worker processes this is: a number that no other living one has."""
        self.room = Room()
        self.sharing = Sharing()
        self._ear = self._new_ear(store) if store is not None else None
        self.stopping: Callable[[], bool] = lambda: False
        """Whether this process shall end, and with it what would go on for long."""

    def after_fork(self) -> None:
        """Make this process's own connections. Nothing is sent yet: the store may not be up."""
        client = connect(self.access.url, name="api", password=self.access.password(), recheck=True)
        presence = apart(self.access.presence_url, name="api-presence", clock=self.clock)
        self._store = Store(client, presence=presence)
        self._ear = self._new_ear(self._store)
        self.room, self.sharing = Room(), Sharing()

    @property
    def store(self) -> Store:
        """This worker's view of the store."""
        if self._store is None:
            self.after_fork()
        assert self._store is not None
        return self._store

    @property
    def projection(self) -> Projection:
        """The per-node keys."""
        return Projection(self.store)

    def _new_ear(self, store: Store) -> Ear:
        return Ear(store, lambda: self.stopping())  # noqa: PLW0108 - what it is by then

    @property
    def ear(self) -> Ear:
        """Hears what changes."""
        if self._ear is None:
            self.after_fork()
        assert self._ear is not None
        return self._ear

    @property
    def decisions(self) -> Decisions:
        """Wakes those who wait for the controller."""
        return Decisions(self.ear)

    def call(self, action: Callable[[Store], T]) -> T:
        """Run one request's work on the store; once more when a new epoch has begun meanwhile.

        A worker keeps nothing between requests, so a new epoch costs it only the second try.
        Lost history in the same epoch is not obeyed.
        """
        store = self.store
        if not store.epoch:
            store.attach()
        try:
            return action(store)
        except HistoryLost:
            raise
        except EpochChanged:
            store.attach()
            return action(store)
