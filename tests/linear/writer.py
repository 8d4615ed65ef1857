"""A process that writes as fast as it can, many writes in flight, and notes each answer as it comes."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import redis

from store.errors import Unavailable
from store.kv.store import Store
from tests.linear.client import attached
from tests.linear.history import now

IN_FLIGHT = 100
PADDING = b"." * 150


def value_of(field):
    """What is written to a field: a record of usual size."""
    return field.encode() + PADDING


class Collected:
    """A client under a `Store` that keeps what its scripts would send, and answers "done" at once."""

    def __init__(self, client):
        self.client, self.calls = client, []

    def __getattr__(self, name):
        return getattr(self.client, name)

    def register_script(self, text):
        digest = self.client.script_load(text)

        def call(keys, args):
            self.calls.append(("EVALSHA", digest, len(keys), *keys, *args))
            return [b"ok", b"", 0]

        return call

    def take(self):
        calls, self.calls = self.calls, []
        return calls


class Writer:
    """Each write goes to a field of its own, once; a broken connection leaves some unanswered."""

    def __init__(self, client, path, name):
        self.client, self.name, self.count = client, name, 0
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def connected(self, ended):
        """Write until the server is gone."""
        requests = Collected(self.client)
        store = Store(requests)
        store.attach()
        connection = self.client.connection_pool.get_connection()
        try:
            while not ended:
                self.batch(store, requests, connection)
        finally:
            connection.disconnect()
            self.client.connection_pool.release(connection)

    def batch(self, store, requests, connection):
        fields = [f"{self.name}.{self.count + n}" for n in range(IN_FLIGHT)]
        self.count += IN_FLIGHT
        for field in fields:
            store.put("written", field, value_of(field))
        connection.send_packed_command(connection.pack_commands(requests.take()))
        notes = []
        try:
            for field in fields:
                word, _, rev = connection.read_response()
                assert word == b"ok", word
                store.saw(rev)
                notes.append(b"%d %s %d\n" % (now(), field.encode(), rev))
        finally:
            os.write(self.file, b"".join(notes))


def main(port, password, path, name):
    """Until SIGTERM. Exit code 0: nothing but lost connections went wrong."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    writer = Writer(attached(port, password).client, Path(path), name)
    while not ended:
        with contextlib.suppress(Unavailable, redis.ConnectionError, redis.TimeoutError):
            writer.connected(ended)
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
