"""Nodes being drained: a few at a time, healthy elsewhere first, deadlines, what cannot leave."""

import pytest

from manager_api.core.actions import SetNodeStatus
from manager_api.core.drain import plan_drain, resume
from manager_api.core.fleet import Stored
from manager_api.core.memory import Memory
from tests.builders import a_template, add_deployment, add_template
from tests.core_world import WALL, Case, a_task

pytestmark = pytest.mark.unit
QUICK = {"update": {"min_healthy": "5s"}}


def drain(case, node, deadline=None):
    case.mark(node, drain={"since": case.now.wall, "deadline": deadline}, cordoned={"since": case.now.wall})


def on(case, node):
    return sorted(key for key, each in case.live.items() if each["node"] == node)


def test_one_at_a_time_and_the_new_one_is_healthy_first():
    case = Case(count=4, nodes=("a",), **QUICK).begin()
    from tests.builders import add_node

    add_node(case.fleet, "b", features=["process"])
    drain(case, "a")
    case.step()
    assert (len(on(case, "a")), on(case, "b")) == (4, ["dep.4"])
    case.step()
    assert len(case.live) == 5, "max_parallel is one"
    case.up()
    case.steady += 4.9
    case.step()
    assert len(on(case, "a")) == 4
    case.steady += 0.2
    case.step()
    assert len(on(case, "a")) == 3
    for _ in range(12):
        case.up()
        case.steady += 5.1
        case.step()
    assert (on(case, "a"), len(on(case, "b"))) == ([], 4)
    assert case.status["status"] == "RUNNING"


def test_without_duplicates_the_old_one_ends_first():
    group = {"duplicates": "never", "on_disconnect": {"stop_after": "20s"}, "reschedule": {"after": "40s"}}
    case = Case(count=1, nodes=("a", "b"), **group, **QUICK).begin()
    (old,) = case.live
    drain(case, case.live[old]["node"])
    case.step()
    assert case.live == {}
    case.step()
    assert case.live == {}, "it has not been heard to end"
    case.up()
    case.step()
    assert case.live.keys() == {"dep.1"}


def test_without_room_elsewhere_nothing_is_stopped_and_the_drain_says_so():
    group = {"duplicates": "never", "on_disconnect": {"stop_after": "20s"}, "reschedule": {"after": "40s"}}
    for more in ({}, group):
        case = Case(
            a_task("t", resources={"reservations": {"memory": "5G"}}), count=2, nodes=("a", "b"), **more
        )
        case.begin()
        drain(case, "a")
        case.step()
        assert len(on(case, "a")) == 1
        assert "cannot leave node a" in case.status["reason"]
        (said,) = plan_drain(case.fleet, "a")
        assert (said.drain["state"], said.drain["left"]) == ("stuck", 1)
        assert plan_drain(case.fleet, "a") == []


def test_at_its_deadline_everything_is_stopped():
    case = Case(a_task("t", resources={"reservations": {"memory": "5G"}}), count=2, nodes=("a", "b")).begin()
    drain(case, "a", deadline=60)
    case.step()
    case.steady += 60
    case.step()
    assert on(case, "a") == []
    assert case.status["status"] == "DEGRADED"


@pytest.mark.parametrize(("deadline", "stays"), [(None, True), (1000, False)])
def test_what_is_pinned_leaves_last_if_there_is_a_deadline(deadline, stays):
    case = Case(count=1, placement={"node": "a"}).begin()
    drain(case, "a", deadline)
    case.step()
    assert bool(on(case, "a")) is stays
    (said,) = plan_drain(case.fleet, "a")
    assert said.drain["state"] == ("stuck" if stays else "draining")
    if not stays:
        assert case.status["reason"].startswith("1 of 1 of group group-0 cannot be placed")
        case.mark("a", drain=None, cordoned=None)
        case.up()
        case.step()
        assert on(case, "a") == ["dep.1"]


def test_what_is_everywhere_waits_until_all_others_have_left():
    case = Case(count="all", nodes=("a", "b")).begin()
    drain(case, "a")
    case.step()
    assert case.nodes() == ["b"]
    case.up()
    case.step()
    assert case.status["status"] == "RUNNING"


def test_a_drain_that_is_cancelled_keeps_the_old_one():
    case = Case(count=1, nodes=("a", "b"), **QUICK).begin()
    (old,) = case.live
    node = case.live[old]["node"]
    drain(case, node)
    case.step()
    assert len(case.live) == 2
    assert isinstance(plan_drain(case.fleet, node)[0], SetNodeStatus)
    case.mark(node, drain=None, cordoned=None)
    case.step()
    assert case.live.keys() == {old}
    (said,) = plan_drain(case.fleet, node)
    assert said.drain is None


def test_progress_counts_what_has_left():
    case = Case(count=2, nodes=("a",), update={"min_healthy": "0s", "max_parallel": 2}).begin()
    from tests.builders import add_node

    add_node(case.fleet, "b", features=["process"])
    drain(case, "a")
    (said,) = plan_drain(case.fleet, "a")
    assert (said.drain["left"], said.drain["of"], said.drain["state"]) == (2, 2, "draining")
    for _ in range(3):
        case.step()
        case.up()
    for key in [key for key, each in case.fleet.allocations.items() if each.data["wanted"] == "stopped"]:
        case.fleet.drop_allocation(key)
    (said,) = plan_drain(case.fleet, "a")
    assert (said.drain["left"], said.drain["of"], said.drain["state"]) == (0, 2, "done")
    assert said.drain["since"] > WALL


def led_anew(case, node, said):
    """Another leader: it remembers nothing, and finds what the last one wrote."""
    case.fleet.memory = Memory()
    case.fleet.nodes_status[node] = Stored({"v": 1, "drain": said.drain}, 9)
    resume(case.fleet)


def test_the_next_leader_takes_away_what_was_said_of_a_drain_that_was_cancelled_meanwhile():
    case = Case(count=1, nodes=("a",)).begin()
    drain(case, "a")
    (said,) = plan_drain(case.fleet, "a")
    case.mark("a", drain=None, cordoned=None)
    led_anew(case, "a", said)
    assert [each.drain for each in plan_drain(case.fleet, "a")] == [None]
    assert plan_drain(case.fleet, "a") == []


def test_the_next_leader_knows_how_much_there_was():
    case = Case(count=3, nodes=("a",)).begin()
    drain(case, "a")
    (said,) = plan_drain(case.fleet, "a")
    led_anew(case, "a", said)
    assert plan_drain(case.fleet, "a") == [], "nothing has changed"
    case.fleet.drop_allocation("dep.0")
    (said,) = plan_drain(case.fleet, "a")
    assert (said.drain["left"], said.drain["of"]) == (2, 3)


def test_the_drain_of_a_node_that_is_offline_says_what_it_waits_for():
    case = Case(count=1, nodes=("a",)).begin()
    from tests.builders import add_node

    add_node(case.fleet, "b", features=["process"])
    case.cut("a")
    drain(case, "a")
    for _ in range(3):
        case.step()
        case.up()
        case.steady += 11
    assert case.nodes() == ["b"]
    (said,) = plan_drain(case.fleet, "a")
    assert said.drain["state"] == "draining"
    assert "it is offline: 1 of 1 allocations stop there when it is back" in said.drain["reason"]


@pytest.mark.parametrize(
    ("deadline", "state"), [(None, "stuck"), (600.0, "draining")], ids=["for ever", "until its deadline"]
)
def test_what_stays_last_does_not_hide_what_cannot_leave(deadline, state):
    case = Case(a_task("t", resources={"reservations": {"memory": "5G"}}), count=2, nodes=("a", "b")).begin()
    add_template(case.fleet, a_template(a_task("log"), name="every", count="all"))
    add_deployment(case.fleet, "other", template="every")
    mine = next(each for each in case.live.values() if each["node"] == "a")
    case.put("other.0", {**mine, "deployment": "other", "template": "every", "memory": 0})
    drain(case, "a", deadline)
    case.step()
    (said,) = plan_drain(case.fleet, "a")
    assert (said.drain["state"], said.drain["left"]) == (state, 2)
    assert "no node can take it" in said.drain["reason"] or "of memory" in said.drain["reason"]
