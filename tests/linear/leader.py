"""A process that may lead: it campaigns, and writes with its token when told to, or all the time."""

import sys
import time

from store import bootstrap
from store.clock import SystemClock
from store.errors import Fenced, StoreError, Unavailable
from store.kv.api import Change
from store.kv.lease import Lease
from store.kv.projection import Projection
from store.recipes.election import Election
from tests.linear.client import attached

TTL = 1.0
"""Seconds; the tests wait it out."""


def say(*words):
    print(*words, flush=True)


def outcome(write):
    """What came of one write: its revision, or the name of the refusal."""
    try:
        return write()
    except StoreError as error:
        return type(error).__name__


def prepared(store, token, name):
    """Every kind of write that a leader makes, ready to be sent."""
    nodes = Projection(store)
    return {
        "record": lambda: store.txn([], [Change("alpha", "x", name.encode())], token=token),
        "delete": lambda: store.txn([], [Change("alpha", "kept", None)], token=token),
        "desired": lambda: nodes.project(
            "web-1", "uid", {"a.0": b'{"by":"%s"}' % name.encode()}, (), token=token
        ),
        "forget": lambda: nodes.project("web-1", "uid", {}, ("b.0",), token=token),
        "judge": lambda: store.judged("replid", token=token),
        "mint": lambda: bootstrap.mint(store, token=token).rev,
        "renew": lambda: Lease(store, "leader", name, int(TTL * 1000)).renew(token),
    }


def once(store, election, name):
    """Lead; then, at a word, send all that was prepared and say what came of it."""
    token = lead(election)
    writes = prepared(store, token, name)
    say("leads", token)
    sys.stdin.readline()
    for kind, write in writes.items():
        say(kind, outcome(write))
    say("done")


def always(store, election, name):
    """Lead and write until fenced, again and again; say every write that was acknowledged."""
    count = 0
    while True:
        try:
            token = lead(election)
            say("leads", token)
            while True:
                count += 1
                rev = store.txn([], [Change("alpha", f"{token}.{name}.{count}", b"")], token=token)
                say("wrote", token, rev)
                election.campaign()
        except Fenced:
            election.forget()
            say("fenced", token)
        except Unavailable:  # a write in doubt: the lease may have run out meanwhile, and says so itself
            time.sleep(0.02)


def campaigns(election):
    try:
        return election.campaign()
    except Unavailable:
        return False


def lead(election):
    while not campaigns(election):
        time.sleep(0.02)
    return election.token


def is_attached(store):
    try:
        store.attach()
    except Unavailable:
        return False
    return True


def main(port, password, name, mode):
    store = attached(port, password, *((10.0,) if mode == "once" else ()))  # its refusals must not be doubts
    while not is_attached(store):
        time.sleep(0.02)
    {"once": once, "always": always}[mode](store, Election(store, name, SystemClock(), TTL), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
