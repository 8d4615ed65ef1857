"""A leader that has just begun refuses nothing for nodes that it has yet to see, or that have yet to see it."""

import pytest

from manager_api.controller.mirror import Mirror
from manager_api.core.actions import Place, Refuse
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments
from store.codec import dumps
from store.keys import DEPLOYMENTS, NODES, VERSIONS
from store.model.beat import DEFAULT_TTL
from store.recipes.presence import Presence
from tests.builders import a_template
from tests.unit.test_unknown import BEAT, NODE, NOW

pytestmark = pytest.mark.unit


class Leader:
    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        store.put(NODES, "web-1", dumps(NODE))
        store.put(VERSIONS, "1:etl", dumps({"v": 1, "version": 1, "body": a_template()}))
        record = {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": NOW}
        store.put(DEPLOYMENTS, "d", dumps(record))

    def beat(self, **more):
        self.store.client.set(self.store.keys.node("web-1").beat, dumps({**BEAT, **more}), px=60_000)

    def begin(self):
        presence = Presence(self.clock)
        presence.grace()
        self.mirror = Mirror(self.store, self.clock, presence=presence)
        self.mirror.load()
        return self

    def look(self, after=0.0):
        self.mirror.dirty_deployments = set()
        self.clock.advance(after)
        self.mirror.look(["web-1"])

    def decides(self):
        found = plan_deployments(self.mirror.fleet, Moment(NOW, self.clock.now()), ["d"])
        return [type(each) for each in found]


@pytest.fixture
def leader(fake_store, clock):
    return Leader(fake_store, clock)


def test_a_node_that_has_its_grace_is_no_reason_to_refuse(leader):
    """Its heartbeat ran out while the store was another server: it was taken for one that is offline."""
    leader.begin()
    assert leader.decides() == []
    leader.beat()
    leader.look()
    assert "d" in leader.mirror.dirty_deployments, "it is planned at once"
    assert leader.decides() == [Place]


def test_when_its_grace_is_over_it_is_offline(leader):
    leader.begin()
    leader.look(after=DEFAULT_TTL + 1)
    assert leader.decides() == [Refuse]


def test_a_node_that_has_yet_to_hear_of_the_epoch_is_no_reason_to_refuse(leader):
    leader.beat(frozen="the store's history ended", epoch="0-old")
    leader.begin()
    assert leader.decides() == []
    leader.beat(epoch=leader.store.epoch)
    leader.look()
    assert "d" in leader.mirror.dirty_deployments, "it is planned at once"
    assert leader.decides() == [Place]


def test_a_node_that_stays_behind_or_is_frozen_for_another_reason_is(leader):
    leader.beat(frozen="the store's history ended", epoch="0-old")
    leader.begin().look(after=DEFAULT_TTL + 1)
    assert leader.decides() == [Refuse]
    leader.beat(frozen="its clock is wrong", epoch=leader.store.epoch)
    leader.begin()
    assert leader.decides() == [Refuse]
