"""Placement over random fleets, wants and rounds, against a naive oracle that looks at everything."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_api.core.fleet import Stored
from manager_api.core.layout import parts
from manager_api.core.placement import Chosen, Placer, Refused, Request, Taken
from store.model import spec
from tests.builders import a_fleet, a_task, a_template, add_node, add_template

pytestmark = pytest.mark.property

MB = 1024**2
UNIT = 256 * MB
PRIORITIES = {"low": 10, "mid": 50, "high": 80}
NAMES = ("a", "b", "c", "d", "e")

some_nodes = st.lists(
    st.fixed_dictionaries(
        {
            "online": st.sampled_from([True, True, True, False]),
            "memory": st.integers(2, 16),
            "cpus": st.sampled_from([0.5, 2, 8]),
            "percent": st.sampled_from([5.0, 40.0, 96.0]),
            "used": st.integers(0, 12),
            "own": st.integers(0, 12),
            "zone": st.sampled_from([None, "x", "y"]),
            "edge": st.booleans(),
            "cordoned": st.sampled_from([False, False, False, True]),
        }
    ),
    min_size=1,
    max_size=5,
)
some_allocations = st.lists(
    st.fixed_dictionaries(
        {
            "deployment": st.sampled_from(["low", "mid", "high", "d0"]),
            "node": st.integers(0, 4),
            "memory": st.integers(0, 4),
            "cpus": st.sampled_from([0.0, 0.5]),
            "port": st.sampled_from([None, 8080, 8081, 20000]),
            "wanted": st.sampled_from(["running", "running", "stopped"]),
        }
    ),
    max_size=8,
)
some_groups = st.lists(
    st.fixed_dictionaries(
        {
            "memory": st.integers(0, 6),
            "cpus": st.sampled_from([0.0, 0.25, 1.0]),
            "ports": st.sampled_from([{}, {"p": 0}, {"p": 8080}, {"p": 8081, "q": 0, "r": 0}]),
            "labels": st.sampled_from([{}, {"zone": "x"}, {"zone": ["x", "y"]}]),
            "group": st.sampled_from([None, None, "edge"]),
            "pin": st.sampled_from([None, None, None, "a", "host-b"]),
            "most": st.sampled_from([None, None, 1, 2]),
            "strategy": st.sampled_from(["spread", "binpack"]),
            "spread": st.sampled_from([None, "zone"]),
        }
    ),
    min_size=1,
    max_size=2,
)
some_requests = st.lists(
    st.fixed_dictionaries(
        {
            "group": st.integers(0, 1),
            "avoid": st.sampled_from([frozenset(), frozenset(), frozenset("a"), frozenset("bc")]),
            "node": st.sampled_from([None, None, None, "a", "c"]),
            "free": st.sampled_from([None, None, 0, 1, 2]),
            "preempt": st.booleans(),
            "end": st.sampled_from([None, None, "keep", "drop"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@dataclasses.dataclass
class Alloc:
    id: str
    deployment: str
    group: str
    node: str
    memory: int
    cpus: float
    numbers: set
    running: bool


def build(nodes, allocations, *, backwards=False):
    fleet = a_fleet()
    for name, priority in PRIORITIES.items():
        add_template(fleet, {**a_template(name=name), "priority": priority})
    add_template(fleet, a_template(name="d0"))
    numbered = list(zip(NAMES, nodes, strict=False))
    for name, each in reversed(numbered) if backwards else numbered:
        state = add_node(
            fleet, name, online=each["online"], memory=each["memory"] * UNIT, cpus=each["cpus"],
            percent=each["percent"], features=["process", "ports"],
            labels={"zone": each["zone"]}, groups=["edge"] if each["edge"] else [],
        )  # fmt: skip
        if each["cordoned"]:
            fleet.nodes[name].data["cordoned"] = {"since": 1.0}
        state.beat.update(memory_used=each["used"] * UNIT, tasks={"x": {"rss": each["own"] * UNIT}})
    known = []
    for number, each in enumerate(allocations):
        node = NAMES[each["node"] % len(nodes)]
        numbers = {each["port"]} - {None}
        alloc = Alloc(
            f"{each['deployment']}.{number}", each["deployment"], "group-0", node, each["memory"] * UNIT,
            each["cpus"], numbers, each["wanted"] == "running",
        )  # fmt: skip
        known.append(alloc)
        record = {
            "v": 1, "deployment": alloc.deployment, "template": alloc.deployment, "version": 1, "part": 0,
            "group": alloc.group, "index": 0, "node": node, "uid": f"uid-{node}", "generation": 1,
            "wanted": each["wanted"], "memory": alloc.memory, "cpus": alloc.cpus,
            "ports": {"t": {"p": each["port"]}} if each["port"] else {},
        }  # fmt: skip
        fleet.put_allocation(alloc.id, Stored(record, 4))
    return fleet, known


def spec_group(raw):
    task = a_task(
        "t", ports=raw["ports"],
        resources={"reservations": {"memory": raw["memory"] * UNIT, "cpus": raw["cpus"]}},
    )  # fmt: skip
    placement = {
        "labels": raw["labels"], "group": raw["group"], "node": raw["pin"], "spread": raw["spread"],
        "strategy": raw["strategy"], "max_replicas_per_node": raw["most"],
    }  # fmt: skip
    return spec.groups(a_template(task, placement=placement))[0]


class Oracle:
    """What a node can take, worked out from the lists alone, anew each time."""

    def __init__(self, nodes, known):
        self.nodes = dict(zip(NAMES, nodes, strict=False))
        self.known = known
        self.gone = set()
        self.placed = []
        self.pending = ([], set())

    def all(self):
        return [*self.known, *self.placed, *self.pending[0]]

    def here(self, node, without):
        gone = self.gone | self.pending[1] | set(without)
        return [each for each in self.all() if each.node == node and each.running and each.id not in gone]

    def capacity(self, node):
        total, used = self.nodes[node]["memory"] * UNIT, self.nodes[node]["used"] * UNIT
        others = max(0, used - self.nodes[node]["own"] * UNIT)
        host = 64 * MB if total < 1024 * MB else min(max(total // 20, 128 * MB), 2048 * MB)
        return total - max(host, others)

    def fits(self, node, raw, request, victims=()):
        it, free = self.nodes[node], request.free
        stays = request.node == node and any(each.id in free and each.node == node for each in self.known)
        pin = {"host-b": "b"}.get(raw["pin"], raw["pin"])
        zones = raw["labels"].get("zone")
        static = [
            it["online"],
            request.node in (None, node),
            node not in request.avoid,
            pin in (None, node),
            raw["group"] is None or it["edge"],
            zones is None or it["zone"] in tuple(zones),
            stays or not it["cordoned"],
            stays or raw["memory"] > 0 or it["percent"] < 95,
        ]
        if not all(static):
            return False
        before, left = self.here(node, victims), self.here(node, {*victims, *free})
        freed = [each for each in before if each not in left]
        memory, cpus = raw["memory"] * UNIT, raw["cpus"]
        if memory > sum(each.memory for each in freed) and (
            sum(each.memory for each in left) + memory > self.capacity(node)
        ):
            return False
        if cpus > sum(each.cpus for each in freed) and sum(each.cpus for each in left) + cpus > it["cpus"]:
            return False
        same = [each for each in left if (each.deployment, each.group) == ("d0", "group-0")]
        if raw["most"] is not None and len(same) >= raw["most"]:
            return False
        return not ({number for number in raw["ports"].values() if number} & self.numbers(node, free))

    def numbers(self, node, free):
        """Those of stopped ones and of victims too: their tasks may still be ending."""
        held = [each.numbers for each in self.all() if each.node == node and each.id not in free]
        return set().union(*held)

    def lower(self, node, priority):
        return [
            each for each in self.here(node, ())
            if each in self.known and each.deployment != "d0" and PRIORITIES[each.deployment] < priority
        ]  # fmt: skip

    def take(self, number, chosen, raw, free):
        given = {each for task in chosen.ports.values() for each in task.values()}
        alloc = Alloc(
            f"new.{number}", "d0", "group-0", chosen.node, raw["memory"] * UNIT, raw["cpus"], given, True
        )
        self.pending[0].append(alloc)
        self.pending[1].update(chosen.victims, free)

    def end(self, *, keep):
        if keep:
            self.placed += self.pending[0]
            self.gone |= self.pending[1]
        self.pending = ([], set())


def requests_of(raws, groups, known, script):
    own = [each.id for each in known if each.deployment == "d0"]
    for index, each in enumerate(script):
        number = each["group"] % len(groups)
        free = frozenset(own[each["free"] : each["free"] + 1]) if each["free"] is not None else frozenset()
        yield each, raws[number], Request(
            deployment="d0", group=groups[number], index=index, part=parts(groups[number])[0],
            avoid=each["avoid"], node=each["node"], free=free, preempt=each["preempt"], priority=60,
        )  # fmt: skip


def answers(fleet, requests):
    taken = Taken()
    placer = Placer(fleet, taken)
    for each, _, request in requests:
        yield placer.place(request)
        if each["end"] is not None:
            if each["end"] == "keep":
                placer.keep()
            placer = Placer(fleet, taken)


def check_chosen(oracle, raw, request, chosen):
    node = chosen.node
    assert oracle.fits(node, raw, request, chosen.victims)
    given = chosen.ports.get("t", {})
    assert given.keys() == raw["ports"].keys()
    assert len(set(given.values())) == len(given)
    assert not oracle.numbers(node, request.free) & set(given.values()), "never a port twice on a node"
    for name, number in raw["ports"].items():
        assert given[name] == number or (number == 0 and 20000 <= given[name] <= 31999)
    if chosen.victims:
        assert request.preempt
        assert not any(oracle.fits(each, raw, request) for each in oracle.nodes)
        assert set(chosen.victims) <= {each.id for each in oracle.lower(node, 60)}
        for spared in chosen.victims:
            fewer = set(chosen.victims) - {spared}
            assert not oracle.fits(node, raw, request, fewer), "nobody has to go for nothing"


def check_refused(oracle, raw, request, refused):
    assert refused.reason
    for node in oracle.nodes:
        assert not oracle.fits(node, raw, request)
        victims = [each.id for each in oracle.lower(node, 60)] if request.preempt else []
        assert not oracle.fits(node, raw, request, victims)
    pinned = raw["pin"] is not None or request.node is not None
    assert pinned or refused.nodes.keys() == oracle.nodes.keys(), "a reason for every node"


@settings(max_examples=600, deadline=None)
@given(nodes=some_nodes, allocations=some_allocations, raws=some_groups, script=some_requests)
def test_any_round_keeps_all_rules_and_refuses_only_what_nobody_can_take(nodes, allocations, raws, script):
    fleet, known = build(nodes, allocations)
    groups = [spec_group(each) for each in raws]
    requests = list(requests_of(raws, groups, known, script))
    oracle, given = Oracle(nodes, known), []
    for number, ((each, raw, request), found) in enumerate(
        zip(requests, answers(fleet, requests), strict=True)
    ):
        if isinstance(found, Chosen):
            check_chosen(oracle, raw, request, found)
            oracle.take(number, found, raw, request.free)
        else:
            check_refused(oracle, raw, request, found)
        given.append(found)
        if each["end"] is not None:
            oracle.end(keep=each["end"] == "keep")
    other, _ = build(nodes, allocations, backwards=True)
    assert list(answers(other, requests)) == given, "the same, in whatever order nodes became known"


@settings(max_examples=150, deadline=None)
@given(nodes=some_nodes, wanted=st.integers(1, 6), foreign=st.integers(0, 20))
def test_a_foreign_process_can_only_make_it_refuse(nodes, wanted, foreign):
    raw = {
        "memory": wanted, "cpus": 0.0, "ports": {}, "labels": {}, "group": None, "pin": None, "most": None,
        "strategy": "spread", "spread": None,
    }  # fmt: skip
    group = spec_group(raw)
    asked = Request(deployment="d0", group=group, index=0, part=parts(group)[0])
    quiet, _ = build([{**each, "used": 0} for each in nodes], [])
    busy, _ = build([{**each, "used": each["own"] + foreign} for each in nodes], [])
    for name, each in zip(NAMES, nodes, strict=False):
        before = Placer(quiet, Taken()).refusal(name, asked)
        after = Placer(busy, Taken()).refusal(name, asked)
        assert before is None or after is not None
        if foreign + wanted > each["memory"]:
            assert after is not None


@settings(max_examples=100, deadline=None)
@given(
    zones=st.lists(st.sampled_from("xyz"), min_size=1, max_size=9),
    number=st.integers(1, 20),
    strategy=st.sampled_from(["spread", "binpack"]),
)
def test_a_label_is_spread_over_evenly(zones, number, strategy):
    fleet = a_fleet()
    for position, zone in enumerate(zones):
        add_node(fleet, f"n{position}", labels={"zone": zone}, percent=10.0 * position)
    group = spec.groups(a_template(a_task("t"), placement={"spread": "zone", "strategy": strategy}))[0]
    placer, counts = Placer(fleet, Taken()), dict.fromkeys(zones, 0)
    for index in range(number):
        found = placer.place(Request(deployment="d0", group=group, index=index, part=parts(group)[0]))
        assert not isinstance(found, Refused)
        counts[fleet.nodes[found.node].data["labels"]["zone"]] += 1
    assert max(counts.values()) - min(counts.values()) <= 1
