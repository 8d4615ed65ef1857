"""A process that does random things to few records, and writes down what it saw. May be killed any time."""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from store.errors import Conflict, StoreError, Unavailable
from store.kv.api import Change, Compare
from store.kv.connection import connect
from store.kv.store import Store
from tests.linear.history import Recorder

COLLECTIONS = ("alpha", "beta")
FIELDS = ("x", "y")
KEYS = [f"{name}/{field}" for name in COLLECTIONS for field in FIELDS]
ANSWER_WITHIN = 1.0
"""Seconds until this client gives up on an answer: shorter than the pauses of the server."""


class Client:
    def __init__(self, store, recorder, name):
        self.store = store
        self.recorder = recorder
        self.rng = random.Random(name)
        self.name = name
        self.known = dict.fromkeys(KEYS, 0)
        self.count = 0

    def step(self):
        """One operation, answered or not."""
        keys = self.rng.sample(KEYS, self.rng.choice((1, 1, 2)))
        try:
            self.rng.choice((self.look, self.list, self.write, self.write, self.write))(keys)
        except Unavailable:
            self.wait_for_store()

    def look(self, keys):
        self.recorder.called()
        found = self.store.get_many([key.split("/") for key in keys])
        self.saw(zip(keys, found, strict=True))

    def list(self, _):
        self.recorder.called()
        found = self.store.snapshot(COLLECTIONS)
        self.saw(
            [(key, found.collections[key.split("/")[0]].get(key.split("/")[1])) for key in KEYS], found.rev
        )

    def saw(self, records, rev=0):
        reads = [(key, r.value.decode() if r else None, r.rev if r else 0) for key, r in records]
        self.recorder.answered(reads=reads, rev=rev)
        self.known.update({key: mod for key, _, mod in reads})

    def write(self, keys):
        self.count += 1
        value = None if self.rng.random() < 0.15 else f"{self.name}.{self.count}"
        writes = [(key, value) for key in keys]
        compares = [(key, self.known[key]) for key in keys if self.rng.random() < 0.6]
        self.recorder.called(compares, writes)
        raw = None if value is None else value.encode()
        try:
            rev = self.store.txn(
                [Compare(*key.split("/"), expected) for key, expected in compares],
                [Change(*key.split("/"), raw) for key in keys],
            )
        except Conflict as error:
            key = f"{error.collection}/{error.field}"
            self.recorder.answered(conflict=(key, error.actual))
            self.known[key] = error.actual
        else:
            self.recorder.answered(rev=rev)
            self.known.update(dict.fromkeys(keys, 0 if raw is None else rev))

    def wait_for_store(self):
        """A client that went on at once would only leave thousands of writes that never arrived."""
        while True:
            with contextlib.suppress(Unavailable):
                self.store.attach()
                return
            time.sleep(0.02)


def attached(port, password, within=ANSWER_WITHIN):
    """A view of the store, with a client that gives up an answer after so many seconds."""
    client = connect(f"redis://127.0.0.1:{port}/0", name="chaos", password=Path(password).read_text())
    client.connection_pool.connection_kwargs.update(socket_timeout=within, socket_connect_timeout=within)
    return Store(client)


def main(port, password, path, name, pause):
    """Until SIGTERM, which lets the operation under way come to its end."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    recorder = Recorder(Path(path))
    client = Client(attached(port, password), recorder, name)
    client.wait_for_store()
    try:
        while not ended:
            client.step()
            time.sleep(client.rng.random() * float(pause))
    except StoreError as error:  # another history, a script that failed: nothing here may cause that
        recorder.trouble(f"{type(error).__name__}: {error}")
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
