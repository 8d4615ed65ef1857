"""Deployments that compete for room: random fleets, templates and wishes of people; plans cut short anywhere."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manager_api.core.actions import Advance, Place, Wake
from manager_api.core.capacity import host_reserve
from manager_api.core.holdings import numbers_of
from store.model.lifecycle import DEPLOYMENT_ENDED
from tests.builders import a_fleet, a_task, add_deployment, add_node, add_template
from tests.property.test_reconcile import Machine
from tests.property.test_reconcile import World as Stage

pytestmark = pytest.mark.property

MIB = 1024**2
QUICK = {"max_parallel": 2, "min_healthy": "1s", "healthy_deadline": "60s"}
NAMES = ("t0", "t1", "t2")

a_node = st.fixed_dictionaries(
    {
        "memory": st.sampled_from([512, 1024, 2048, 4096]),
        "cpus": st.sampled_from([1, 2, 4]),
        "zone": st.sampled_from([None, "a", "b"]),
        "foreign": st.sampled_from([0, 0, 30]),
    }
)
a_group = st.fixed_dictionaries(
    {
        "count": st.sampled_from([1, 1, 2, 3, 4, "all"]),
        "memory": st.sampled_from([0, 300, 900, 1500]),
        "cpus": st.sampled_from([0.0, 0.5, 1.0]),
        "port": st.sampled_from([None, None, 0, 8000, 8001]),
        "zones": st.sampled_from([None, None, ["a"], ["a", "b"]]),
        "most": st.sampled_from([None, None, 1, 2]),
        "strategy": st.sampled_from(["spread", "binpack"]),
        "spread": st.sampled_from([None, "zone"]),
    }
)
a_template = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([20, 50, 80]),
        "preempt": st.booleans(),
        "versions": st.lists(st.lists(a_group, min_size=1, max_size=2), min_size=2, max_size=2),
    }
)


def body(name, raw, version, groups):
    found = []
    for number, group in enumerate(groups):
        task = a_task("t", command=f"/bin/v{version}")
        if group["memory"] or group["cpus"]:
            reserved = {"memory": f"{group['memory']}M", "cpus": str(group["cpus"])}
            task["resources"] = {
                "reservations": {key: each for key, each in reserved.items() if each != "0M"}
            }
        if group["port"] is not None:
            task["ports"] = {"http": group["port"]}
        placement = {"strategy": group["strategy"]}
        placement |= {"labels": {"zone": group["zones"]}} if group["zones"] else {}
        placement |= {"max_replicas_per_node": group["most"]} if group["most"] else {}
        placement |= {"spread": group["spread"]} if group["spread"] else {}
        found.append(
            {
                "name": f"g{number}", "count": group["count"], "tasks": [task], "placement": placement,
                "reschedule": {"after": "10s"}, "update": QUICK,
            }
        )  # fmt: skip
    return {"name": name, "priority": raw["priority"], "preempt": raw["preempt"], "task_groups": found}


class World(Stage):
    """A stage with a fleet and templates of its own, and a naive view of what is allowed."""

    def __init__(self, nodes, templates):
        self.fleet, self.rev, self.steady = a_fleet(), 10, 1000.0
        self.ghosts, self.seen, self.capacity, self.cpus = [], set(), {}, {}
        self.names = [f"n{number}" for number in range(len(nodes))]
        self.machines = {node: Machine(f"uid-{node}") for node in self.names}
        self.eager, self.hashes = False, {node: {} for node in self.names}
        for node, raw in zip(self.names, nodes, strict=True):
            total = raw["memory"] * MIB
            labels = {"zone": raw["zone"]} if raw["zone"] else {}
            state = add_node(self.fleet, node, memory=total, cpus=raw["cpus"], labels=labels)
            used = total * raw["foreign"] // 100
            state.beat |= {"memory_used": used, "disk_percent": 1.0}
            self.capacity[node] = total - max(used, host_reserve(total))
            self.cpus[node] = raw["cpus"]
        for name, raw in zip(NAMES, templates, strict=False):
            for version, groups in enumerate(raw["versions"], 1):
                add_template(self.fleet, body(name, raw, version, groups), version)

    def group(self, data):
        groups = self.fleet.groups(f"{data['version']}:{data['template']}")
        return next((each for each in groups if each.name == data["group"]), None)

    def on(self, node):
        """Allocations on the machine that has the name of a node now."""
        uid = self.fleet.nodes[node].data["uid"]
        every = (self.fleet.allocations[each].data for each in self.fleet.on_node.get(node, ()))
        return [each for each in every if each["uid"] == uid and not self.fleet.is_over(each["deployment"])]

    def live(self, node):
        return [each for each in self.on(node) if each["wanted"] == "running"]

    # -- what is done

    def look(self, node):
        if node in self.machines:
            super().look(node)

    def advance(self, seconds):
        super().advance(seconds)
        for node in self.names:
            self.look(node)

    def perform(self, action):
        fleet = self.fleet
        if isinstance(action, Advance):
            known = fleet.deployments[action.deployment].rev
            stale = any(
                (fleet.allocations[key].rev if key in fleet.allocations else 0) != rev
                for key, (rev, _) in action.puts.items()
            )
            if known != action.rev or stale:
                return  # a conflict: planned again
        new = {}
        if isinstance(action, Place):
            new = dict(action.allocations)
        elif isinstance(action, Advance):
            new = {key: data for key, (rev, data) in action.puts.items() if rev == 0}
        assert not self.seen & new.keys(), "an id is never used twice"
        held = {key: self.held(data["node"]) for key, data in new.items()}
        super().perform(action)
        if not new.keys() <= fleet.allocations.keys():
            return
        self.seen |= new.keys()
        for key, data in new.items():
            self.check_new(key, data, held[key])

    def held(self, node):
        """Ports that were not given back when something was planned: what the node has not ended."""
        return {number for each in self.on(node) for number in numbers_of(each)}

    def check_new(self, key, data, held):
        """A new placement keeps every rule, as things stood when it was made."""
        node, group = data["node"], self.group(data)
        record = self.fleet.nodes[node].data
        assert self.fleet.states[node].online
        assert not any(record.get(each) for each in ("cordoned", "drain", "removing")), "closed"
        zones = group.policy.placement.labels.get("zone")
        assert not zones or record.get("labels", {}).get("zone") in zones, "labels"
        assert not numbers_of(data) & held, "a port is free once its node said so"
        most = group.policy.placement.max_replicas_per_node
        mine = data["deployment"], data["group"]
        there = [each for each in self.live(node) if (each["deployment"], each["group"]) == mine]
        assert most is None or len(there) <= most, "max_replicas_per_node"
        assert not group.everywhere or len(there) == 1, "one on each node"

    def check(self):
        for node in self.names:
            live = self.live(node)
            assert sum(each["memory"] for each in live) <= self.capacity[node], "memory"
            assert sum(each["cpus"] for each in live) <= self.cpus[node] + 1e-6, "cpus"
            numbers = [number for each in live for number in numbers_of(each)]
            assert len(numbers) == len(set(numbers)), "a port twice"
        for machine in self.machines.values():
            numbers = [number for each in machine.runs.values() for number in numbers_of(each)]
            assert len(numbers) == len(set(numbers)), "two that run have one port"

    # -- at rest

    def fits(self, node, data, group, part):
        """Whether one more would be allowed on a node: as naively as can be."""
        record, state = self.fleet.nodes[node].data, self.fleet.states[node]
        if not state.online or any(record.get(each) for each in ("cordoned", "drain", "removing")):
            return False
        zones = group.policy.placement.labels.get("zone")
        if zones and record.get("labels", {}).get("zone") not in zones:
            return False
        live = self.live(node)
        memory, cpus = part.reserved_memory, part.reserved_cpus
        if memory and sum(each["memory"] for each in live) + memory > self.capacity[node]:
            return False
        if cpus and sum(each["cpus"] for each in live) + cpus > self.cpus[node] + 1e-6:
            return False
        if {number for number in part.ports.values() if number} & self.held(node):
            return False
        there = sum((each["deployment"], each["group"]) == data for each in live)
        most = group.policy.placement.max_replicas_per_node
        return there < (1 if group.everywhere else most or there + 1)

    def check_rest(self):
        """Nothing is missing that would fit, and nothing is there that is not wanted."""
        for deployment, stored in self.fleet.deployments.items():
            status = self.fleet.status[deployment].data
            if status["status"] in DEPLOYMENT_ENDED:
                continue
            assert stored.data["wanted"] == "running", "what is stopped has ended"
            live = [
                each
                for key in self.fleet.of_deployment.get(deployment, ())
                if (each := self.fleet.allocations[key].data)["wanted"] == "running"
            ]
            groups = self.fleet.groups(f"{stored.data['version']}:{stored.data['template']}")
            wanted = 0
            for group in groups:
                (task,) = group.tasks
                mine = [each for each in live if each["group"] == group.name]
                key, count = (deployment, group.name), len(mine)
                free = [node for node in self.names if self.fits(node, key, group, task)]
                wanted += 2 if group.everywhere else stored.data.get("scale", {}).get(group.name, group.count)
                if status.get("waiting"):
                    continue
                if group.everywhere:
                    assert not free, f"{deployment}: one is missing on {free}: {status}"
                    continue
                asked = stored.data.get("scale", {}).get(group.name, group.count)
                assert count <= asked, "too many"
                assert count == asked or not free, f"{deployment}: {free} could take it: {status}"
                if count < asked:
                    assert status["missing"], "it says what is missing"
                    assert "cannot be " in status["reason"]
            if status.get("waiting"):
                assert not live
                assert status["reason"].startswith("waits for capacity: group")
                assert wanted != 1 or not free, "it waits for what is there"


number = st.integers(0, 3)
node_number = st.integers(0, 5)
steps = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("deploy"), st.tuples(st.sampled_from(NAMES), st.booleans())),
            st.tuples(st.just("stop"), number),
            st.tuples(st.just("scale"), st.tuples(number, st.integers(0, 4))),
            st.tuples(st.just("update"), st.tuples(number, st.integers(1, 2))),
            st.tuples(
                st.sampled_from(
                    ["cut", "heal", "replace", "drain", "open", "cordon", "remove", "relabel", "unlabel"]
                ),
                node_number,
            ),
            st.tuples(st.just("wait"), st.sampled_from([1.0, 12.0])),
            st.tuples(st.just("run"), st.just(0)),
        ),
        st.sampled_from([0, 1, 2, 3, 99, 99, 99]),
    ),
    min_size=3,
    max_size=18,
)


def do_node(world, verb, node):
    since = {"since": world.now.wall}
    match verb:
        case "cut" | "heal" | "replace":
            getattr(world, verb)(node)
        case "drain":
            world.mark(node, drain={**since, "deadline": None}, cordoned=since)
        case "open":
            world.mark(node, drain=None, cordoned=None, removing=None)
        case "cordon":
            world.mark(node, cordoned=since)
        case "remove":
            world.mark(node, removing=world.now.wall)
        case "relabel":
            world.mark(node, labels={"zone": "b"})
        case "unlabel":
            world.mark(node, labels={})


def do(world, verb, what):
    fleet = world.fleet
    match verb:
        case "deploy":
            if len(fleet.deployments) < 4 and f"1:{what[0]}" in fleet.versions:
                name = f"d{len(fleet.deployments)}"
                add_deployment(fleet, name, template=what[0], created=world.now.wall)
                world.ask(name, wait=what[1])
        case "stop":
            world.ask(f"d{what}", wanted="stopped")
        case "scale":
            known = fleet.deployments.get(f"d{what[0]}")
            if known is not None:
                groups = fleet.groups(f"{known.data['version']}:{known.data['template']}")
                if not groups[0].everywhere:
                    world.ask(f"d{what[0]}", scale={"g0": what[1]})
        case "update":
            known = fleet.deployments.get(f"d{what[0]}")
            if known is not None:
                world.ask(f"d{what[0]}", version=what[1], change=known.data.get("change", 0) + 1)
        case "wait":
            world.advance(what)
        case "run":
            for node in world.names:
                world.obey(node)
            act(world, 99)
        case _:
            if what < len(world.names):
                do_node(world, verb, world.names[what])


def act(world, most):
    for action in world.actions()[:most]:
        world.perform(action)
        world.check()


def settle(world):
    quiet = 0
    for _ in range(150):
        for node in world.names:
            world.obey(node)
            world.check()
        todo = [each for each in world.actions() if not isinstance(each, Wake)]
        act(world, 999)
        quiet = 0 if todo else quiet + 1
        if quiet > 3:
            return
        world.advance(35.0 if quiet else 3.0)
    pytest.fail(f"it never comes to rest: {todo}")


ROOMY = {"memory": 4096, "cpus": 4, "zone": None, "foreign": 0}
THREE = {
    "count": 3, "memory": 0, "cpus": 0.0, "port": 0, "zones": None, "most": None, "strategy": "spread",
    "spread": None,
}  # fmt: skip
AGAIN = [(("run", 0), 99)] * 3


@settings(max_examples=80, deadline=None)
@example(  # what is stopped and collected, and then wanted again, is another
    nodes=[ROOMY] * 3,
    templates=[{"priority": 50, "preempt": False, "versions": [[THREE], [THREE]]}],
    script=[*AGAIN, (("scale", (0, 1)), 99), *AGAIN, (("scale", (0, 3)), 99), *AGAIN],
)
@example(  # what is cordoned takes nothing new
    nodes=[ROOMY],
    templates=[{"priority": 50, "preempt": False, "versions": [[THREE], [THREE]]}],
    script=[(("cordon", 0), 99), (("scale", (0, 1)), 99), (("deploy", ("t0", True)), 99), *AGAIN],
)
@given(
    nodes=st.lists(a_node, min_size=1, max_size=6),
    templates=st.lists(a_template, min_size=1, max_size=3),
    script=steps,
)
def test_whoever_competes_all_rules_hold_and_nobody_misses_what_there_is_room_for(nodes, templates, script):
    world = World(nodes, templates)
    do(world, "deploy", ("t0", True))
    do(world, "run", 0)
    for (verb, what), cut_at in script:
        do(world, verb, what)
        act(world, cut_at)
        for node in world.names[:cut_at]:
            world.obey(node)
            world.check()
    for node in world.names:
        world.heal(node)
    settle(world)
    world.check_rest()
    assert [each for each in world.actions() if not isinstance(each, Wake)] == [], "and stays there"
