"""Fifty simulated agents, of which some lag, flap, lie or are cut off, under a real controller."""

import threading
from urllib.parse import urlsplit

import pytest

from benchmarks.fleet.behaviours import KINDS, mixed, parse
from benchmarks.fleet.crew import Fleet
from benchmarks.fleet.enrol import enrol
from benchmarks.fleet.orders import deploy, template_on
from benchmarks.fleet.setting import Setting, Who
from manager_api.controller.loop import Controller
from manager_api.http.deployments.deployments import halt
from store.clock import SystemClock
from store.codec import loads
from store.errors import EpochChanged
from store.keys import STATUS
from store.kv.projection import Projection
from tests.conftest import SOAK, eventually

pytestmark = pytest.mark.integration

AGENTS = 500 if SOAK else 50
MIX = "obey=6,lag:0.3=1,flap:2:5=1,lie=1,cut=1"


@pytest.fixture
def controller(server, store):
    """A real controller on a thread."""
    found = Controller(store, server.client("watch"), "test", SystemClock())
    thread = threading.Thread(target=found.run, daemon=True)
    thread.start()
    yield found
    found.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def fleet(server, store):
    nodes = [f"sim-{number}" for number in range(AGENTS)]
    enrol(store, [Who(node) for node in nodes])
    url = urlsplit(server.local_url)
    # The ones to be cut off are cut off by the test, not by the time.
    mix = MIX.replace("cut", "cut:1e9")
    setting = Setting((url.hostname, url.port), store.keys.prefix, interval=0.5, ttl=3.0)
    found = Fleet(setting, nodes, mix, processes=0)
    yield found
    found.end()


def still(store, action):
    """Done, also if a lie has cost the fleet an epoch since: managers attach anew then, too."""
    while True:
        try:
            return action()
        except EpochChanged:
            store.attach()


def statuses(store):
    found = still(store, lambda: store.values(STATUS))
    return {name: loads(raw)["status"] for name, raw in found.items()}


def online(controller, nodes):
    mirror = controller.mirror
    return [node for node in nodes if mirror is not None and mirror.presence.online(node)]


def test_liars_and_the_cut_off_harm_nobody_else(store, controller, fleet, caplog):
    steady, cut = fleet.named("obey", "lag"), fleet.named("cut")
    everybody = [*steady, *cut, *fleet.named("flap", "lie")]
    assert len(everybody) == AGENTS
    assert all(fleet.named(kind) for kind in KINDS)
    eventually(lambda: len(online(controller, [*steady, *cut])) == len(steady) + len(cut), 60)

    asked = {
        node: still(store, lambda node=node: deploy(store, template_on(store, node), name=node))
        for node in everybody
    }
    wanted = {asked[node] for node in [*steady, *cut]}
    eventually(lambda: {name for name, state in statuses(store).items() if state == "RUNNING"} >= wanted, 60)

    assert sorted(fleet.cut(cut)) == sorted(cut)
    eventually(lambda: not online(controller, cut), 60)
    eventually(lambda: len(online(controller, steady)) == len(steady), 60)
    # Absence is never an order, nor is it news of a task's end: what ran there still counts as running.
    assert {statuses(store)[asked[node]] for node in cut} <= {"RUNNING", "DEGRADED"}

    for node in everybody:
        if asked[node] in statuses(store):
            still(store, lambda node=node: halt(store, asked[node]))
    over = {asked[node] for node in steady}
    eventually(lambda: {name for name, state in statuses(store).items() if state == "STOPPED"} >= over, 60)
    left = Projection(store)
    eventually(lambda: not any(each.entries for each in left.desired(steady).values()), 60)  # tombstones go
    assert not over & {name for name, state in statuses(store).items() if state != "STOPPED"}
    # A tombstone of a node that cannot say it has obeyed stays.
    assert all(each.entries for each in left.desired(cut).values())
    # The controller leads again after any trouble, so only its log tells that a lie put it out.
    troubles = [text for text in caplog.messages if text.startswith("not leading")]
    assert [text for text in troubles if "does not answer" not in text and " has seen " not in text] == []
    # A lie about what was obeyed may cost the fleet an epoch, once, which costs no task anything.
    epochs = [text for text in caplog.messages if text.startswith("history was lost")]
    assert len(epochs) <= len(fleet.named("lie"))


def test_an_order_to_stop_that_was_given_while_an_agent_was_away_is_obeyed_when_it_is_back(
    store, controller, fleet
):
    node = fleet.named("flap")[0]
    template = still(store, lambda: template_on(store, node))
    eventually(lambda: online(controller, [node]), 60)
    field = still(store, lambda: deploy(store, template, name=node))
    eventually(lambda: statuses(store).get(field) in ("RUNNING", "FAILED"), 60)
    while statuses(store)[field] == "FAILED":  # refused: it had just gone
        eventually(lambda: online(controller, [node]), 60)
        field = still(store, lambda: deploy(store, template, name=node))
        eventually(lambda field=field: statuses(store).get(field) in ("RUNNING", "FAILED"), 60)
    eventually(lambda: not online(controller, [node]), 60)
    still(store, lambda: halt(store, field))
    eventually(lambda: statuses(store)[field] == "STOPPED", 60)
    eventually(lambda: not Projection(store).desired([node])[node].entries, 60)


def test_behaviours_are_mixed_in_the_shares_that_were_asked_for():
    kinds = [kind for kind, _ in mixed("obey=90,lag:3=5,lie=5", 200)]
    assert [kinds.count(name) for name in ("obey", "lag", "lie")] == [180, 10, 10]
    assert parse("flap:3:2") == [("flap", (3.0, 2.0), 1.0)]
    with pytest.raises(ValueError, match="none of obey"):
        parse("sleep")
