"""The controller's plan, case by case: placing, refusing, following, stopping, collecting."""

import pytest

from manager_api.core.actions import Collect, Complain, Place, Project, Refuse, Reorder, SetStatus
from manager_api.core.explain import explain
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from store.model.lifecycle import Deployment
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit
NOW = 1e9 + 5


def a_case(*tasks, nodes=("web-1",), wanted="running", **group):
    fleet = a_fleet()
    for node in nodes:
        add_node(fleet, node)
    add_template(fleet, a_template(*tasks, **group))
    add_deployment(fleet, wanted=wanted)
    return fleet


def decide(fleet):
    (action,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    return action


def accept(fleet):
    """Carry a placement out, as the executor would."""
    place = decide(fleet)
    assert isinstance(place, Place)
    for key, data in place.allocations.items():
        fleet.put_allocation(key, Stored(data, 4))
    fleet.status["dep"] = Stored(dict(place.status), 4)
    return place


def say(fleet, node, alloc_id, *states, wanted="running", rev=5):
    fleet.states[node].actual[alloc_id] = {
        "uid": f"uid-{node}", "epoch": fleet.epoch, "wanted": wanted, "rev": rev, "generation": 1,
        "tasks": [{"name": f"t{n}", "state": state, "exit_code": 0} for n, state in enumerate(states)],
    }  # fmt: skip


def test_the_least_loaded_online_node_takes_it():
    fleet = a_case(nodes=("a", "b", "c", "d"))
    fleet.states["a"].beat["memory_percent"] = 50
    fleet.states["b"].online = False
    fleet.states["d"].beat["cpu_percent"] = 1
    place = decide(fleet)
    assert [each["node"] for each in place.allocations.values()] == ["d"]
    fleet.states["d"].beat["cpu_percent"] = 5
    assert [each["node"] for each in decide(fleet).allocations.values()] == ["c"]


def test_reservations_count_as_much_as_measured_load():
    fleet = a_case(a_task(resources={"reservations": {"memory": "3G"}}), nodes=("a", "b"), count=4)
    place = accept(fleet)
    nodes = [each["node"] for each in place.allocations.values()]
    assert sorted(nodes) == ["a", "a", "b", "b"]
    assert fleet.reserved["a"].memory == 6 * GB


def test_refusals_have_a_reason_for_every_node():
    fleet = a_case(
        a_task(resources={"reservations": {"memory": "6G", "cpus": 2}}), nodes=("a", "b", "c", "d", "e")
    )
    fleet.states["a"].online = False
    fleet.states["b"].beat["frozen"] = "the store fell back"
    fleet.states["c"].beat["memory_total"] = 4 * GB
    fleet.states["d"].beat["cpus"] = 1
    fleet.nodes["e"].data["features"] = []
    refused = decide(fleet)
    assert isinstance(refused, Refuse)
    reasons = {each["node"]: each["reason"] for each in refused.status["nodes"]}
    assert reasons == {
        "a": "is offline",
        "b": "is frozen: the store fell back",
        "c": "has 4.0 GiB of memory, 0 MiB of it reserved; 6.0 GiB are wanted",
        "d": "has 1 cpus, 0 of them reserved; 2 are wanted",
        "e": "runs agent 0.1.0, which does not offer process",
    }


def test_deployments_of_one_round_see_what_the_others_took():
    fleet = a_case(a_task(resources={"reservations": {"memory": "5G"}}), nodes=("a", "b"))
    for name in ("dep2", "dep3"):
        add_deployment(fleet, name)
    actions = plan_deployments(fleet, Moment(NOW, 1e3), ["dep", "dep2", "dep3"])
    assert [type(action) for action in actions] == [Place, Place, Refuse]
    assert actions[0].allocations["dep.0"]["node"] != actions[1].allocations["dep2.0"]["node"]


def test_what_has_ended_reserves_nothing():
    fleet = a_case(a_task("t0", resources={"reservations": {"memory": "5G"}}))
    accept(fleet)
    assert fleet.reserved["web-1"].memory == 5 * GB
    fleet.status["dep"].data["status"] = Deployment.FAILED
    fleet.recount("dep")
    assert fleet.reserved["web-1"].memory == 0
    fleet.drop_allocation("dep.0")
    assert fleet.reserved["web-1"].memory == 0


def test_first_come_first_served():
    from manager_api.core.plan import by_importance

    fleet = a_case()
    for number in range(40):
        add_deployment(fleet, f"{(number * 7) % 40:02}", created=1e9 + number)
    names = set(fleet.deployments) - {"dep"}
    assert by_importance(fleet, names) == [f"{(number * 7) % 40:02}" for number in range(40)]


def test_all_or_nothing():
    fleet = a_case(a_task(resources={"reservations": {"memory": "5G"}}), nodes=("a", "b"), count=3)
    assert isinstance(decide(fleet), Refuse)


@pytest.mark.parametrize("pin", ["web-2", "host-web-2", "10.0.0.2"])
def test_pins_by_id_host_name_and_address(pin):
    fleet = a_case(a_task("x", config={"node": pin}))
    add_node(fleet, "web-2", ip="10.0.0.2", addresses=["10.0.0.2"])
    assert [each["node"] for each in decide(fleet).allocations.values()] == ["web-2"]


def test_an_address_that_several_nodes_share_is_refused_by_name():
    fleet = a_case(a_task("x", config={"node": "10.0.0.1"}), nodes=("a", "b"))
    assert "10.0.0.1 is several nodes: a, b; pin by node id" in decide(fleet).reason


def test_a_pin_that_nobody_has():
    refused = decide(a_case(a_task("x", config={"node": "10.9.9.9"})))
    assert "no node has the id, host name or address 10.9.9.9" in refused.reason
    assert refused.status["nodes"] == [{"node": "web-1", "reason": "is not 10.9.9.9"}]


def test_one_allocation_per_pin_and_the_unpinned_join_the_first():
    fleet = a_case(
        a_task("free"),
        a_task("two", config={"node": "b"}),
        a_task("one", config={"node": "a"}),
        nodes=("a", "b"),
    )
    place = accept(fleet)
    (first, second) = place.status["allocations"]
    assert (first["node"], first["tasks"]) == ("b", ["free", "two"])
    assert (second["node"], second["tasks"]) == ("a", ["one"])


def test_nothing_is_refused_while_a_node_may_yet_turn_up():
    """A manager that comes back must not fail what waits for it: its agents need a moment, too."""
    fleet = a_case(nodes=("a",))
    fleet.states["a"].online = fleet.states["a"].settled = False
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["dep"]) == []
    fleet.states["a"].settled = True
    assert isinstance(decide(fleet), Refuse)


def test_no_node_at_all_says_what_to_do():
    assert "start an agent" in decide(a_case(nodes=())).reason


def test_progress_follows_the_reports():
    fleet = a_case(a_task("t0"))
    accept(fleet)
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["dep"]) == []
    say(fleet, "web-1", "dep.0", "running")
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert status.status["status"] == "RUNNING"
    fleet.status["dep"] = Stored(status.status, 5)
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["dep"]) == []
    say(fleet, "web-1", "dep.0", "completed")
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert (status.status["status"], status.status["ended"]) == ("COMPLETED", NOW)
    assert status.status["tasks"][0]["state"] == "completed"


def test_a_failed_task_is_named_in_the_reason():
    fleet = a_case(a_task("t0"), a_task("t1"))
    accept(fleet)
    say(fleet, "web-1", "dep.0", "running", "failed")
    fleet.states["web-1"].actual["dep.0"]["tasks"][1]["reason"] = "exit code 3"
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert status.status["reason"] == "task t1 on web-1 failed: exit code 3"


def test_stop_halts_then_ends_then_collects():
    fleet = a_case(a_task("t0"))
    accept(fleet)
    fleet.deployments["dep"].data["wanted"] = "stopped"
    halt, status = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert isinstance(halt, Reorder)
    assert status.status["status"] == "STOPPING"
    fleet.status["dep"] = Stored(status.status, 6)
    _, data = halt.allocations["dep.0"]
    fleet.put_allocation("dep.0", Stored(data, 7))
    (project,) = plan_nodes(fleet, ["web-1"])
    assert project.puts["dep.0"]["wanted"] == "stopped"
    fleet.states["web-1"].desired["dep.0"] = {"rev": 8, "generation": 1, "wanted": "stopped"}

    say(fleet, "web-1", "dep.0", "stopped", wanted="running", rev=5)
    assert plan_nodes(fleet, ["web-1"]) == [], "it has not obeyed the tombstone yet"
    say(fleet, "web-1", "dep.0", "stopped", wanted="stopped", rev=8)
    assert plan_nodes(fleet, ["web-1"]) == [], "what it said is not recorded yet"
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert status.status["status"] == "STOPPED"
    fleet.status["dep"] = Stored(status.status, 9)
    collect, project = plan_nodes(fleet, ["web-1"])
    assert isinstance(collect, Collect)
    assert project.deletes == ("dep.0",)


@pytest.mark.parametrize(
    "change", [{"uid": "another"}, {"epoch": "0-old"}, {"rev": 7}, {"wanted": "running"}]
)
def test_tombstones_die_late(change):
    """Doctrine 8: same machine, this epoch, at or past the tombstone."""
    fleet = a_case(a_task("t0"))
    accept(fleet)
    fleet.allocations["dep.0"].data["wanted"] = "stopped"
    fleet.status["dep"].data["status"] = Deployment.STOPPED
    fleet.states["web-1"].desired["dep.0"] = {"rev": 8, "generation": 1, "wanted": "stopped"}
    say(fleet, "web-1", "dep.0", "stopped", wanted="stopped", rev=8)
    assert len(plan_nodes(fleet, ["web-1"])) == 2
    fleet.states["web-1"].actual["dep.0"].update(change)
    assert plan_nodes(fleet, ["web-1"]) == []


def test_a_replaced_machine_loses_its_work():
    fleet = a_case(a_task("t0"), reschedule="never")
    accept(fleet)
    say(fleet, "web-1", "dep.0", "running")
    fleet.nodes["web-1"].data["uid"] = "another"
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert status.status["status"] == "FAILED"
    assert "replaced by another machine" in status.status["reason"]
    (project,) = plan_nodes(fleet, ["web-1"])
    assert (project.uid, dict(project.puts)) == ("another", {})


def test_a_new_epoch_projects_everything_anew():
    fleet = a_case(a_task("t0"))
    accept(fleet)
    state = fleet.states["web-1"]
    state.desired = {"dep.0": {"rev": 1, "generation": 1, "wanted": "running"}}
    fleet.epoch = "2-bb"
    (project,) = plan_nodes(fleet, ["web-1"])
    assert isinstance(project, Project)
    assert project.puts.keys() == {"dep.0"}


def test_a_withdrawn_deployment_leaves_nothing():
    fleet = a_case(nodes=())
    refused = decide(fleet)
    fleet.status["dep"] = Stored(refused.status, 4)
    del fleet.deployments["dep"]
    (collect,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert collect.records == (("deployments:status", "dep", 4),)


def test_stopped_before_it_began():
    (status,) = plan_deployments(a_case(wanted="stopped"), Moment(NOW, 1e3), ["dep"])
    assert isinstance(status, SetStatus)
    assert status.status["status"] == "STOPPED"


def test_ended_deployments_go_when_it_is_their_time():
    fleet = a_case(a_task("t0"))
    accept(fleet)
    say(fleet, "web-1", "dep.0", "completed")
    (status,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    fleet.status["dep"] = Stored(status.status, 5)
    assert plan_deployments(fleet, Moment(NOW + 1e9, 1e3 + 1e9), ["dep"]) == [], (
        "that is not for the plan to judge"
    )
    fleet.retiring = {"dep"}
    (halt,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert isinstance(halt, Reorder)
    fleet.drop_allocation("dep.0")
    (collect,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert [record[0] for record in collect.records] == ["deployments:status", "deployments"]


def test_an_unreadable_template_fails_its_deployment_and_no_other():
    fleet = a_case()
    add_deployment(fleet, "bad", template="missing")
    actions = plan_deployments(fleet, Moment(NOW, 1e3), ["dep", "bad"])
    assert [type(action) for action in actions] == [Refuse, Place]
    assert "cannot be read" in actions[0].status["reason"]


def test_a_living_deployment_that_cannot_be_planned_for_is_left_alone_and_complained_of():
    fleet = a_case()
    accept(fleet)
    known = fleet.deployments["dep"]
    fleet.deployments["dep"] = Stored({**known.data, "scale": {"group-0": "many"}}, 9)
    (found,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert (type(found), found.what, found.subject) == (Complain, "deployment", "dep")
    assert "ValueError" in found.reason
    assert found.reason in explain(fleet, "dep", Moment(NOW, 1e3))["waits"]
    fleet.deployments["dep"] = known
    plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert found.reason not in explain(fleet, "dep", Moment(NOW, 1e3))["waits"]


def test_a_node_that_cannot_be_planned_for_is_complained_of_and_holds_up_no_other():
    fleet = a_case(nodes=("web-1", "web-2"), count=2)
    accept(fleet)
    fleet.states["web-1"].actual["dep.0"] = {"uid": "uid-web-1", "generation": "x"}
    found = plan_nodes(fleet, ["web-1", "web-2"])
    assert [type(each) for each in found] == [Complain, Project]
    assert (found[0].what, found[0].subject) == ("node", "web-1")


def test_placing_many_looks_at_every_node_about_once():
    """A large deployment on a large fleet must not outlast the leader's lease."""
    from manager_api.core.judge import Judge

    nodes = [f"n{number:04}" for number in range(500)]
    fleet = a_case(a_task(resources={"reservations": {"memory": "1G"}}), nodes=nodes, count=240)
    looks, look = [], Judge.look
    Judge.look = lambda self, request, want, node: looks.append(node) or look(self, request, want, node)
    try:
        place = decide(fleet)
    finally:
        Judge.look = look
    assert len({each["node"] for each in place.allocations.values()}) == 240
    assert 500 <= len(looks) < 500 + 4 * 240


@pytest.mark.parametrize("count", [5_000, 40])
def test_a_status_too_large_to_keep_whole_is_kept_short(count):
    from manager_api.controller.shorter import TASKS_KEPT, shorter
    from store.codec import dumps
    from store.kv.api import MOST_BYTES

    name = "名" * 200 if count == 5_000 else "x" * 50_000
    rows = [
        {"state": "completed" if n % 2 else "failed", "reason": "x" * 500, "name": name} for n in range(count)
    ]
    briefs = [{"id": "dep.0", "node": "a", "tasks": [row["name"] for row in rows]}]
    short = shorter({"status": "FAILED", "tasks": rows, "allocations": briefs})
    assert len(dumps(short)) <= MOST_BYTES
    assert 0 < len(short["tasks"]) <= TASKS_KEPT
    assert {row["state"] for row in short["tasks"]} == {"failed"}
    assert short["tasks_left_out"] == count - len(short["tasks"])


# -- restarted, limited otherwise


def a_running(fleet, *tasks, memory="1G", **status):
    """A deployment of one allocation on web-1, as the controller left it."""
    task = a_task("t", resources={"reservations": {"memory": memory}})
    add_node(fleet, memory=4 * GB)
    add_template(fleet, a_template(*(tasks or [task])))
    add_deployment(fleet)
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    for alloc_id, data in place.allocations.items():
        fleet.put_allocation(alloc_id, Stored(data, 4))
    fleet.status["dep"] = Stored({**place.status, **status}, 4)
    return next(iter(place.allocations))


def says(fleet, alloc_id, state, generation=1, **more):
    fleet.states["web-1"].actual[alloc_id] = {
        "generation": generation, "rev": 5, "tasks": [{"name": "t", "state": state, **more}],
    }  # fmt: skip


def ask(fleet, **more):
    fleet.deployments["dep"] = Stored({**fleet.deployments["dep"].data, **more}, 9)


def test_a_restart_raises_generations_and_begins_the_status_anew():
    fleet = a_fleet()
    alloc_id = a_running(fleet, status="FAILED", ended=1e9, tasks=[{"name": "t", "state": "failed"}])
    says(fleet, alloc_id, "failed", reason="exit code 9")
    ask(fleet, restart=1)
    reorder, status = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    (_, data) = reorder.allocations[alloc_id]
    assert (data["generation"], data["wanted"]) == (2, "running")
    assert (status.status["status"], status.status["restarted"]) == ("PENDING", 1)
    assert "tasks" not in status.status
    assert status.status["allocations"][0]["generation"] == 2
    fleet.put_allocation(alloc_id, Stored(data, 10))
    fleet.status["dep"] = Stored(status.status, 10)
    assert plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) == [], (
        "what the node says of the old generation is no news"
    )
    says(fleet, alloc_id, "running", generation=2)
    (up,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert up.status["status"] == "RUNNING"


def test_a_restart_cut_short_between_its_two_writes_is_finished():
    fleet = a_fleet()
    alloc_id = a_running(fleet, status="FAILED", ended=1e9, tasks=[])
    ask(fleet, restart=1)
    reorder, _ = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    fleet.put_allocation(alloc_id, Stored(reorder.allocations[alloc_id][1], 10))
    (status,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert (status.status["status"], status.status["allocations"][0]["generation"]) == ("PENDING", 2)


def test_what_has_ended_begins_again_only_where_there_is_room():
    fleet = a_fleet()
    a_running(fleet, memory="3G", status="COMPLETED", ended=1e9, tasks=[])
    fleet.recount("dep")
    add_deployment(fleet, "other")
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["other"])
    for alloc_id, data in place.allocations.items():
        fleet.put_allocation(alloc_id, Stored(data, 5))
    fleet.status["other"] = Stored(place.status, 5)
    ask(fleet, restart=1)
    (status,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert status.status["status"] == "COMPLETED"
    assert status.status["reason"].startswith("cannot be restarted: node web-1 has 4.0 GiB of memory")


def test_what_was_collected_cannot_be_restarted():
    fleet = a_fleet()
    alloc_id = a_running(fleet, status="FAILED", ended=1e9, tasks=[])
    fleet.put_allocation(alloc_id, Stored({**fleet.allocations[alloc_id].data, "wanted": "stopped"}, 6))
    ask(fleet, restart=1)
    (status,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert (status.status["status"], status.status["restarted"]) == ("FAILED", 1)
    assert "collected" in status.status["reason"]


def test_a_restart_names_all_tasks_also_those_that_were_cut_from_a_long_status():
    fleet = a_fleet()
    a_running(fleet, status="FAILED", ended=1e9, tasks=[], tasks_left_out=5)
    status = fleet.status["dep"].data
    status["allocations"] = [{**brief, "tasks": []} for brief in status["allocations"]]
    ask(fleet, restart=1)
    *_, anew = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert anew.status["allocations"][0]["tasks"] == ["t"]
    assert "tasks_left_out" not in anew.status


def test_a_stop_outweighs_a_restart_that_nobody_saw():
    from manager_api.http.deployments import views

    record = {"wanted": "stopped", "restart": 1}
    assert views.state(record, {"status": "RUNNING"}) == "STOPPING"
    assert views.state(record, {"status": "STOPPED"}) == "STOPPED"
    assert views.state({"wanted": "running", "restart": 1}, {"status": "FAILED"}) == "PENDING"


def test_new_limits_reach_the_node_in_the_same_generation():
    fleet = a_fleet()
    alloc_id = a_running(fleet)
    fleet.states["web-1"].desired[alloc_id] = {"rev": 5, "generation": 1, "wanted": "running"}
    ask(fleet, adjusted=1, limits={"t": {"memory": "2G"}})
    (reorder,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    (_, data) = reorder.allocations[alloc_id]
    assert (data["generation"], data["adjusted"]) == (1, 1)
    fleet.put_allocation(alloc_id, Stored(data, 10))
    (project,) = plan_nodes(fleet, ["web-1"])
    (entry,) = project.puts.values()
    assert entry["tasks"][0]["resources"]["limits"] == {"memory": "2G"}


def test_an_unhealthy_task_makes_its_deployment_degraded_and_says_which():
    fleet = a_fleet()
    alloc_id = a_running(fleet)
    says(fleet, alloc_id, "running", health="unhealthy", health_reason="connection refused")
    (status,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert (status.status["status"], status.status["reason"]) == (
        "DEGRADED",
        "task t on web-1 is unhealthy: connection refused",
    )


def test_a_node_that_is_not_seen_yet_is_neither_offline_nor_a_reason_to_refuse():
    fleet = a_case()
    accept(fleet)
    fleet.states["web-1"].online = fleet.states["web-1"].settled = False
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["dep"]) == []
    fleet.states["web-1"].settled = True
    (action,) = plan_deployments(fleet, Moment(NOW, 1e3), ["dep"])
    assert action.status["reason"] == "node web-1 is offline"
    fleet = a_case()
    fleet.states["web-1"].online = fleet.states["web-1"].settled = False
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["dep"]) == []
