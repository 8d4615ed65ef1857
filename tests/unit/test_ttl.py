"""A deployment's time to live: it ends it once, visibly, whether it runs, waits, or cannot be reached."""

import pytest

from manager_api.core.actions import Reorder, SetStatus, Wake
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments
from tests.core_world import WALL, Case

pytestmark = pytest.mark.unit

OVER = "its time to live of 1m is over"


def a_case(**more):
    case = Case(nodes=("a",), count=1, **more)
    case.ask(ttl=60.0, created=WALL + case.steady)
    return case


def plan(case):
    """What is planned, without alarms; it is done."""
    found = [each for each in plan_deployments(case.fleet, case.now, ["dep"]) if not isinstance(each, Wake)]
    for action in found:
        case.rev += 1
        if isinstance(action, Reorder):
            for key, (_, data) in action.allocations.items():
                case.put(key, data)
        if isinstance(action, SetStatus):
            case.fleet.status["dep"] = Stored(action.status, case.rev)
    return found


@pytest.mark.parametrize("reached", [True, False])
def test_it_is_written_once_that_it_is_over(reached):
    """A node that is away for weeks must not be written about all that time."""
    case = a_case().begin()
    if not reached:
        case.cut("a")
    case.steady += 61.0
    for _ in range(3):
        plan(case)
    assert (case.status["expired"], case.status["reason"]) == (True, OVER)
    assert plan(case) == []
    case.back("a")
    case.up()
    for _ in range(3):
        plan(case)
    assert (case.status["status"], case.status["reason"]) == ("STOPPED", OVER)
    assert plan(case) == []


def test_what_waits_for_room_does_not_wait_longer_than_it_may_live():
    case = a_case()
    case.ask(wait=True)
    case.mark("a", cordoned={"since": 1.0})
    plan(case)
    assert case.status["waiting"]
    assert "dep" in case.fleet.hungry
    case.steady += 61.0
    plan(case)
    assert (case.status["status"], case.status["reason"]) == ("STOPPED", OVER)
    assert "waiting" not in case.status
    assert "nodes" not in case.status
    assert "dep" not in case.fleet.hungry
    case.mark("a", cordoned=None)
    assert plan(case) == []


def test_a_clock_that_steps_back_and_forth_ends_nothing_twice_and_brings_nothing_back():
    case = a_case().begin()
    before = Moment(case.now.wall - 1e6, case.steady)
    assert not [each for each in plan_deployments(case.fleet, before, ["dep"]) if isinstance(each, Reorder)]
    case.fleet.due.clear()
    (alarm,) = [each for each in plan_deployments(case.fleet, before, ["dep"]) if isinstance(each, Wake)]
    assert alarm.at <= case.steady + 600.0, "looked at again, however far the clock was off"
    case.steady += 61.0
    plan(case)
    assert case.status["expired"]
    case.steady -= 50.0
    plan(case)
    assert case.live == {}
