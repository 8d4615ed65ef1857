"""Work of lost nodes: when it goes elsewhere, when it may not, and how it settles."""

import pytest

from manager_api.core.actions import Advance, Wake
from manager_api.core.quiet import must_wait
from tests.core_world import WALL, Case, a_task

pytestmark = pytest.mark.unit
NEVER = {"duplicates": "never", "on_disconnect": {"stop_after": "20s"}, "reschedule": {"after": "40s"}}


def lost(case):
    """The first allocation, and its node, which is cut off."""
    key = min(case.live)
    node = case.live[key]["node"]
    case.cut(node)
    return key, node


def test_after_its_time_it_is_placed_elsewhere_in_the_same_step():
    case = Case(count=1, reschedule={"after": "30s"}).begin()
    old, node = lost(case)
    case.steady += 29
    wakes = [each for each in case.step() if isinstance(each, Wake)]
    assert [each.at for each in wakes] == [case.fleet.states[node].away_since + 30]
    assert case.live.keys() == {old}
    case.steady += 1
    advance = next(each for each in case.step() if isinstance(each, Advance))
    assert advance.puts.keys() == {old, "dep.1"}
    assert case.live["dep.1"]["replaces"] == old
    assert case.live["dep.1"]["node"] != node
    assert case.fleet.allocations[old].data["stopped"] == f"node {node} has been offline for 30 s"


def test_on_its_return_the_node_is_told_to_stop_the_old_one():
    case = Case(count=1, reschedule={"after": "0s"}).begin()
    old, node = lost(case)
    case.step()
    case.back(node)
    case.up()
    case.step()
    assert case.live.keys() == {"dep.1"}
    assert case.status["status"] == "RUNNING"
    assert case.fleet.allocations[old].data["wanted"] == "stopped"


@pytest.mark.parametrize("group", [{"reschedule": "never"}, {"placement": {"node": "b"}}, {"count": "all"}])
def test_what_belongs_to_its_node_never_moves(group):
    case = Case(**{"count": 1, **group}).begin()
    before = dict(case.live)
    case.cut("b")
    case.cut(before[min(before)]["node"])
    case.steady += 10_000
    case.step()
    assert case.live == before


def test_where_there_is_no_room_it_stays_and_says_so():
    case = Case(
        a_task("t", resources={"reservations": {"memory": "5G"}}), count=3, reschedule={"after": "0s"}
    )
    case.begin()
    old, _ = lost(case)
    case.step()
    assert old in case.live
    assert "cannot be moved: " in case.status["reason"]
    assert case.status["status"] == "DEGRADED"


def test_a_replaced_machine_is_no_reason_to_fail():
    case = Case(count=1).begin()
    (old,) = case.live
    case.mark(case.live[old]["node"], uid="another")
    case.step()
    assert case.live.keys() == {"dep.1"}
    case.up()
    case.step()
    assert case.status["status"] == "RUNNING"


def test_a_node_being_removed_is_left_at_once():
    case = Case(count=1, reschedule={"after": "1h"}).begin()
    (old,) = case.live
    node = case.live[old]["node"]
    case.mark(node, removing=WALL, cordoned={"since": WALL})
    case.step()
    assert case.live.keys() == {"dep.1"}
    assert case.live["dep.1"]["node"] != node


@pytest.mark.parametrize(("away", "moved"), [(39.0, False), (41.0, True)])
def test_without_duplicates_it_waits_until_the_old_one_has_surely_ended(away, moved):
    case = Case(count=1, **NEVER).begin()
    lost(case)
    case.steady += away
    case.step()
    assert ("dep.1" in case.live) is moved


def test_a_short_reschedule_does_not_outweigh_that_duplicates_are_not_allowed():
    case = Case(count=1, **{**NEVER, "reschedule": {"after": "0s"}}).begin()
    lost(case)
    case.steady += 29.9  # 20 s until it stops by itself, and 10 s that this may take
    case.step()
    assert case.live.keys() == {"dep.0"}
    case.steady += 0.2
    case.step()
    assert case.live.keys() == {"dep.1"}


def test_a_replaced_machine_may_still_run_what_must_not_run_twice():
    case = Case(count=1, **NEVER).begin()
    (old,) = case.live
    case.mark(case.live[old]["node"], uid="another")
    case.step()
    assert case.live.keys() == {old}
    case.steady += 30.0
    case.step()
    assert case.live.keys() == {"dep.1"}


def test_a_node_that_is_only_not_seen_yet_has_lost_nothing():
    case = Case(count=1, reschedule={"after": "0s"}).begin()
    state = case.fleet.states[case.live["dep.0"]["node"]]
    state.online = state.settled = False
    case.steady += 1000
    assert not [each for each in case.step() if isinstance(each, Advance)]


def test_stopped_but_not_heard_of_blocks_the_slot():
    case = Case(count=1, **NEVER).begin()
    case.ask(scale={"group-0": 0})
    case.step()
    case.ask(scale={"group-0": 1})
    case.step()
    assert case.live == {}
    assert "may still run" in case.status["reason"]
    case.up()
    case.step()
    assert case.live.keys() == {"dep.1"}


def test_the_replacement_of_a_replacement_waits_for_all_before_it():
    """The first node came back before it could read that it is to stop; then its replacement's was lost."""
    case = Case(count=1, **NEVER).begin()
    _, first = lost(case)
    case.steady += 41
    case.step()
    case.back(first)
    case.cut(case.live["dep.1"]["node"])
    case.steady += 1000
    case.step()
    assert case.live.keys() == {"dep.1"}
    case.up(only=["dep.0"])
    case.step()
    assert case.live.keys() == {"dep.2"}
    assert case.live["dep.2"]["replaces"] == "dep.1"


@pytest.mark.parametrize("change_first", [False, True])
def test_a_policy_that_the_lost_node_never_heard_of_does_not_count(change_first):
    """It goes by the one it was given, however often the deployment was changed since."""
    times = [{"on_disconnect": {"stop_after": each}} for each in ("300s", "20s", "10s")]
    group = {**NEVER, "reschedule": {"after": "0s"}}
    case = Case(count=1, **{**group, **times[0]}, versions=[(times[1],), (times[2],)]).begin()
    if change_first:
        case.ask(version=2, change=1)
        case.step()
    lost(case)
    case.ask(version=3, change=2)
    for _ in range(30):
        case.step()
        case.steady += 10
    assert case.live.keys() == {"dep.0"}
    case.steady += 11
    case.step()
    assert case.live.keys() == {"dep.1"}


def test_once_the_node_obeys_the_new_policy_that_one_counts():
    group = {**NEVER, "reschedule": {"after": "0s"}}
    shorter = {"on_disconnect": {"stop_after": "20s"}}
    case = Case(count=1, **{**group, "on_disconnect": {"stop_after": "300s"}}, versions=[(shorter,)]).begin()
    case.ask(version=2, change=1)
    case.step()
    case.up()
    case.step()
    lost(case)
    case.steady += 31
    case.step()
    assert case.live.keys() == {"dep.1"}


@pytest.mark.parametrize("before", ["keep", {"stop_after": "300s"}])
def test_to_be_told_to_stop_makes_no_machine_forget_the_policy_that_it_obeyed(before):
    """Its replacement begins by that one too: by the one before it might never."""
    group = {**NEVER, "reschedule": {"after": "0s"}}
    shorter = {"on_disconnect": NEVER["on_disconnect"]}
    case = Case(count=1, **{**group, "on_disconnect": before}, versions=[(shorter,)]).begin()
    case.ask(version=2, change=1)
    case.step()
    case.up()
    case.step()
    old, node = lost(case)
    case.steady += 31
    case.step()
    state = case.fleet.states[node]
    state.desired[old] = {**state.desired[old], "rev": case.rev, "wanted": "stopped"}
    state.absent_at = case.rev
    assert not must_wait(case.fleet, case.live["dep.1"], case.now)


def test_a_node_being_removed_that_is_reached_is_told_to_stop_what_must_not_run_twice():
    """To wait until it has surely ended there would be to wait for ever; the other begins when it has."""
    case = Case(count=1, **NEVER).begin()
    (old,) = case.live
    case.mark(case.live[old]["node"], removing=WALL, cordoned={"since": WALL})
    case.step()
    assert case.live.keys() == {"dep.1"}
    assert must_wait(case.fleet, case.live["dep.1"], case.now)
    case.up(only=[old])
    assert not must_wait(case.fleet, case.live["dep.1"], case.now)
