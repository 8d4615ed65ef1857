"""Two hundred simulated nodes under a real controller: placed, lost, drained, updated, and led anew."""

import signal
import time
from collections import Counter

import pytest

from store.codec import dumps
from tests.conftest import SOAK, eventually
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NODES = 1000 if SOAK else 200
MIX = "obey=17,lag:0.3=2,lie=1"


@pytest.fixture
def world(tmp_path):
    found = World(tmp_path / "store", NODES)
    gathered(found)
    found.lead()  # who begins to lead reads all heartbeats
    yield found
    found.end()


def group(name="main", command="/bin/sleep 1000", **more):
    return {"name": name, "tasks": [{"name": f"{name}-task", "config": {"command": command}}], **more}


def gathered(world, share=1.0):
    eventually(lambda: len(world.online()) >= NODES * share, 60)


def test_what_ran_on_lost_nodes_runs_elsewhere_and_the_old_copies_end_when_they_are_back(world):
    gathered(world)
    count = NODES * 3 // 2
    deployment = world.deploy(world.template(group(count=count, reschedule={"after": "0s"})))
    eventually(lambda: world.settled(deployment, count), 60)
    assert max(Counter(each["node"] for each in world.live(deployment).values()).values()) == 2

    lost = world.nodes[:10]
    world.fleet.cut(lost)
    eventually(
        lambda: (
            not {each["node"] for each in world.live(deployment).values()} & set(lost)
            and world.settled_elsewhere(deployment, count, lost)
        ),
        60,
    )
    # Told to stop, and not able to hear of it: the orders wait for them.
    assert any(desired.entries for desired in world.projection.desired(lost).values())
    world.fleet.back(lost)
    eventually(lambda: not any(each.entries for each in world.projection.desired(lost).values()), 60)
    eventually(lambda: world.settled(deployment, count), 60)
    assert len(world.running(deployment)) == count


def test_a_mass_loss_moves_nothing_until_people_say_so(world):
    gathered(world)
    deployment = world.deploy(world.template(group(count=NODES, reschedule={"after": "0s"})))
    eventually(lambda: world.settled(deployment, NODES), 60)
    before = world.live(deployment)
    lost = world.nodes[: NODES * 2 // 5]
    world.fleet.cut(lost)
    eventually(lambda: world.brake().get("engaged"), 60)
    assert world.brake()["engaged"]["of"] == NODES
    # Some may have gone before so many were missed that it was one loss.
    early = {key for key in before if key not in world.live(deployment)}
    assert len(early) <= NODES // 5
    eventually(lambda: "brake" in world.status(deployment).get("reason", ""), 60)

    world.store.put("controls", "brake", dumps({"v": 1, "release": 1}), rev=0)
    eventually(lambda: world.settled_elsewhere(deployment, NODES, lost), 60)


def test_a_mass_loss_ends_by_itself_when_the_nodes_are_back(world):
    gathered(world)
    deployment = world.deploy(world.template(group(count=NODES, reschedule={"after": "1h"})))
    eventually(lambda: world.settled(deployment, NODES), 60)
    lost = world.nodes[: NODES * 2 // 5]
    world.fleet.cut(lost)
    eventually(lambda: world.brake().get("engaged"), 60)
    world.fleet.back(lost)
    eventually(lambda: not world.brake().get("engaged"), 60)
    assert world.settled(deployment, NODES)


def test_an_update_goes_through_some_at_a_time_among_agents_that_lag_and_the_next_leader_goes_on(world):
    gathered(world)
    update = {"max_parallel": 8, "min_healthy": "0s"}
    deployment = world.deploy(world.template(group(count=40, update=update)))
    eventually(lambda: world.settled(deployment, 40), 60)
    nodes = {key: data["node"] for key, data in world.live(deployment).items()}

    version = world.template(group(count=40, command="/bin/sleep 2000", update=update))[1]
    world.change(deployment, version=version, change=1)
    eventually(lambda: any(each["version"] == version for each in world.live(deployment).values()), 60)
    world.lead("second")
    world.controllers[0].send_signal(signal.SIGKILL)
    eventually(lambda: world.settled(deployment, 40, version=version), 90)
    eventually(lambda: world.status(deployment)["rollout"]["state"] == "done", 60)
    # In place: the same allocations on the same nodes, each begun anew once.
    after = world.live(deployment)
    assert {key: data["node"] for key, data in after.items()} == nodes
    assert {data["generation"] for data in after.values()} == {2}


def test_a_version_that_fails_is_taken_back_by_itself_and_most_never_saw_it(world):
    gathered(world)
    update = {"max_parallel": 3, "min_healthy": "0s", "auto_revert": True}
    deployment = world.deploy(world.template(group(count=30, update=update)))
    eventually(lambda: world.settled(deployment, 30), 60)
    eventually(lambda: world.status(deployment).get("stable"), 30)
    bad = world.template(group(count=30, command="/bin/false", update=update))[1]
    world.change(deployment, version=bad, change=1)
    eventually(lambda: world.status(deployment).get("rollout", {}).get("state") == "reverted", 60)
    eventually(lambda: world.settled(deployment, 30, version=1), 60)
    untouched = [each for each in world.live(deployment).values() if each["generation"] == 1]
    assert len(untouched) >= 30 - 3
    eventually(lambda: world.status(deployment)["status"] == "RUNNING", 30)


def test_a_canary_waits_to_be_promoted(world):
    gathered(world)
    update = {"max_parallel": 10, "min_healthy": "0s", "canary": 2}
    deployment = world.deploy(world.template(group(count=10, update=update)))
    eventually(lambda: world.settled(deployment, 10), 60)
    version = world.template(group(count=10, command="/bin/sleep 2000", update=update))[1]
    world.change(deployment, version=version, change=1)
    eventually(lambda: world.status(deployment).get("rollout", {}).get("state") == "promotion", 60)
    eventually(lambda: world.settled(deployment, 12), 60)
    versions = Counter(each["version"] for each in world.live(deployment).values())
    assert versions == {1: 10, version: 2}
    world.change(deployment, promote=1)
    eventually(lambda: world.settled(deployment, 10, version=version), 60)


def test_a_drained_node_is_empty_once_all_of_it_runs_elsewhere(world):
    gathered(world)
    update = {"max_parallel": 5, "min_healthy": "0s"}
    deployment = world.deploy(world.template(group(count=NODES, update=update)))
    eventually(lambda: world.settled(deployment, NODES), 60)
    node = world.nodes[7]
    world.change_node(node, cordoned={"since": time.time()}, drain={"since": time.time(), "deadline": None})
    eventually(lambda: world.settled_elsewhere(deployment, NODES, [node]), 60)
    eventually(lambda: not world.projection.desired([node])[node].entries, 60)
    assert world.settled(deployment, NODES)


def test_one_on_every_node_that_may_take_it_also_on_those_that_come_later(world):
    gathered(world)
    for node in world.nodes[:20]:
        world.change_node(node, labels={"disk": "ssd"})
    placement = {"labels": {"disk": "ssd"}}
    deployment = world.deploy(world.template(group(count="all", placement=placement)))
    eventually(lambda: world.settled(deployment, 20), 60)
    assert sorted(each["node"] for each in world.live(deployment).values()) == world.nodes[:20]
    for node in world.nodes[20:30]:
        world.change_node(node, labels={"disk": "ssd"})
    eventually(lambda: world.settled(deployment, 30), 60)
    for node in world.nodes[:5]:
        world.change_node(node, labels={})
    eventually(lambda: world.settled(deployment, 25), 60)


def test_scaling_restarts_nothing(world):
    gathered(world)
    deployment = world.deploy(world.template(group(count=10)))
    eventually(lambda: world.settled(deployment, 10), 60)
    first = world.live(deployment)
    world.change(deployment, scale={"main": 50})
    eventually(lambda: world.settled(deployment, 50), 60)
    assert {key: world.live(deployment)[key]["generation"] for key in first} == dict.fromkeys(first, 1)
    world.change(deployment, scale={"main": 5})
    eventually(lambda: world.settled(deployment, 5), 60)
    assert set(world.live(deployment)) <= set(first)
    assert {each["generation"] for each in world.live(deployment).values()} == {1}


def test_who_depends_on_another_group_hears_when_enough_of_it_runs_and_where(world):
    gathered(world)
    db = group("db", count=3, placement={"max_replicas_per_node": 1})
    db["tasks"][0]["ports"] = {"sql": 0}
    web = group("web", count=2)
    web["tasks"][0]["depends_on"] = ["2 of db started"]
    deployment = world.deploy(world.template(db, web))
    eventually(lambda: world.settled(deployment, 5), 60)
    assert len(world.peers(deployment, "db")) == 2
    eventually(lambda: all(each["met"] for each in world.peers(deployment, "db")), 30)
    eventually(
        lambda: all(
            len(each["addresses"].get("sql", "").split(",")) == 3 for each in world.peers(deployment, "db")
        ),
        30,
    )


def test_liars_and_laggards_do_not_keep_the_others_from_running(tmp_path):
    world = World(tmp_path / "store", NODES, MIX)
    world.lead()
    try:
        gathered(world, 0.9)
        honest = set(world.fleet.named("obey", "lag"))
        deployment = world.deploy(world.template(group(count=NODES, reschedule={"after": "0s"})))

        def well():
            live, runs = world.live(deployment), world.running_of(deployment, honest)
            there = {key: each["node"] for key, each in live.items() if each["node"] in honest}
            return len(live) == NODES and {key: runs.get(key) for key in there} == there

        eventually(well, 90)
        world.change(deployment, wanted="stopped")
        eventually(lambda: not any(world.running_of(deployment, honest)), 60)
    finally:
        world.end()
