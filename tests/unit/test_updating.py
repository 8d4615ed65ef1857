"""Allocations go to another release: in place, as canaries, back again; a change of limits alone restarts nothing."""

import pytest

from manager_api.core.actions import Advance
from manager_api.core.plan import plan_nodes
from tests.core_world import Case, a_task

pytestmark = pytest.mark.unit
QUICK = {"min_healthy": "5s", "healthy_deadline": "60s"}
OLD, NEW = a_task("t", command="/bin/one"), a_task("t", command="/bin/two")


def a_case(*changed, count=3, group=None, tasks=(OLD,), **update):
    more = {"count": count, "update": {**QUICK, **update}}
    return Case(*tasks, versions=[(group or {}, *(changed or (NEW,)))], **more).begin()


def change(case, version=2, **more):
    number = case.fleet.deployments["dep"].data.get("change", 0) + 1
    case.ask(version=version, change=number, **more)


def versions(case):
    return sorted(each["version"] for each in case.live.values())


def go_on(case, seconds=5.1, state="running"):
    case.up(state=state)
    case.step()
    case.steady += seconds
    return case.step()


def test_one_after_the_other_in_place():
    case = a_case()
    before = {key: each["node"] for key, each in case.live.items()}
    change(case)
    case.step()
    assert versions(case) == [1, 1, 2]
    assert case.status["release"] == {"change": 1, "version": 2, "parameters": {}}
    case.step()
    assert versions(case) == [1, 1, 2], "the first is not healthy yet"
    for expected in ([1, 2, 2], [2, 2, 2]):
        go_on(case)
        assert versions(case) == expected
    go_on(case)
    assert {key: each["node"] for key, each in case.live.items()} == before
    assert {each["generation"] for each in case.live.values()} == {2}
    assert (case.status["rollout"]["state"], case.status["stable"]["change"]) == ("done", 1)
    assert case.status["status"] == "RUNNING"
    assert case.plan() == []


def test_a_change_of_count_and_placement_restarts_nothing():
    case = a_case(OLD, group={"count": 4, "reschedule": {"after": "5s"}})
    change(case)
    case.step()
    assert len(case.live) == 4
    assert {each["generation"] for each in case.live.values()} == {1}
    assert versions(case) == [2, 2, 2, 2]


def test_other_limits_reach_the_node_in_the_same_generation():
    limited = a_task("t", command="/bin/one", resources={"limits": {"memory": "2G"}})
    case = a_case(limited, count=1)
    node = case.live["dep.0"]["node"]
    plan_nodes(case.fleet, [node])
    change(case)
    case.step()
    assert (case.live["dep.0"]["generation"], case.live["dep.0"]["version"]) == (1, 2)
    (project,) = plan_nodes(case.fleet, [node])
    entry = project.puts["dep.0"]
    assert entry["tasks"][0]["resources"]["limits"] == {"memory": "2G"}
    assert (entry["generation"], entry["change"]) == (1, 1)


def test_what_grows_beyond_its_node_goes_elsewhere_first():
    big = a_task("t", command="/bin/one", resources={"reservations": {"memory": "5G"}})
    case = a_case(big, count=2)
    from tests.builders import GB

    first = case.live["dep.0"]["node"]
    case.fleet.states[first].beat["memory_total"] = 4 * GB
    change(case)
    case.step()
    moved = next(each for each in case.live.values() if each.get("replaces"))
    assert (moved["version"], moved["replaces"]) == (2, "dep.0")
    assert "dep.0" in case.live, "not before the new one is healthy"
    for _ in range(6):
        go_on(case)
    assert "dep.0" not in case.live
    assert versions(case) == [2, 2]
    assert case.status["rollout"]["state"] == "done"


def test_paused_nothing_is_updated_but_losses_are_made_good():
    case = a_case()
    change(case, paused=True)
    case.step()
    assert versions(case) == [1, 1, 1]
    assert case.status["rollout"]["state"] == "paused"
    case.cut(case.live["dep.1"]["node"])
    case.steady += 31
    case.step()
    assert len(case.live) == 3
    assert "dep.1" not in case.live
    assert versions(case) == [1, 1, 1], "the release that is held back is not spread by a loss"
    case.ask(paused=False)
    case.up()
    case.step()
    assert 2 in versions(case)


def test_a_release_that_does_not_come_up_stops_there():
    case = a_case()
    change(case)
    case.step()
    case.up(state="backoff", only=[key for key, each in case.live.items() if each["version"] == 2])
    case.steady += 61
    case.step()
    assert case.status["rollout"]["state"] == "failed"
    assert "was not healthy within 60 s: task t on a backoff" in case.status["rollout"]["reason"]
    case.steady += 100
    case.up()
    case.step()
    assert versions(case) == [1, 1, 2], "nothing more is updated"


def test_or_goes_back_by_itself():
    case = a_case(auto_revert=True)
    change(case)
    case.step()
    case.up(state="backoff", only=[key for key, each in case.live.items() if each["version"] == 2])
    case.steady += 61
    case.step()
    for _ in range(4):
        go_on(case)
    assert versions(case) == [1, 1, 1]
    assert case.status["release"] == {"change": 1, "version": 1, "parameters": {}}
    assert case.status["rollout"]["state"] == "reverted"
    assert case.plan() == []


def test_canaries_run_beside_the_old_ones_until_they_are_promoted():
    case = a_case(canary=1)
    change(case)
    case.step()
    assert versions(case) == [1, 1, 1, 2]
    canary = next(key for key, each in case.live.items() if each.get("canary"))
    go_on(case)
    assert case.status["rollout"]["state"] == "promotion"
    assert versions(case) == [1, 1, 1, 2]
    case.ask(promote=1)
    for _ in range(6):
        go_on(case)
        assert len(case.live) <= 4
    assert versions(case) == [2, 2, 2]
    assert "canary" not in case.live[canary]
    assert sorted(each["index"] for each in case.live.values()) == [0, 1, 2]
    assert case.status["rollout"]["state"] == "done"


def test_canaries_may_promote_themselves():
    case = a_case(canary=2, auto_promote=True)
    change(case)
    for _ in range(8):
        go_on(case)
    assert versions(case) == [2, 2, 2]
    assert not any(each.get("canary") for each in case.live.values())
    assert case.status["rollout"]["state"] == "done"


def test_another_change_ends_the_canaries_of_the_last():
    case = a_case(canary=1)
    change(case)
    case.step()
    case.up()
    change(case, version=1)
    case.step()
    assert versions(case) == [1, 1, 1]
    assert {each["generation"] for each in case.live.values()} == {1}


def test_a_group_that_is_gone_is_stopped_and_a_new_one_placed():
    body = {"name": "etl", "task_groups": [{"name": "other", "tasks": [NEW]}]}
    case = a_case(count=1)
    case.fleet.versions["2:etl"].data["body"] = body
    change(case)
    case.step()
    assert [each["group"] for each in case.live.values()] == ["other"]
    assert case.fleet.allocations["dep.0"].data["stopped"] == "version 2 has no group 'group-0'"


def test_a_node_that_is_away_is_updated_when_it_is_back():
    case = a_case(count=2)
    away = case.live["dep.0"]["node"]
    case.cut(away)
    change(case)
    case.step()
    assert case.live["dep.0"]["version"] == 1
    for _ in range(2):
        go_on(case)
    case.back(away)
    for _ in range(3):
        go_on(case)
    assert versions(case) == [2, 2]


def test_ports_stay_in_place_and_new_ones_are_given():
    tasks = (a_task("t", command="/bin/one", ports={"http": 0}),)
    case = a_case(a_task("t", command="/bin/two", ports={"http": 0, "admin": 0}), count=1, tasks=tasks)
    before = case.live["dep.0"]["ports"]["t"]["http"]
    change(case)
    advance = next(each for each in case.step() if isinstance(each, Advance))
    ports = case.live["dep.0"]["ports"]["t"]
    assert ports["http"] == before
    assert ports["admin"] not in (0, before)
    assert advance.why["dep.0"] == "to version 2, change 1"
