"""What the leader writes of turns, and what it makes of what earlier leaders wrote, or should have."""

import json

import pytest

from manager_api.controller import turns as controller
from manager_api.controller.turns import EPOCH
from manager_api.core.turns import NO_BASE, Turns
from store import bootstrap
from store.codec import dumps, loads
from store.keys import DOWNLOADS, NODES_STATUS
from store.model.turns import Held
from tests.turns_world import LIMIT, POOLS, TTL, Killed, World
from transfer import seal

pytestmark = pytest.mark.unit

BASE, SFTP, HTTP = POOLS


@pytest.fixture
def world(fake_store, monkeypatch):
    found = World(fake_store)
    monkeypatch.setattr(controller, "fault", found.fault)
    return found


def grant(world, number):
    raw = world.store.client.get(world.store.keys.node(world.agents[number].node).grant)
    return loads(raw) if raw else None


def remembered(world):
    found = world.store.values(DOWNLOADS)
    return {node: Held.of(loads(raw)) for node, raw in found.items() if node != EPOCH}


def fetch(world, number, pool=SFTP):
    """Ask, and look what came of it."""
    agent = world.agents[number]
    agent.want(pool)
    agent.beat()
    world.round()
    agent.beat()
    return bool(agent.opened)


def fill(world, pool=SFTP):
    for number in range(LIMIT):
        assert fetch(world, number, pool)


def forget(world):
    keys = world.store.keys
    world.store.client.delete(keys.collection(DOWNLOADS), keys.revisions(DOWNLOADS))


def test_a_turn_is_remembered_while_it_is_held_and_nothing_is_left_of_it(world):
    assert fetch(world, 0, HTTP)
    assert remembered(world) == {"n0": Held("uid-n0", {"0-1": HTTP}, TTL)}
    assert grant(world, 0) == {"v": 1, "uid": "uid-n0", "grants": {"0-1": {}}, "waiting": {}}
    world.agents[0].finish()
    world.agents[0].beat()
    world.round()
    assert (remembered(world), grant(world, 0)) == ({}, None)


def test_the_manager_s_server_is_remembered_by_its_name(world):
    assert fetch(world, 0, BASE)
    assert remembered(world)["n0"].turns == {"0-1": SFTP}


def test_who_is_given_a_turn_is_woken(world):
    wake = world.store.keys.node("n0").wake
    fetch(world, 0)
    assert world.store.client.xlen(wake) == 1
    world.agents[0].finish()
    world.agents[0].beat()
    world.round()
    assert world.store.client.xlen(wake) == 1, "to be told that it gave its turn back it is not"


@pytest.mark.parametrize("pool", [BASE, SFTP])
def test_the_login_is_sealed_to_the_one_who_asked(world, monkeypatch, pool):
    private, public = seal.new()
    monkeypatch.setattr("tests.turns_world.KEY", public)
    fetch(world, 0, pool)
    sealed = grant(world, 0)["grants"]["0-1"]["sealed"]
    said = json.loads(seal.unseal(sealed, private))
    assert said.pop("base", None) == ("sftp://joe@files/apps" if pool == BASE else None)
    assert said == {"user": "joe", "password": "hush"}


def test_no_login_is_told_where_none_is_needed(world, fake_store):
    fetch(world, 0, HTTP)
    assert grant(world, 0)["grants"] == {"0-1": {}}
    other = World(fake_store, artifacts=["http://other/x", "sftp://jane@files/x"])
    assert fetch(other, 0, SFTP)
    assert grant(other, 0)["grants"] == {"0-1": {}}, "its work goes there as somebody else"
    assert not fetch(other, 1, BASE)


def test_a_key_that_cannot_be_sealed_to_harms_nobody_else(world, monkeypatch):
    monkeypatch.setattr("tests.turns_world.KEY", "A" * 43 + "=")
    fetch(world, 0)
    assert grant(world, 0)["grants"] == {"0-1": {}}
    monkeypatch.setattr("tests.turns_world.KEY", seal.new()[1])
    assert fetch(world, 1)


def test_the_next_leader_counts_what_was_given(world):
    fill(world)
    world.lead()
    assert not fetch(world, 4)
    world.agents[0].finish()
    world.agents[0].beat()
    world.round()
    world.agents[4].beat()
    assert world.agents[4].opened


def test_a_turn_of_a_node_whose_heartbeat_the_store_lost_counts_until_it_must_be_over(world):
    fill(world)
    for agent in world.agents[:LIMIT]:
        world.store.client.delete(world.store.keys.node(agent.node).beat)
    world.lead()
    assert not fetch(world, 4)
    world.clock.advance(TTL - 0.1)
    world.agents[4].beat()
    world.round()
    assert not grant(world, 4) or not grant(world, 4)["grants"]
    world.clock.advance(20.0)  # without a heartbeat its own time to live is not known
    world.agents[4].beat()
    world.round()
    world.agents[4].beat()
    assert world.agents[4].opened


@pytest.mark.parametrize("point", ["controller.turns.before", "controller.turns.after"])
def test_a_leader_that_dies_while_it_gives_a_turn_is_followed_by_one_that_gives_it(world, monkeypatch, point):
    def fault(here):
        if here == point:
            raise Killed

    monkeypatch.setattr(controller, "fault", fault)
    world.agents[0].want(SFTP)
    world.agents[0].beat()
    world.mirror.look(["n0"])
    with pytest.raises(Killed):
        world.turnstile.round()
    assert grant(world, 0) is None
    assert ("n0" in remembered(world)) is point.endswith("after")
    monkeypatch.setattr(controller, "fault", lambda _: None)
    world.lead()
    world.agents[0].beat()
    assert world.agents[0].opened


def test_a_lost_memory_heals_by_what_the_nodes_were_told(world, caplog):
    fill(world)
    forget(world)
    world.lead()
    assert remembered(world).keys() == {"n0", "n1"}
    assert "were forgotten, and are counted again" in caplog.text
    assert not fetch(world, 4)


def test_a_lost_memory_heals_also_of_a_node_that_was_not_to_be_seen_just_then(world):
    fill(world)
    forget(world)
    world.store.client.delete(world.store.keys.node("n0").beat)
    world.lead()
    assert not fetch(world, 4)
    assert not fetch(world, 5), "n1 holds the other one"
    world.agents[0].beat()
    world.round()
    assert world.agents[0].opened
    assert remembered(world).keys() == {"n0", "n1"}


def test_while_leading_what_was_deleted_is_written_again(world):
    fill(world)
    forget(world)
    world.store.client.delete(world.store.keys.node("n0").grant)
    world.round(check=True)
    assert remembered(world).keys() == {"n0", "n1"}
    assert grant(world, 0)["grants"].keys() == {"0-1"}


def test_in_a_new_epoch_no_turn_is_given_before_all_nodes_have_come_along(world):
    bootstrap.mint(world.store, (world.store.meta().rev, 0)[::-1], kind="lost", reason="for a test")
    world.store.attach()
    forget(world)
    world.lead()
    assert not fetch(world, 0)
    for agent in world.agents[:-1]:
        agent.beat()
    world.round()
    assert grant(world, 0) is None
    world.agents[-1].beat()
    world.round()
    world.agents[0].beat()
    assert world.agents[0].opened


def test_in_a_new_epoch_no_turn_is_given_before_all_that_was_heard_is_looked_into(world, monkeypatch):
    *others, first, second = world.agents
    assert fetch(world, world.agents.index(first))
    assert fetch(world, world.agents.index(second))
    bootstrap.mint(world.store, (world.store.meta().rev, 0)[::-1], kind="lost", reason="for a test")
    world.store.attach()
    forget(world)
    for agent in (first, second):
        world.store.client.delete(world.store.keys.node(agent.node).beat)
    for agent in others:
        agent.want(SFTP)
        agent.beat()
    monkeypatch.setattr(Turns.take_back, "__defaults__", (1,))
    world.lead()
    for _ in range(10):
        for agent in world.agents:
            agent.beat()
        world.check()
        world.round()
    assert first.opened
    assert second.opened


def test_a_node_that_never_comes_along_holds_the_others_up_for_one_time_to_live(world):
    bootstrap.mint(world.store, (world.store.meta().rev, 0)[::-1], kind="lost", reason="for a test")
    world.store.attach()
    world.lead()
    assert not fetch(world, 0)
    world.clock.advance(15.0)
    world.agents[0].beat()
    world.round()
    world.agents[0].beat()
    assert world.agents[0].opened
    world.lead()
    assert fetch(world, 1), "that is over for later leaders, too"


def test_a_record_that_cannot_be_read_goes_and_the_others_count(world, caplog):
    fill(world)
    world.store.put(DOWNLOADS, "n5", dumps({"v": 1, "turns": 5}))
    world.lead()
    assert remembered(world).keys() == {"n0", "n1"}
    assert "turns: not asks with their servers" in caplog.text


def test_a_node_that_is_gone_gives_its_turn_back(world):
    fill(world)
    assert not fetch(world, 4)
    world.agents[0].silent = True
    for _ in range(int(TTL) + 1):
        world.passes(1.0)
        for agent in world.agents[1:]:
            agent.beat()
        world.round()
    world.agents[4].beat()
    assert world.agents[4].opened
    assert (grant(world, 0), "n0" in remembered(world)) == (None, False)


def test_a_barred_node_gets_no_turn(world):
    world.store.put(NODES_STATUS, "n0", dumps({"v": 1, "barred": {"since": 1.0, "reason": "x"}}))
    world.lead()
    assert not fetch(world, 0)
    world.clock.advance(1.0)
    world.round()
    assert "barred" in grant(world, 0)["waiting"]["0-1"]


def test_without_a_base_it_is_said_and_once_there_is_one_it_is_used(world):
    world.base, base = None, world.base
    world.lead()
    assert not fetch(world, 0, BASE)
    world.clock.advance(1.0)
    world.round()
    assert grant(world, 0)["waiting"] == {"0-1": NO_BASE}
    world.base = base
    world.round(check=True)
    world.agents[0].beat()
    assert world.agents[0].opened


def test_a_key_of_another_type_is_one_node_s_trouble(world, caplog):
    world.store.client.set(world.store.keys.node("n0").wake, "no stream")
    fetch(world, 0)
    assert fetch(world, 1)
    assert "node n0: its grant cannot be written" in caplog.text


def test_a_single_turn_that_was_forgotten_is_counted_again(world):
    fill(world)
    world.store.client.hdel(world.store.keys.collection(DOWNLOADS), "n0")
    world.lead()
    assert remembered(world).keys() == {"n0", "n1"}
    assert not fetch(world, 4)


def test_what_an_earlier_leader_told_a_waiting_node_goes_when_it_waits_no_more(world):
    fill(world)
    assert not fetch(world, 4)
    for _ in range(2):
        world.clock.advance(1.0)
        world.round()
    assert grant(world, 4)["waiting"] == {"0-1": f"all 2 turns at {SFTP} are taken; it is next"}
    world.lead()
    world.agents[4].asks.clear()
    world.agents[4].beat()
    world.round()
    assert grant(world, 4) is None


def test_with_nothing_to_do_a_round_says_nothing_to_the_store(world):
    fill(world)
    fetch(world, 4)
    before = world.store.client.xlen(world.store.keys.log), world.store.meta().rev
    for _ in range(5):
        world.turnstile.round()
    assert (world.store.client.xlen(world.store.keys.log), world.store.meta().rev) == before
