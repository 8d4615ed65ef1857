"""A leader that was stopped beyond its lease comes back: no write of it lands."""

import os
import random
import signal
import subprocess
import threading

import pytest

from store.clock import SystemClock
from store.kv.api import Change
from store.kv.projection import Projection
from store.recipes.election import Election
from tests.conftest import SOAK, eventually
from tests.linear.chaos import some_time
from tests.linear.leader import TTL

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200 if SOAK else 120)]

STOPS = 30 if SOAK else 2


class Candidate:
    """A process that may lead, and what it has said so far."""

    def __init__(self, stage, name, mode):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = stage.run("leader", name, mode, **pipes)
        self.said = []
        self.ear = threading.Thread(target=self._hear)
        self.ear.start()

    def _hear(self):
        for line in self.process.stdout:
            self.said.append(line.split())

    def heard(self, word):
        return [words for words in self.said if words[0] == word]

    def token(self):
        """With which it last led; 0 if it never did."""
        return max((int(words[1]) for words in self.heard("leads")), default=0)

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self):
        """All that it ever said has been heard when this returns."""
        self.process.kill()
        self.ear.join(20)
        assert not self.ear.is_alive()


def contents(store):
    """Everything that a leader may write."""
    node = store.keys.node("web-1")
    return (
        store.snapshot(["alpha"]), store.client.hgetall(node.desired), store.client.xrange(node.wake),
        store.client.get(store.keys.rev), store.client.xrange(store.keys.log),
        store.client.get(store.keys.lease("leader")), store.client.get(store.keys.fence("leader")),
    )  # fmt: skip


@pytest.mark.parametrize("successor", ["leads and writes", "leads", "has resigned", "is itself restarted"])
def test_what_an_old_leader_had_prepared_is_refused(stage, successor):
    stage.start()
    store = stage.attached()
    store.put("alpha", "kept", b"")
    old = Candidate(stage, "old", "once")
    (_, token) = eventually(lambda: old.heard("leads"))[0]
    old.stop()
    old.process.stdin.write("now\n")
    old.process.stdin.flush()
    same = successor == "is itself restarted"
    new = Election(store, "old" if same else "new", SystemClock(), 60.0)
    eventually(new.campaign)
    assert new.token > int(token)
    if successor == "leads and writes":
        store.txn([], [Change("alpha", "x", b"new")], token=new.token)
        Projection(store).project("web-1", "uid", {"b.0": b'{"by":"new"}'}, (), token=new.token)
    elif successor == "has resigned":
        new.resign()
    before = contents(store)
    old.go_on()
    eventually(lambda: old.heard("done"))
    old.end()
    outcomes = {words[0]: words[1] for words in old.said[1:-1]}
    assert outcomes == dict.fromkeys(
        ("record", "delete", "desired", "forget", "judge", "mint", "renew"), "Fenced"
    )
    assert contents(store) == before


def test_leaders_stopped_at_random_moments_never_write_after_their_successor(stage):
    """Two that lead in turn and write without pause; now the one is stopped, now the server."""
    stage.start()
    candidates = [Candidate(stage, name, "always") for name in ("one", "other")]
    for _ in range(STOPS):
        leader = eventually(lambda: leading(candidates))
        some_time(0.2)
        leader.stop()
        token = leader.token()
        eventually(lambda token=token: any(each.token() > token for each in candidates))
        some_time(0.2)
        leader.go_on()
        eventually(lambda leader=leader, token=token: ["fenced", str(token)] in leader.said)
        some_time(0.2)
        stage.pause(stage.server.pid, TTL * random.choice((0.5, 1.5)))
    eventually(lambda: len(all_of("wrote", candidates)) > 50)
    for candidate in candidates:
        candidate.end()
    check_reigns(stage.attached().snapshot(["alpha"]).collections["alpha"])
    assert len(all_of("fenced", candidates)) >= STOPS


def leading(candidates):
    """Who led last, as soon as it writes."""
    last = max(candidates, key=Candidate.token)
    return last if last.said and last.said[-1][0] == "wrote" else None


def all_of(word, candidates):
    return [words for each in candidates for words in each.heard(word)]


def check_reigns(records):
    """In the order of revisions, tokens never fall, and each token is one process's."""
    written = sorted((record.rev, *field.split(".")[:2]) for field, record in records.items())
    tokens = [int(token) for _, token, _ in written]
    assert tokens == sorted(tokens), "a write of an old leader came after one of its successor"
    owners = {(token, name) for _, token, name in written}
    assert len(owners) == len({token for token, _ in owners}), "two processes led with one token"
