"""The controller's plan over random fleets, cut short after any action."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_api.core.actions import Collect, Place, Project, Refuse, Reorder, SetStatus
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from store.keys import ALLOCATIONS, DEPLOYMENTS, STATUS
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.property

NODES = ("a", "b", "c")


class World:
    """A fleet whose store does what the executor asks, and whose nodes obey when told to."""

    def __init__(self, nodes):
        self.fleet = a_fleet()
        self.rev = 10
        for name, (online, memory) in zip(NODES, nodes, strict=True):
            add_node(self.fleet, name, online=online, memory=memory * GB)

    def actions(self):
        fleet = self.fleet
        found = plan_deployments(fleet, Moment(1e9 + 1, 1e3), [*fleet.deployments, *fleet.status])
        return [*found, *plan_nodes(fleet, fleet.nodes)]

    def perform(self, action):
        fleet = self.fleet
        self.rev += 1
        match action:
            case Place():
                for key, data in action.allocations.items():
                    assert key not in fleet.allocations, "ids are never used twice"
                    fleet.put_allocation(key, Stored(data, self.rev))
                fleet.status[action.deployment] = Stored(dict(action.status), self.rev)
            case Refuse() | SetStatus():
                fleet.status[action.deployment] = Stored(dict(action.status), self.rev)
            case Reorder():
                for key, (_, data) in action.allocations.items():
                    fleet.put_allocation(key, Stored(data, self.rev))
            case Collect():
                for collection, field, _ in action.records:
                    if collection == ALLOCATIONS:
                        fleet.drop_allocation(field)
                    else:
                        {DEPLOYMENTS: fleet.deployments, STATUS: fleet.status}[collection].pop(field)
            case Project():
                state = fleet.states[action.node]
                for key, entry in action.puts.items():
                    state.desired[key] = {
                        "rev": self.rev,
                        "generation": entry["generation"],
                        "wanted": entry["wanted"],
                    }
                for key in action.deletes:
                    known = state.desired.pop(key)
                    assert known["wanted"] == "stopped", "only tombstones are deleted"
                    assert state.actual[key]["rev"] >= known["rev"]
                state.desired_rev = self.rev

    def obey(self, node):
        state = self.fleet.states[node]
        for key, entry in state.desired.items():
            task = {
                "name": "t",
                "state": "running" if entry["wanted"] == "running" else "stopped",
                "exit_code": 0,
            }
            state.actual[key] = {"uid": f"uid-{node}", "epoch": self.fleet.epoch, "tasks": [task], **entry}
        for key in state.actual.keys() - state.desired.keys():
            del state.actual[key]

    def check(self):
        fleet = self.fleet
        for node, reserved in fleet.reserved.items():
            assert 0 <= reserved.memory <= fleet.states[node].beat["memory_total"], "never over capacity"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("deploy"), st.sampled_from(["any", "pinned", "big", "many"])),
        st.tuples(st.just("stop"), st.integers(0, 5)),
        st.tuples(st.just("obey"), st.sampled_from(NODES)),
        st.tuples(st.just("flip"), st.sampled_from(NODES)),
        st.tuples(st.just("plan"), st.integers(0, 8)),
    ),
    max_size=25,
)
TEMPLATES = {
    "any": a_template(a_task("t", resources={"reservations": {"memory": "1G"}}), name="any"),
    "pinned": a_template(a_task("t", config={"node": "b"}), name="pinned"),
    "big": a_template(a_task("t", resources={"reservations": {"memory": "5G"}}), name="big"),
    "many": a_template(a_task("t", resources={"reservations": {"memory": "1G"}}), name="many", count=5),
}


@settings(max_examples=200, deadline=None)
@given(nodes=st.lists(st.tuples(st.booleans(), st.integers(1, 8)), min_size=3, max_size=3), script=steps)
def test_any_history_converges(nodes, script):
    world = World(nodes)
    for template in TEMPLATES.values():
        add_template(world.fleet, template)
    count = 0
    for verb, what in script:
        if verb == "deploy":
            add_deployment(world.fleet, f"d{count}", template=what)
            count += 1
        elif verb == "stop" and f"d{what}" in world.fleet.deployments:
            stored = world.fleet.deployments[f"d{what}"]
            world.fleet.deployments[f"d{what}"] = dataclasses.replace(
                stored, data={**stored.data, "wanted": "stopped"}
            )
        elif verb == "obey":
            world.obey(what)
        elif verb == "flip":
            world.fleet.states[what].online ^= True
        elif verb == "plan":
            for action in world.actions()[:what]:
                world.perform(action)
        world.check()
    for _ in range(30):
        for node in NODES:
            world.obey(node)
        todo = world.actions()
        for action in todo:
            world.perform(action)
        world.check()
        if not todo:
            break
    else:
        pytest.fail(f"it never comes to rest: {todo}")
    for key, stored in world.fleet.deployments.items():
        status = world.fleet.status[key].data["status"]
        if stored.data["wanted"] == "stopped":
            assert status in ("STOPPED", "FAILED")
            assert not world.fleet.of_deployment.get(key)
        else:
            assert status in ("RUNNING", "FAILED")
