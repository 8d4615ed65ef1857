"""Random histories of words, grants, contact and wishes: no connection without a turn, no file fetched twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.core.files.jobs import Phase
from tests.conftest import SOAK
from tests.stock_world import TTL, World, item, key, order, over, sha

pytestmark = pytest.mark.property

ITEMS = [
    item("a"),
    item("b", sha256=sha("same")),
    item("http://x/c", pool="http://x:80", sha256=sha("same")),
    item("http://x/d", pool="http://x:80"),
    item("http://y/e", pool="http://y:80", sha256=sha("e")),
    item("sftp://z/f", pool="sftp://z:22"),
    item("http://v/g", pool="http://v:80"),
    item("file:///h", pool=""),
]
NAMES = ["t", "u", "v"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["want", "want", "drop", "beat", "late beat", "read", "read stale", "grant", "begin", "ask", "ask", "progress",
             "got", "got", "failed", "mismatch", "lost", "die", "time", "more time", "no contact", "place", "spoil"]
        ),
        st.integers(0, 63),
    ),
    min_size=30,
    max_size=80,
)  # fmt: skip


class History(World):
    """A world that watches itself."""

    def __init__(self, limit):
        super().__init__(rate=1000)
        self.limit, self.key_is, self.wishes = limit, self.document(), {}

    def round(self):
        done = super().round()
        self.check()
        return done

    def check(self):
        jobs = self.downloads.work.jobs
        for name in self.connected():
            child = self.downloads.children[name]
            assert child.phase is Phase.OPEN
            if child.lane.remote:
                assert child.ask in self.turns, "connected without a turn"
                assert self.now < self.lease.until
        held = [jobs[each].key for child in self.downloads.children.values() for each in child.jobs]
        assert len(held) == len(set(held))
        pinned = [each.sha256 for each in held if each.sha256]
        assert len(pinned) == len(set(pinned))
        asks = [child.ask for child in self.downloads.children.values()]
        assert len(asks) == len(set(asks)) <= 8
        assert all(job.wants for job in jobs.values() if job.child is None)

    def step(self, what, number):
        busy = [name for name in self.connected() if self.processes[name].jobs]
        one = busy[number % len(busy)] if busy else None
        match what:
            case "want":
                name = NAMES[number % 3] + ("__2" if number & 4 else "")
                self.wishes[name] = order(
                    *dict.fromkeys([ITEMS[number % 8], ITEMS[number // 8]]), timeout=120.0
                )
                self.want(**self.wishes)
            case "drop":
                self.wishes = dict([*self.wishes.items()][: number % 3])
                self.want(**self.wishes)
            case "beat":
                self.beat()
            case "late beat":
                self.beat(delay=number / 4)
            case "grant":
                self.key_is = self.grant()
            case "read":
                self.read(self.key_is)
            case "read stale":  # it was read before, and the thread that did was not given the processor
                raw = self.key_is
                self.pass_time(number / 4)
                self.read(raw)
            case "ask":  # and be granted, without having read of it yet
                self.beat()
                self.begin()
                self.beat()
                self.key_is = self.grant()
            case "begin":
                self.begin()
            case "progress" if one:
                self.progress(one, number, 63)
            case "got" if one:
                self.got(one, content=number % 3)
            case "failed" if one:
                self.failed(one)
            case "mismatch" if one and number > 50:
                self.failed(one, kind="mismatch")
            case "lost" if one:
                self.say(
                    one, say="lost", kind=["login", "unreachable", "unsupported"][number % 3], text="lost"
                )
                self.end(one)
            case "die" if self.processes:
                self.end([*self.processes][number % len(self.processes)])
            case "time":
                self.pass_time(number / 16)
            case "more time":
                self.pass_time(number)
            case "no contact":
                self.pass_time(TTL)
            case "place":
                self.place_all()
            case "spoil" if self.placings:
                self.placings.clear()
                for each, want in [*self.stock.wants.items()]:
                    if want.placing:
                        self.stock.unplaced(each, "full", "no room", self.now)
        self.round()

    def settle(self):
        """From now on everything does as it should."""
        self.limit = 4
        for _ in range(400):
            if all(over(self, *each[1:]) for each in self.orders):
                return
            self.live_on(1.0, every=1.0)
            self.begin()
            for name in self.connected():
                if self.processes.get(name) and self.processes[name].jobs:
                    self.got(name, content="good")
                    self.round()
            self.place_all()
        pytest.fail(f"never done: {self.stock.views(self.lease, self.now)}")


@settings(max_examples=4000 if SOAK else 300, deadline=None)
@given(STEPS, st.integers(0, 4))
def test_whatever_happens_turns_are_kept_and_files_come_in_the_end(steps, limit):
    world = History(limit)
    for what, number in steps:
        world.step(what, number)
    world.settle()
    world.want()
    world.pass_time(60.0)
    assert not world.processes
    assert world.downloads.asks() == {}
    assert not world.downloads.work.jobs


def test_the_world_itself_would_notice_a_connection_without_a_turn():
    world = History(4)
    world.want(t=order())
    world.serve()
    world.turns = set()
    with pytest.raises(AssertionError, match="without a turn"):
        world.check()
    assert key() not in world.ready
