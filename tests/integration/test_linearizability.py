"""Reads, writes, compare and swap, transactions and snapshots, while everything is killed and paused."""

import random
import signal

import pytest

from tests.conftest import SOAK, eventually
from tests.linear.chaos import some_time
from tests.linear.checker import check
from tests.linear.client import ANSWER_WITHIN
from tests.linear.history import OPEN, load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200 if SOAK else 120)]

CLIENTS = 6 if SOAK else 4
DISTURBANCES = ["kill server", "pause server", "kill client", "pause client"]
ROUNDS = 10 if SOAK else 1
ENOUGH = 12_000 if SOAK else 1_500
"""Operations below which the run would prove little."""


class Crowd:
    """Client processes; whoever dies is followed by another, under another name."""

    def __init__(self, stage):
        self.stage, self.living, self.files = stage, [], []
        for _ in range(CLIENTS):
            self.add()

    def add(self):
        self.files.append(self.stage.home / f"ops-{len(self.files)}")
        self.files[-1].touch()
        name = f"c{len(self.files)}"
        self.living.append(self.stage.run("client", self.files[-1], name, 0.005))

    def begun(self):
        return all(path.read_text().count("\n") > 20 for path in self.files)

    def noted(self):
        return sum(path.read_bytes().count(b"\n") for path in self.files) // 2

    def gave_up(self):
        """A client ends by itself only when it saw what no client may see."""
        return any(process.poll() is not None for process in self.living)

    def kill_one(self):
        victim = self.living.pop(random.randrange(len(self.living)))
        victim.kill()
        victim.wait()
        self.add()

    def pause_one(self):
        self.stage.pause(random.choice(self.living).pid, ANSWER_WITHIN * 1.2)

    def end(self):
        for process in self.living:
            process.send_signal(signal.SIGTERM)
        for process in self.living:
            # Whoever has not got as far as to handle the signal has done nothing yet, or all that it noted.
            assert process.wait(30) in (0, -signal.SIGTERM)


def disturb(what, stage, crowd):
    if what == "kill server":
        stage.kill_server()
    elif what == "pause server":
        # Mostly for longer than clients wait: what they sent happens when nobody expects it any more.
        stage.pause(stage.server.pid, ANSWER_WITHIN * random.choice((0.1, 1.3, 1.3, 1.3)))
    elif what == "kill client":
        crowd.kill_one()
    else:
        crowd.pause_one()


def test_a_history_with_kills_and_pauses_is_linearizable(stage):
    begin = stage.start().rev
    crowd = Crowd(stage)
    eventually(crowd.begun)
    for _ in range(ROUNDS):
        for what in random.sample(["kill server", *DISTURBANCES], len(DISTURBANCES) + 1):
            some_time()
            disturb(what, stage, crowd)
    eventually(lambda: crowd.gave_up() or crowd.noted() > ENOUGH, 600 if SOAK else 60, every=0.2)
    crowd.end()
    history, troubles = load(crowd.files)
    assert troubles == []
    check(history, begin, stage.attached().meta().rev)
    for name, count in figures(history).items():
        print(f"{count} {name}")
        assert count, f"no {name}: nothing was proven of them"


def figures(history):
    return {
        "answered writes": sum(1 for op in history if op.writes and op.rev),
        "conflicts": sum(1 for op in history if op.conflict),
        "reads": sum(1 for op in history if op.reads),
        "unanswered writes": sum(1 for op in history if op.writes and op.ret == OPEN),
    }
