"""Random histories of asks, deaths and leaders: never more than the limit is connected, and nobody starves."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager_api.controller import turns as controller
from manager_api.core.turns import MOST_MOVED, Turns
from store.keys import DOWNLOADS
from tests.conftest import SOAK, fake_client, fresh_store
from tests.turns_world import NODES_THERE, POOLS, World

pytestmark = pytest.mark.property

numbers = st.integers(0, NODES_THERE - 1)
steps = st.one_of(
    st.tuples(st.just("want"), numbers, st.sampled_from(POOLS)),
    st.tuples(st.just("fetch"), numbers, st.sampled_from(POOLS)),
    st.tuples(st.just("fetch"), numbers, st.sampled_from(POOLS)),
    st.tuples(st.just("beat"), numbers, st.booleans()),
    st.tuples(st.just("finish"), numbers),
    st.tuples(st.just("die"), numbers),
    st.tuples(st.just("silence"), numbers, st.booleans()),
    st.tuples(st.just("passes"), st.sampled_from([0.1, 1.0, 2.0, 5.9])),
    st.tuples(st.just("round"), st.booleans()),
    st.tuples(st.just("all beat")),
    st.tuples(st.just("lead"), st.booleans()),
    st.tuples(st.just("kill"), st.integers(0, 3)),
    st.tuples(st.just("forget"), st.booleans()),
    st.tuples(st.just("lose grants"), numbers),
)


def play(world, step):
    match step:
        case ("want", number, pool):
            world.agents[number].want(pool)
        case ("fetch", number, pool):
            world.agents[number].want(pool)
            world.agents[number].beat()
            world.round()
            world.agents[number].beat()
        case ("beat", number, answered):
            world.agents[number].beat(answered)
        case ("finish", number):
            world.agents[number].finish()
        case ("die", number):
            world.agents[number].die()
        case ("silence", number, silent):
            world.agents[number].silent = silent
        case ("passes", seconds):
            world.passes(seconds)
        case ("round", check):
            world.round(check=check)
        case ("all beat",):
            for agent in world.agents:
                agent.beat()
                world.check()
        case ("lead", same_process):
            world.lead(same_process=same_process)
        case ("kill", count):
            world.dies_in = count
        case ("forget", and_lead):
            keys = world.store.keys
            world.store.client.delete(keys.collection(DOWNLOADS), keys.revisions(DOWNLOADS))
            if and_lead:
                world.lead()
        case ("lose grants", number):
            world.store.client.delete(world.store.keys.node(world.agents[number].node).grant)


@pytest.fixture
def a_world(monkeypatch):
    client = fake_client(monkeypatch)

    def begin(most):
        client.flushall()
        monkeypatch.setattr(Turns.take_back, "__defaults__", (most,))
        world = World(fresh_store(client))
        monkeypatch.setattr(controller, "fault", world.fault)
        return world

    return begin


@settings(
    max_examples=600 if SOAK else 30, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(history=st.lists(steps, max_size=60), most=st.sampled_from([1, 2, MOST_MOVED]))
def test_never_more_than_the_limit_and_nobody_starves(a_world, history, most):
    world = a_world(most)
    for step in history:
        play(world, step)
        world.check()
    world.dies_in = None
    waiting = [agent for agent in world.agents if agent.asks]
    before = {agent.node: agent.served for agent in waiting}
    for agent in world.agents:
        agent.silent = False
    for _ in range(60):
        world.passes(1.0)
        for agent in world.agents:
            agent.finish()
            agent.beat()
            world.check()
        world.round(check=True)
        for agent in world.agents:
            agent.beat()
            world.check()
    assert [agent.node for agent in waiting if agent.asks or agent.served == before[agent.node]] == []
