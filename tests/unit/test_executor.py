"""What becomes of a plan of which one step turns out to stand on old news."""

import pytest

from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.core.actions import Place
from store.codec import dumps
from store.keys import DEPLOYMENTS, STATUS
from store.kv.lease import Lease

pytestmark = pytest.mark.unit


def test_what_was_planned_after_a_step_that_is_not_taken_is_planned_again(fake_store, clock):
    """The step may have made the room that the others of its round were given."""
    revs = {
        name: fake_store.put(DEPLOYMENTS, name, dumps({"v": 1, "wanted": "running"}), rev=0)
        for name in ("first", "second", "third")
    }
    mirror = Mirror(fake_store, clock)
    mirror.load()
    token = Lease(fake_store, "leader", "me", 60_000).acquire()
    mirror.agenda.deployments.clear()

    def place(name, rev):
        return Place(name, rev, {}, {"v": 1, "status": "PENDING", "allocations": []}, "there is room")

    Executor(fake_store, mirror, token).perform(
        [place("first", revs["first"]), place("second", revs["second"] - 1), place("third", revs["third"])]
    )
    assert set(fake_store.values(STATUS)) == {"first"}
    assert "third" in mirror.agenda.deployments
