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


def test_the_only_one_that_fails_for_good_goes_back_before_its_deployment_can_end():
    case = a_case(count=1, auto_revert=True)
    change(case)
    case.step()
    case.up(state="failed")
    case.step()
    assert case.status["status"] != "FAILED"
    for _ in range(4):
        go_on(case)
    assert versions(case) == [1]
    assert case.status["status"] == "RUNNING"


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


TWO = {"canary": 1, "auto_promote": True, **QUICK}


def two_groups(**update):
    """Two groups, whose next version changes both."""
    bodies = [
        {"name": "etl", "task_groups": [
            {"name": name, "count": 2, "update": {**TWO, **update}, "tasks": [a_task(name, command=command)]}
            for name in ("left", "right")
        ]}
        for command in ("/bin/one", "/bin/two")
    ]  # fmt: skip
    case = Case(OLD, versions=[({}, NEW)])
    for version, body in enumerate(bodies, 1):
        case.fleet.versions[f"{version}:etl"].data["body"] = body
    return case.begin()


def test_no_group_goes_on_before_the_canaries_of_all_groups_are_well():
    case = two_groups()
    change(case)
    case.step()
    canaries = {each["group"]: key for key, each in case.live.items() if each.get("canary")}
    assert sorted(canaries) == ["left", "right"]
    case.up(only=[canaries["left"]])
    case.step()
    case.steady += 5.1
    case.step()
    assert versions(case) == [1, 1, 1, 1, 2, 2], "the other group's canary is not well yet"
    for _ in range(8):
        go_on(case)
    assert versions(case) == [2, 2, 2, 2]
    assert case.status["rollout"]["state"] == "done"


def test_what_was_done_stays_done_through_a_pause():
    case = a_case(count=2, auto_revert=True)
    away = case.live["dep.1"]["node"]
    case.cut(away)
    change(case)
    for _ in range(4):
        go_on(case)
    assert case.status["rollout"]["state"] == "done"
    case.ask(paused=True)
    case.back(away)
    go_on(case)
    case.ask(paused=False)
    case.step()
    assert versions(case) == [2, 2]
    case.up(state="backoff")
    case.steady += 1000
    case.step()
    assert case.status["rollout"]["state"] == "done", (
        "it worked: what crashes weeks later does not take it back"
    )
    assert versions(case) == [2, 2]


def test_a_node_that_is_back_after_the_deadline_is_given_its_time():
    case = a_case(count=2, auto_revert=True)
    change(case)
    case.step()
    (begun,) = (key for key, each in case.live.items() if each["version"] == 2)
    node = case.live[begun]["node"]
    case.cut(node)
    case.steady += 20
    case.step()
    case.steady += 50
    case.back(node)
    case.up(state="backoff", only=[begun])
    case.step()
    assert case.status["rollout"]["state"] == "running"
    for _ in range(4):
        go_on(case)
    assert case.status["rollout"]["state"] == "done"


@pytest.mark.parametrize("state", ["failed", "completed"])
def test_what_has_ended_lives_again_as_another_release(state):
    case = a_case(count=2)
    case.up(state=state)
    case.step()
    assert case.status["status"] == state.upper()
    assert case.plan() == []
    change(case)
    case.step()
    assert case.status["status"] == "PENDING"
    assert "ended" not in case.status
    case.step()
    case.step()
    assert versions(case) == [1, 2], "what ended is not begun again as it was"
    for _ in range(5):
        go_on(case)
    assert versions(case) == [2, 2]
    assert {each["generation"] for each in case.live.values()} == {2}
    assert (case.status["status"], case.status["rollout"]["state"]) == ("RUNNING", "done")
    assert case.plan() == []


def test_the_same_release_asked_for_again_begins_anew_what_failed():
    case = a_case(count=2)
    case.up(state="failed")
    case.step()
    change(case, version=1)
    for _ in range(3):
        go_on(case)
    assert {each["generation"] for each in case.live.values()} == {2}
    assert (case.status["status"], case.status["rollout"]["state"]) == ("RUNNING", "done")


def test_a_leader_killed_while_something_lives_again_begins_nothing_twice():
    case = a_case(count=2)
    case.up(state="failed")
    case.step()
    change(case, version=1)
    reorder, _ = case.plan()
    for key, (_, data) in reorder.allocations.items():
        case.put(key, data)
    case.step()
    assert {each["generation"] for each in case.live.values()} == {2}
    assert case.status["status"] == "PENDING"


def test_what_was_collected_cannot_live_again_and_says_so():
    case = a_case(count=2)
    case.up(state="failed")
    case.step()
    case.fleet.drop_allocation("dep.0")
    change(case)
    case.step()
    assert case.status["status"] == "FAILED"
    assert "cannot be updated: it ended too long ago" in case.status["reason"]
    assert case.plan() == []


ALONE = {"duplicates": "never", "reschedule": {"after": "5s"}}


def test_a_node_that_was_cut_off_obeys_what_it_was_told_not_what_is_meant_since():
    soon = {"on_disconnect": {"stop_after": "10s"}}
    case = Case(OLD, versions=[(soon, OLD)], count=1, update=QUICK, **ALONE).begin()
    case.cut(case.live["dep.0"]["node"])
    change(case)
    case.step()
    case.steady += 1000
    case.step()
    assert list(case.live) == ["dep.0"], "it was told to keep its tasks, and may run for ever"
    assert case.live["dep.0"]["version"] == 2


def test_once_it_has_obeyed_it_may_be_replaced_as_is_meant_now():
    soon = {"on_disconnect": {"stop_after": "10s"}}
    case = Case(OLD, versions=[(soon, OLD)], count=1, update=QUICK, **ALONE).begin()
    node = case.live["dep.0"]["node"]
    change(case)
    case.step()
    case.up()
    case.fleet.states[node].desired["dep.0"]["change"] = 1
    case.step()
    case.cut(node)
    case.steady += 100
    case.step()
    assert list(case.live) == ["dep.1"]


def test_a_change_of_what_to_do_when_cut_off_reaches_the_node_and_restarts_nothing():
    soon = {"on_disconnect": {"stop_after": "10s"}, "duplicates": "never"}
    case = Case(OLD, versions=[(soon, OLD)], count=1, update=QUICK).begin()
    node = case.live["dep.0"]["node"]
    assert plan_nodes(case.fleet, [node]) == []
    change(case)
    case.step()
    (order,) = plan_nodes(case.fleet, [node])
    entry = order.puts["dep.0"]
    assert entry["on_disconnect"] == {"stop_after": "10s"}
    assert (entry["duplicates"], entry["generation"]) == ("never", 1)
    assert "quiet" not in entry


WITH_FILES = a_task("t", artifacts=[{"source": "a.tgz"}])


def test_an_update_to_files_waits_for_them_as_long_as_their_node_does_and_then_for_health():
    case = Case(OLD, versions=[({}, WITH_FILES)], features=("process", "artifacts"), update=QUICK).begin()
    change(case)
    case.step()
    for _ in range(5):
        case.up(state="fetching")
        case.step()
        case.steady += 55.0
    assert case.status["rollout"]["state"] == "running", "275 s of fetching are not 60 s without health"
    for _ in range(2):
        case.up(state="starting")
        case.step()
        case.steady += 59.0
    assert case.status["rollout"]["state"] == "running"
    case.steady += 2.0
    case.step()
    assert case.status["rollout"]["state"] == "failed", (
        "its files are there, and it was not healthy within 60 s"
    )


def test_files_that_were_waited_for_in_one_generation_excuse_nothing_in_the_next():
    case = Case(OLD, versions=[({}, WITH_FILES)], features=("process", "artifacts"), update=QUICK).begin()
    change(case)
    case.step()
    case.up(state="fetching")
    case.step()
    (key,) = case.live
    assert case.fleet.memory.fetched[key] == (2, None)
    case.put(key, {**case.live[key], "generation": 3})
    case.steady += 50.0
    case.up(state="starting")
    case.step()
    case.steady += 11.0
    case.step()
    assert case.status["rollout"]["state"] == "failed"
    case.fleet.memory.prune([], [], [], [])
    assert not case.fleet.memory.fetched


def test_bytes_that_come_write_nothing_and_trouble_with_them_is_told():
    case = Case(WITH_FILES, features=("process", "artifacts"))
    case.step()
    case.up(state="fetching")
    case.step()
    assert case.status["reason"] == "task t on a fetching"
    (key,) = case.live
    node = case.fleet.states["a"]
    for done in (1, 2, 3):
        row = {"name": "t", "state": "fetching", "fetch": {"done": done, "total": 9, "rate": 1.5}}
        node.actual[key] = {**node.actual[key], "tasks": [row]}
        assert case.plan() == []
    node.actual[key] = {**node.actual[key], "tasks": [{**row, "reason": "no such file"}]}
    case.step()
    assert case.status["reason"] == "task t on a fetching: no such file"
    assert "fetch" not in str({key: each for key, each in case.status.items() if key != "reason"})


def test_files_are_never_sent_to_an_agent_that_knows_nothing_of_them():
    case = Case(OLD, versions=[({}, WITH_FILES)], features=("process",), update=QUICK).begin()
    change(case)
    case.step()
    assert versions(case) == [1]
    assert case.status["reason"] == "dep.0 cannot be updated: no node can take it"
    other = "b" if case.nodes() != ["b"] else "c"
    case.mark(other, features=["process", "artifacts"])
    case.steady += 60.0
    case.step()
    assert sorted((each["version"], each["node"]) for each in case.live.values())[1] == (2, other)


def test_no_node_is_given_a_new_task_with_files_that_it_could_not_get():
    case = Case(WITH_FILES, features=("process",))
    (refused,) = case.step()
    assert not case.live
    lacking = "runs agent 0.1.0, which does not offer artifacts"
    assert [each["reason"] for each in refused.status["nodes"]] == [lacking] * 3
