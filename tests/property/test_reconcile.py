"""What lives over random histories: nodes cut off, back, replaced, drained; releases, scales; plans cut short."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_api.core.actions import (
    Advance,
    Collect,
    Complain,
    Place,
    Project,
    Refuse,
    Reorder,
    SetControl,
    SetNodeStatus,
    SetStatus,
    Wake,
)
from manager_api.core.brake import resume
from manager_api.core.fleet import Stored
from manager_api.core.memory import Brake, Memory
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from manager_api.core.portions import portions
from store.keys import ALLOCATIONS, DEPLOYMENTS, STATUS
from store.model.placing import KEEP, stop_after
from store.model.status import is_up
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.property

NODES = ("a", "b", "c", "d")
EPOCH = 1e9
GRACE = 10.0  # the default stop timeout
STOPS_AFTER = {1: "20s", 2: "60s", 3: "5s"}
"""By versions, of what must not run twice: longer than `reschedule.after`, as templates of old may have it."""
FEATURES = ["process", "ports", "disconnect"]


def templates():
    small = {"reservations": {"memory": "1G"}}
    quick = {"min_healthy": "1s", "healthy_deadline": "60s"}
    never = {"duplicates": "never", "reschedule": {"after": "0s"}}
    shapes = {
        "plain": {"count": 3, "reschedule": {"after": "10s"}, "update": quick},
        "every": {"count": "all", "update": {**quick, "max_parallel": 2}},
        "never": {"count": 2, **never, "update": quick},
        "packed": {"count": 3, "placement": {"max_replicas_per_node": 1}, "update": {**quick, "canary": 1}},
        "pinned": {"count": 1, "placement": {"node": "b"}, "update": quick},
        "revert": {"count": 2, "update": {**quick, "auto_revert": True, "max_parallel": 2}},
    }
    for name, group in shapes.items():
        for version in (1, 2, 3):
            task = a_task("t", command=f"/bin/v{version}", resources=small, ports={"http": 8000})
            if name not in ("every", "packed"):
                task.pop("ports")
            if name == "never":
                task["config"]["command"] = f"/bin/v{min(version, 2)}"  # the third is only another policy
            own = {"on_disconnect": {"stop_after": STOPS_AFTER[version]}} if name == "never" else {}
            yield version, a_template(task, name=name, **group, **own)


class Machine:
    """One machine: what it truly runs, by the entries that it obeyed last, and since when it hears of nobody."""

    def __init__(self, uid):
        self.uid, self.runs, self.cut, self.said = uid, {}, None, {}

    def go_on(self, steady):
        """Cut off, it runs each until the policy that it knows of says no more, and its stop takes its time."""
        if self.cut is not None:
            self.runs = {key: each for key, each in self.runs.items() if steady < self.cut + longest(each)}


def longest(entry):
    """Seconds that a machine may run something without hearing of anybody."""
    after = stop_after(entry.get("on_disconnect", KEEP))
    return inf if after is None else after + GRACE


class World:
    """A fleet, a store that does what is asked, machines that obey when they are reached.

    Where they are `eager` they begin what they are to run at once, and do all else when they are reached.
    """

    def __init__(self, *, eager=False):
        self.eager, self.hashes = eager, {node: {} for node in NODES}
        self.fleet, self.rev, self.steady = a_fleet(), 10, 1000.0
        self.machines = {node: Machine(f"uid-{node}") for node in NODES}
        self.ghosts = []
        for node in NODES:
            add_node(self.fleet, node, memory=6 * GB, features=FEATURES)
        for version, body in templates():
            add_template(self.fleet, body, version)

    @property
    def now(self):
        return Moment(EPOCH + self.steady, self.steady)

    def actions(self):
        fleet = self.fleet
        found = plan_deployments(fleet, self.now, sorted({*fleet.deployments, *fleet.status}))
        return [*found, *plan_nodes(fleet, fleet.nodes, self.now)]

    def put(self, key, data, rev=None):
        stored = self.fleet.allocations.get(key)
        if rev is not None:
            assert (stored.rev if stored else 0) == rev, "planned from what is there"
        if stored is not None:
            was, will = stored.data, data
            assert was["wanted"] == "running" or will["wanted"] == "stopped", "stopped is terminal"
            assert was["node"] == will["node"]
            assert will["generation"] >= was["generation"]
        elif data["template"] == "never":
            self.check_ended(data.get("replaces"))
        self.fleet.put_allocation(key, Stored(data, self.rev))
        known = self.fleet.ordered.get(key)
        if known is None or known[0] != data["generation"]:
            self.fleet.ordered[key] = data["generation"], self.steady

    def check_ended(self, replaced):
        """What is replaced is given up only once it has ended: cut off, it may be back any moment before.

        What is back already, unseen, may run: it is told to stop, and its replacement not yet to begin.
        """
        for machine in [*self.machines.values(), *self.ghosts]:
            assert machine.cut is None or replaced not in machine.runs, f"{replaced} still runs"

    def perform(self, action):
        for each in portions(action) if isinstance(action, Place | Advance) else (action,):
            self.perform_one(each)
            self.check()

    def perform_one(self, action):
        fleet = self.fleet
        self.rev += 1
        match action:
            case Place():
                assert len(action.allocations) <= 250
                for key, data in action.allocations.items():
                    assert key not in fleet.allocations, "ids are never used twice"
                    self.put(key, data)
                fleet.status[action.deployment] = Stored(dict(action.status), self.rev)
            case Advance():
                status = fleet.status.get(action.deployment)
                if (status.rev if status else 0) != action.status_rev:
                    return  # a conflict: planned again
                assert action.puts.keys() == action.why.keys()
                for key, (rev, data) in action.puts.items():
                    self.put(key, data, rev)
                fleet.status[action.deployment] = Stored(dict(action.status), self.rev)
            case Refuse() | SetStatus():
                fleet.status[action.deployment] = Stored(dict(action.status), self.rev)
            case Reorder():
                for key, (_, data) in action.allocations.items():
                    self.put(key, data)
            case Collect():
                for collection, field, _ in action.records:
                    if collection == ALLOCATIONS:
                        fleet.drop_allocation(field)
                    else:
                        {DEPLOYMENTS: fleet.deployments, STATUS: fleet.status}[collection].pop(field)
            case Project():
                self.project(action)
            case Complain():
                raise AssertionError(action.reason)
            case Wake():
                fleet.due[action.deployment] = action.at
            case SetControl():
                fleet.controls_status[action.name] = Stored(action.record, self.rev)
            case SetNodeStatus():
                pass
        if getattr(action, "deployment", None) in fleet.status:
            fleet.recount(action.deployment)

    def project(self, action):
        state, machine = self.fleet.states[action.node], self.machines[action.node]
        if state.desired_uid != action.uid:
            state.desired, self.hashes[action.node] = {}, {}
        self.hashes[action.node] |= action.puts
        if self.eager and machine.cut is None and machine.uid == action.uid:
            machine.runs |= {key: each for key, each in action.puts.items() if each["wanted"] == "running"}
        for key, entry in action.puts.items():
            names = ("generation", "wanted", "adjusted", "change", "peers")
            marks = {name: entry[name] for name in names if name in entry}
            state.desired[key] = {"rev": self.rev, **marks}
        for key in action.deletes:
            known = state.desired.pop(key, None)
            self.hashes[action.node].pop(key, None)
            assert known is None or known["wanted"] == "stopped", "only tombstones are deleted"
        state.desired_rev, state.desired_uid = self.rev, action.uid

    def obey(self, node):
        """A machine that is reached does as it is told, and says so; who leads hears of it when it looks."""
        machine, state = self.machines[node], self.fleet.states[node]
        if machine.cut is not None or state.desired_uid != machine.uid:
            return
        for key, entry in state.desired.items():
            row = {"name": "t", "state": "running", "exit_code": 0}
            if entry["wanted"] == "stopped":
                machine.runs.pop(key, None)
                row["state"] = "stopped"
            else:
                known = machine.runs[key] = self.hashes[node][key]
                if known["template"] == "revert" and known["version"] == 2:
                    row["state"] = "backoff"
            order = {name: entry[name] for name in ("rev", "generation", "wanted")}
            machine.said[key] = {"uid": machine.uid, "epoch": self.fleet.epoch, "tasks": [row], **order}
        for key in machine.said.keys() - state.desired.keys():
            del machine.said[key]

    def look(self, node):
        """Who leads sees whether a node's heartbeat is there, and reads what it says."""
        machine, state = self.machines[node], self.fleet.states[node]
        here = machine.cut is None
        if (here, True) != (state.online, state.settled):
            self.fleet.brake.turned = True
        state.online, state.settled = here, True
        if not here:
            state.away_since, state.absent_at = state.away_since or self.steady, self.rev
            return
        state.away_since, state.actual = None, dict(machine.said)
        known = state.up_since
        state.up_since = {
            key: known[key]
            if known.get(key, (0,))[0] == said["generation"]
            else (said["generation"], self.steady)
            for key, said in state.actual.items()
            if is_up(said)
        }

    def cut(self, node):
        """A heartbeat outlives several looks: it was seen, and so was that there is none any more."""
        if self.machines[node].cut is None:
            self.look(node)
            self.machines[node].cut = self.steady
            self.look(node)

    def heal(self, node):
        """It is back, and does as it reads; who leads has yet to see that."""
        self.machines[node].cut = None
        self.obey(node)

    def strike(self, how, which):
        """Something happens to the node of the oldest, or the newest, of what must not run twice."""
        live = [
            (int(key.rpartition(".")[2]), each.data["node"])
            for key, each in self.fleet.allocations.items()
            if each.data["wanted"] == "running" and each.data["template"] == "never"
        ]
        if live:
            getattr(self, how)(which(live)[1])

    def lead(self):
        """Another leader, who knows what lies in the store and has seen nobody yet."""
        fleet = self.fleet
        fleet.memory, fleet.brake, fleet.due = Memory(), Brake(), {}
        fleet.ordered = {key: (at[0], self.steady) for key, at in fleet.ordered.items()}
        resume(fleet)
        for node, machine in self.machines.items():
            state = fleet.states[node]
            state.away_since, state.absent_at, state.up_since = None, 0, {}
            state.online = state.settled = machine.cut is None

    def release(self):
        self.rev += 1
        self.fleet.controls["brake"] = Stored({"v": 1, "release": self.rev}, self.rev)

    def replace(self, node):
        """Another machine takes the name; the old one may go on somewhere, cut off."""
        self.cut(node)
        self.ghosts.append(self.machines[node])
        self.machines[node] = Machine(f"uid-{node}-{self.rev}")
        record = {**self.fleet.nodes[node].data, "uid": self.machines[node].uid}
        self.fleet.nodes[node] = Stored(record, self.rev)
        state = self.fleet.states[node]
        state.beat = {**state.beat, "uid": record["uid"]}
        state.actual, state.up_since = {}, {}
        self.heal(node)
        self.look(node)

    def mark(self, node, **marks):
        data = {**self.fleet.nodes[node].data, **marks}
        data = {key: value for key, value in data.items() if value is not None}
        self.fleet.nodes[node] = Stored(data, self.rev)

    def ask(self, deployment, **more):
        stored = self.fleet.deployments.get(deployment)
        if stored is not None:
            self.rev += 1
            self.fleet.deployments[deployment] = Stored({**stored.data, **more}, self.rev)

    def advance(self, seconds):
        self.steady += seconds
        self.fleet.due = {name: at for name, at in self.fleet.due.items() if at > self.steady}
        for machine in [*self.machines.values(), *self.ghosts]:
            machine.go_on(self.steady)
        for node in self.machines:
            self.look(node)

    def check(self):
        fleet = self.fleet
        for reserved in fleet.reserved.values():
            assert 0 <= reserved.memory <= 6 * GB, "never over capacity"
        copies = {}
        for machine in [*self.machines.values(), *self.ghosts]:
            for key, data in machine.runs.items():
                if data["template"] == "never":
                    slot = data["deployment"], data["group"], data["index"]
                    copies.setdefault(slot, set()).add((machine.uid, key))
        assert all(len(each) == 1 for each in copies.values()), f"two copies: {copies}"
        for stored in fleet.allocations.values():
            if stored.data["template"] == "pinned":
                assert stored.data["node"] == "b", "pins are kept"


SHAPES = ["plain", "every", "never", "packed", "pinned", "revert"]
node_names = st.sampled_from(NODES)
number = st.integers(0, 3)
steps = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("deploy"), st.sampled_from(SHAPES)),
            st.tuples(st.just("stop"), number),
            st.tuples(st.just("scale"), st.tuples(number, st.integers(0, 5))),
            st.tuples(st.just("update"), st.tuples(number, st.integers(1, 3))),
            st.tuples(st.just("promote"), number),
            st.tuples(st.sampled_from(["cut", "heal", "replace", "drain", "undrain", "cordon"]), node_names),
            st.tuples(st.just("wait"), st.sampled_from([1.0, 7.0, 25.0, 70.0])),
            st.tuples(st.sampled_from(["run", "lead", "release"]), st.just(0)),
        ),
        st.sampled_from([0, 1, 2, 3, 5, 99, 99, 99]),
    ),
    min_size=3,
    max_size=25,
)


def do(world, verb, what):
    match verb:
        case "deploy":
            if len(world.fleet.deployments) < 4:
                add_deployment(world.fleet, f"d{len(world.fleet.deployments)}", template=what)
        case "stop":
            world.ask(f"d{what}", wanted="stopped")
        case "scale":
            world.ask(f"d{what[0]}", scale={"group-0": what[1]})
        case "update":
            stored = world.fleet.deployments.get(f"d{what[0]}")
            if stored is not None:
                world.ask(f"d{what[0]}", version=what[1], change=stored.data.get("change", 0) + 1)
        case "promote":
            stored = world.fleet.deployments.get(f"d{what}")
            if stored is not None:
                world.ask(f"d{what}", promote=stored.data.get("change", 0))
        case "drain":
            since = {"since": world.now.wall, "deadline": None}
            world.mark(what, drain=since, cordoned={"since": world.now.wall})
        case "remove":
            world.mark(what, removing=world.now.wall, cordoned={"since": world.now.wall})
        case "undrain":
            world.mark(what, drain=None, removing=None, cordoned=None)
        case "cordon":
            world.mark(what, cordoned={"since": world.now.wall})
        case "cut" | "heal" | "replace" | "obey" | "look":
            getattr(world, verb)(what)
        case "strike":
            world.strike(*what)
        case "round":
            for node in NODES:
                world.look(node)
            do(world, "plan", 99)
        case "lead" | "release":
            getattr(world, verb)()
        case "reach":
            world.obey(what)
        case "wait":
            world.advance(what)
        case "plan":
            for action in world.actions()[:what]:
                world.perform(action)
        case "run":
            for node in NODES:
                world.obey(node)
                world.look(node)
            for action in world.actions():
                world.perform(action)


def settle(world):
    """Time passes and everybody obeys, until nothing is left to do."""
    quiet = 0
    for _ in range(150):
        for node in NODES:
            world.obey(node)
            world.look(node)
        todo = [each for each in world.actions() if not isinstance(each, Wake)]
        for action in todo:
            world.perform(action)
        world.check()
        quiet = 0 if todo else quiet + 1
        if quiet > 3:
            return
        world.advance(35.0 if quiet else 3.0)
    pytest.fail(f"it never comes to rest: {todo}")


def live_through(first, script, *, eager=False):
    """A world in which some deployments run, and what came of it by the script; checked at each step."""
    world = World(eager=eager)
    for name in first:
        do(world, "deploy", name)
    for _ in range(3):
        do(world, "run", 0)
    for (verb, what), cut_at in script:
        do(world, verb, what)
        world.check()
        for action in world.actions()[:cut_at]:
            world.perform(action)
        for node in NODES[:cut_at] if verb != "scale" else ():
            world.obey(node)
        world.check()
    return world


asides = st.one_of(
    st.tuples(
        st.sampled_from(["cut", "heal", "replace", "drain", "remove", "undrain", "reach", "look"]), node_names
    ),
    st.tuples(st.just("scale"), st.tuples(st.just(0), st.integers(0, 3))),
    st.tuples(st.just("update"), st.tuples(st.just(0), st.integers(1, 3))),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 7.0, 25.0, 35.0])),
    st.tuples(st.just("strike"), st.tuples(st.sampled_from(["cut", "replace"]), st.sampled_from([min, max]))),
    st.tuples(st.sampled_from(["lead", "release"]), st.just(0)),
)
prefixes = st.tuples(st.just("plan"), st.sampled_from([1, 1, 2, 3, 99]))


@st.composite
def episodes(draw):
    """A node is cut off, and its work is moved, or nearly: in between, and one node at a time, anything."""
    node = draw(node_names)
    away = draw(st.sampled_from(["cut", "cut", "cut", "replace", "drain", "remove"]))
    script = [(away, node), ("wait", draw(st.sampled_from([1.0, 25.0, 35.0, 70.0]))), draw(prefixes)]
    script += draw(st.lists(st.just(("round", 0)), max_size=2))
    for _ in range(draw(st.integers(1, 3))):
        script += [*draw(st.lists(asides, max_size=2)), ("heal", node)][: draw(st.integers(1, 3))]
        script += [draw(prefixes), ("reach", draw(node_names)), ("reach", draw(node_names))]
        script += draw(st.lists(st.just(("round", 0)), max_size=2))
    return script


@settings(max_examples=250, deadline=None)
@given(stories=st.lists(episodes(), min_size=1, max_size=4), eager=st.booleans())
def test_never_two_copies_where_duplicates_are_not_allowed(stories, eager):
    """Each node obeys only when the story reaches it, or begins at once: orders to start overtake orders to stop."""
    world = live_through(["never"], (), eager=eager)
    for verb, what in [step for story in stories for step in story]:
        do(world, verb, what)
        world.check()
    for node in NODES:
        do(world, "undrain", node)
        world.heal(node)
        world.check()
    settle(world)
    status = world.fleet.status["d0"].data
    assert status["groups"]["group-0"]["up"] == status["groups"]["group-0"]["wanted"], status


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("led_anew", [False, True])
@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("then", [1, 2, 99])
def test_a_node_that_is_back_in_the_midst_of_being_replaced_makes_no_second_copy(first, then, led_anew, seen):
    """The plan was cut short after any of its writes; the node is back before that is seen, or after."""
    world = live_through(["never"], ())
    node = world.fleet.allocations["d0.0"].data["node"]
    script = [("cut", node), ("wait", 35.0), ("plan", first), ("heal", node)]
    script += [("look", node)] * seen + [("lead", 0)] * led_anew
    for verb, what in script:
        do(world, verb, what)
    for _ in range(5):
        do(world, "plan", then)
        for other in NODES:
            if other != node:
                world.obey(other)
        world.check()
    settle(world)
    assert world.fleet.status["d0"].data["status"] == "RUNNING"


@pytest.mark.parametrize("version", STOPS_AFTER)
def test_cut_off_it_runs_on_and_nothing_takes_its_place_until_it_has_ended(version):
    """By whatever policy it was given, and however soon it is to be elsewhere: then it is there at once."""
    world = live_through(["never"], (), eager=True)
    do(world, "update", (0, version))
    for _ in range(6):
        do(world, "run", 0)
        do(world, "wait", 2.0)
    node = world.fleet.allocations["d0.0"].data["node"]
    do(world, "cut", node)
    ended = world.steady + longest(world.machines[node].runs["d0.0"])
    while world.steady < ended + 10.0:
        do(world, "round", 0)
        assert ("d0.2" in world.fleet.allocations) is (world.steady >= ended)
        do(world, "wait", 1.0)
    assert any("d0.2" in machine.runs for machine in world.machines.values())


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("how", ["cut", "replace"])
def test_the_replacement_of_a_replacement_waits_for_all_before_it(how, eager):
    """The first node is back unseen, has not read that it is to stop, and the second is lost before it begins."""
    world = live_through(["never"], (), eager=eager)
    node = world.fleet.allocations["d0.0"].data["node"]
    script = [("cordon", node), ("cut", node), ("wait", 35.0), ("plan", 1), ("heal", node), ("round", 0)]
    for verb, what in [*script, ("strike", (how, max))]:
        do(world, verb, what)
    assert "d0.0" in world.machines[node].runs
    for _ in range(5):
        for other in NODES:
            if other != node:
                world.obey(other)
        world.check()
        do(world, "wait", 20.0)
        do(world, "round", 0)
    for other in NODES:
        do(world, "heal", other)
    settle(world)
    assert world.fleet.status["d0"].data["status"] == "RUNNING"


@settings(max_examples=60, deadline=None)
@given(first=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=2), script=steps)
def test_whatever_happens_it_comes_to_what_is_wanted_and_stays_there(first, script):
    world = live_through(first, script)
    for node in NODES:
        do(world, "undrain", node)
        world.heal(node)
    settle(world)
    for key, stored in world.fleet.deployments.items():
        status = world.fleet.status[key].data
        live = [
            world.fleet.allocations[each].data
            for each in world.fleet.of_deployment.get(key, ())
            if world.fleet.allocations[each].data["wanted"] == "running"
        ]
        if stored.data["wanted"] == "stopped" or status.get("refused"):
            assert status["status"] in ("STOPPED", "FAILED")
            assert not live
            continue
        slots = {(each["index"], each["part"]) for each in live if not each.get("canary")}
        ordinary = [each for each in live if not each.get("canary")]
        assert len(slots) == len(ordinary), "one for each slot"
        wanted = status["groups"]["group-0"]["wanted"]
        assert len(ordinary) + len(status.get("missing", ())) == wanted
        rollout = status.get("rollout", {}).get("state", "done")
        stuck = (
            status.get("missing") or "no canary can be" in status["reason"] or "cannot be" in status["reason"]
        )
        assert rollout in ("done", "promotion", "failed", "reverted") or stuck, "progress whenever possible"
        if rollout == "done" and not status.get("missing"):
            assert {each["version"] for each in live} <= {stored.data["version"]}
            assert status["status"] == "RUNNING", status
