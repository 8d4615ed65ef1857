"""What placement, the plan, the desired entries and the agents expect of each other."""

import pytest

from agentd.executor import OF_OLD_KEEPERS
from agentd.facts import node as facts
from manager_api.core import project
from manager_api.core.actions import Advance, Place, Wake
from manager_api.core.fleet import Stored
from manager_api.core.judge import Judge
from manager_api.core.moment import Moment
from manager_api.core.peering import Peers
from manager_api.core.plan import by_importance, plan_deployments
from store.codec import dumps, loads
from store.kv.api import MOST_FIELDS
from store.model import spec
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template
from tests.core_world import Case

pytestmark = pytest.mark.unit

NOW = Moment(1e9, 1e3)

EVERYTHING = a_task(
    "web",
    command="/bin/web ${text.dollar}{HOME} ${port.http}",
    config={"user": "nobody", "umask": "0027"},
    ulimits={"nofile": 1000},
    ports={"http": 0, "admin": 9000},
    depends_on={"side": "started", "db.server": "2 healthy"},
    resources={"reservations": {"memory": "64M"}, "limits": {"memory": "128M"}},
    healthcheck={"tcp": 9000},
    logs={"max_size": "1M"},
    duration="1h",
    hooks={"pre_start": "/bin/true"},
)


def test_an_agent_claims_all_that_a_process_can_ask_of_it():
    body = a_template(EVERYTHING, a_task("side"), on_disconnect={"stop_after": "30s"})
    asked = spec.groups(body)[0].tasks[0].features
    assert {"literal", "peers", "ports", "disconnect"} <= asked
    assert asked <= set(facts.FEATURES)


def test_an_old_keeper_starts_what_is_new_to_the_brain_alone():
    """An agent that was upgraded over running tasks has the keeper of before."""
    assert {"literal", "peers", "ports"} <= OF_OLD_KEEPERS


def test_an_order_says_all_that_its_agent_needs_and_nothing_that_is_ours():
    case = Case(
        a_task("web", ports={"http": 0, "admin": 9000}, depends_on={"side": "started"}),
        a_task("side", config={"driver": "container", "image": "nginx", "ports": ["8080:80"]}),
        features=facts.features({"name": "docker"}),
        on_disconnect={"stop_after": "30s"}, duplicates="never", reschedule={"after": "120s"},
    ).begin()  # fmt: skip
    ((alloc_id, data),) = case.live.items()
    assert data["published"] == [8080], "kept, so that the port stays taken"
    order = loads(dumps({**project.entry(case.fleet, data, Peers(case.fleet)), "rev": 7}))
    assert not {"published", "why", "memory", "cpus", "node", "uid", "part"} & order.keys()
    assert order["duplicates"] == "never"
    found = spec.allocation(alloc_id, order)
    assert found.ports == data["ports"]
    assert found.ports["web"]["admin"] == 9000
    assert found.stop_after == 30.0
    assert [task.name for task in found.tasks] == ["web", "side"]
    assert found.tasks[0].depends_on == {"side": "started"}


def preempting(number, *, victims):
    """A deployment that wants one instance on each of some nodes, all full of unimportant ones."""
    fleet = a_fleet()
    for each in range(number):
        add_node(fleet, f"n{each:03}", memory=8 * GB)
    share = {"resources": {"reservations": {"memory": f"{7 // victims}G"}}}
    low = a_template(a_task(**share), name="low", count=number * victims)
    add_template(fleet, {**low, "priority": 10})
    high = a_template(a_task(resources={"reservations": {"memory": "7G"}}), name="high", count=number)
    add_template(fleet, {**high, "priority": 90, "preempt": True})
    add_deployment(fleet, "low", "low")
    while plan := [each for each in plan_deployments(fleet, NOW, ["low"]) if hasattr(each, "status")]:
        carry_out(fleet, plan)
    add_deployment(fleet, "high", "high", created=2e9)
    return fleet


def carry_out(fleet, actions):
    for action in actions:
        if isinstance(action, Wake):
            continue
        puts = action.puts if isinstance(action, Advance) else {}
        if isinstance(action, Place):
            puts = {key: (0, data) for key, data in action.allocations.items()}
        for key, (_, data) in puts.items():
            fleet.put_allocation(key, Stored(data, 5))
        fleet.status[action.deployment] = Stored(action.status, 5)
        fleet.recount(action.deployment)


def test_many_that_make_room_fit_a_transaction_and_give_way_only_for_what_is_written_with_it():
    fleet = preempting(200, victims=3)
    (found,) = plan_deployments(fleet, NOW, ["high"])
    placed = [data for _, data in found.puts.values() if data["wanted"] == "running"]
    stopped = [data for _, data in found.puts.values() if data["wanted"] == "stopped"]
    assert len(found.puts) + 1 <= MOST_FIELDS
    assert len(stopped) == 3 * len(placed)
    assert {each["node"] for each in stopped} == {each["node"] for each in placed}
    assert all(each["stopped"] == "makes room for deployment high" for each in stopped)
    for _ in range(20):
        carry_out(fleet, plan_deployments(fleet, NOW, ["high"]))
    up = [each.data for each in fleet.allocations.values() if each.data["wanted"] == "running"]
    assert len([each for each in up if each["deployment"] == "high"]) == 200
    carry_out(fleet, plan_deployments(fleet, NOW, ["low"]))
    assert "600 of 600 of group group-0 cannot be placed" in fleet.status["low"].data["reason"]


def test_of_those_that_wait_the_more_important_are_first_then_the_older():
    fleet = a_fleet()
    add_node(fleet, memory=8 * GB)
    for name, priority in (("low", 20), ("high", 80), ("plain", None)):
        body = a_template(a_task(resources={"reservations": {"memory": "6G"}}), name=name)
        add_template(fleet, {**body, **({"priority": priority} if priority else {})})
    for created, name in enumerate(("low", "plain", "high", "plain")):
        add_deployment(fleet, f"{created}-{name}", name, created=float(created))
    add_deployment(fleet, "gone", "gone", created=0.0)  # its template is not there
    order = by_importance(fleet, fleet.deployments)
    assert order == ["2-high", "gone", "1-plain", "3-plain", "0-low"]
    plan = [each for each in plan_deployments(fleet, NOW, order) if isinstance(each, Place)]
    assert [each.deployment for each in plan] == ["2-high"]


def test_many_that_wait_for_the_same_cost_one_look_at_the_fleet_together(monkeypatch):
    """They are all looked at again whenever there may be room: with ports, too, or a bound for each node."""
    looked, look = [], Judge.look
    monkeypatch.setattr(Judge, "look", lambda *asked: looked.append(1) or look(*asked))
    fleet = a_fleet()
    for each in range(100):
        add_node(fleet, f"n{each:03}", memory=8 * GB)
    task = a_task(ports={"http": 0, "admin": 9000}, resources={"reservations": {"memory": "9G"}})
    add_template(fleet, a_template(task, placement={"max_replicas_per_node": 1}))
    for each in range(16):
        add_deployment(fleet, f"d{each}")
        fleet.deployments[f"d{each}"].data["wait"] = True
    plan_deployments(fleet, NOW, fleet.deployments)
    assert len(looked) == 100
    assert fleet.hungry == set(fleet.deployments)


def test_where_one_deployment_moves_to_is_taken_for_the_next_of_the_same_round():
    """A replacement and a new deployment, or two replacements, must not get the same room."""
    fleet = a_fleet()
    for node in ("a", "b"):
        add_node(fleet, node, memory=8 * GB)
    add_template(fleet, a_template(a_task(resources={"reservations": {"memory": "5G"}})))
    add_deployment(fleet, "old")
    carry_out(fleet, plan_deployments(fleet, NOW, ["old"]))
    (moved,) = fleet.allocations.values()
    away = moved.data["node"]
    fleet.nodes[away].data["uid"] = "another machine"
    fleet.nodes[away].data["cordoned"] = {"since": 1.0}
    add_deployment(fleet, "new", created=2e9)
    plan = [each for each in plan_deployments(fleet, NOW, ["new", "old"]) if not isinstance(each, Wake)]
    assert [(type(each).__name__, each.deployment) for each in plan] == [
        ("Advance", "old"),
        ("Refuse", "new"),
    ]
