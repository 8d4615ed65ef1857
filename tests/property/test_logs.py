"""Whatever is written, rotated, packed and cut short: readers get exactly the bytes written, once."""

import os
import shutil

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentd.logs import files, holes, space
from agentd.logs.read import Reader
from agentd.logs.rotate import Rotator
from store.model.policies import LogPolicy
from tests.conftest import SOAK, need
from tests.leftovers import temporary

pytestmark = pytest.mark.property


STEPS = ("copied", "named", "saved", "punched")
STEPS_WITHOUT_HOLES = ("copied", "named", "saved", "announced", "truncated", "named the rest", "renewed")


class Crash(Exception):
    """`kill -9`, at this step."""


class Life(RuleBasedStateMachine):
    punching = True

    @initialize()
    def begin(self):
        self.home = temporary("logs")
        self.live = self.home / "web.out"
        self.fd = os.open(self.live, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self.written = b""
        self.crash_at = None
        self.follower, self.at = Reader(self.live), 0
        self.restart()

    def restart(self):
        self.rotator = Rotator(self.live, punching=self.punching, step=self.step)

    def step(self, name):
        if name == self.crash_at:
            self.crash_at = None
            raise Crash

    @rule(lines=st.integers(1, 12), size=st.integers(1, 3000), newline=st.sampled_from([True, True, False]))
    def write(self, lines, size, newline):
        for _ in range(lines):
            line = (f"{len(self.written)} " + "x" * size).encode() + (b"\n" if newline else b"")
            os.write(self.fd, line)
            self.written += line

    @rule(size=st.integers(900, 9000), aged=st.booleans(), crash=st.none() | st.sampled_from(STEPS))
    def rotate(self, size, aged, crash):
        self.turn(size, aged, crash)

    def turn(self, size, aged, crash):
        self.crash_at = crash
        try:
            self.rotator.turn(LogPolicy(max_size=size, max_files=10**6), now=0.0, aged=aged)
        except Crash:
            self.restart()
        self.crash_at = None

    @rule(both=st.booleans())
    def pack(self, both):
        for segment in files.segments_of(self.live):
            if not segment.packed:
                kept = segment.path.read_bytes()
                space.pack(segment)
                if both:  # it was killed before the plain form was removed
                    segment.path.write_bytes(kept)
                return

    @rule(size=st.integers(1, 30_000))
    def follow(self, size):
        piece = self.follower.read(self.at, size)
        assert piece.start == self.at
        assert piece.data == self.written[self.at : self.at + len(piece.data)]
        self.at = piece.end

    @rule(data=st.data())
    def read_from_anywhere(self, data):
        at = data.draw(st.integers(0, len(self.written)))
        assert everything(Reader(self.live), at) == self.written[at:]

    @rule(lines=st.integers(0, 30))
    def tail(self, lines):
        wanted = b"".join(self.written.splitlines(keepends=True)[-lines:]) if lines else b""
        assert self.written[Reader(self.live).tail(lines, len(self.written)) :] == wanted

    @invariant()
    def segments_follow_each_other(self):
        if hasattr(self, "live"):
            segments = files.segments_of(self.live)
            assert [each.start for each in segments] == [0, *(each.end for each in segments)][: len(segments)]

    def teardown(self):
        if not hasattr(self, "live"):
            return
        try:
            self.read_all()
        finally:
            os.close(self.fd)
            shutil.rmtree(self.home)

    def read_all(self):
        self.crash_at = None
        self.rotator.turn(LogPolicy(max_size=10**9, max_files=10**6), now=0.0)  # an agent is there again
        while (piece := self.follower.read(self.at, 9999)).data:
            assert piece.start == self.at
            assert piece.data == self.written[self.at : piece.end]
            self.at = piece.end
        assert self.at == len(self.written)


def everything(reader, at):
    """All from an offset on; what is not there yet (a truncation under way) is not there."""
    found = b""
    while (piece := reader.read(at, 7000)).data:
        assert piece.start == at
        found += piece.data
        at = piece.end
    return found


class LifeWithoutHoles(Life):
    punching = False

    @rule(
        size=st.integers(900, 9000),
        aged=st.booleans(),
        crash=st.none() | st.sampled_from(STEPS_WITHOUT_HOLES),
    )
    def rotate(self, size, aged, crash):
        self.turn(size, aged, crash)

    @rule(data=st.data())
    def read_from_anywhere(self, data):
        """Between an announced truncation and the next life, the live part is not read."""
        at = data.draw(st.integers(0, len(self.written)))
        assert self.written[at:].startswith(everything(Reader(self.live), at))

    @rule(lines=st.integers(0, 30))
    def tail(self, lines):
        """Read back while a truncation is announced, the live part is not there; see the other class."""


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    need(holes.supported(tmp_path), "a file system with holes")
    monkeypatch.setattr("store.process.os.fsync", lambda _: None)  # a process is killed here, not a machine


Life.TestCase.settings = LifeWithoutHoles.TestCase.settings = settings(
    max_examples=2000 if SOAK else 100, stateful_step_count=40, deadline=None
)
TestRotation = Life.TestCase
TestRotationWithoutHoles = LifeWithoutHoles.TestCase
