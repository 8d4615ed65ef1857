"""The loops of brain and controller when something they do not expect happens."""

import threading
from dataclasses import replace

import pytest

from agentd import brain as brain_module
from agentd.brain import Brain
from agentd.core.obey import Offer
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.logbook import Logbook
from agentd.memory import Memory
from agentd.policy import Policy
from agentd.settings import AgentSettings
from manager_api.controller import history, loop
from manager_api.controller import mirror as mirror_module
from manager_api.controller.executor import Executor
from manager_api.controller.loop import Controller
from manager_api.controller.mirror import MIRRORED, Mirror
from manager_api.core.actions import Complain, SetStatus
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments
from store.codec import dumps
from store.errors import Unavailable
from store.home import Files
from store.keys import DEPLOYMENTS, NODES, NODES_STATUS, STATUS, VERSIONS
from store.recipes.election import Election
from tests.builders import a_template, an_alloc

pytestmark = pytest.mark.unit


@pytest.fixture
def brain(tmp_path, clock):
    settings = AgentSettings(
        manager_url="http://127.0.0.1:1",
        hostname="n",
        interval=5.0,
        port=0,
        data_dir=tmp_path,
        log_file=None,
        policy=tmp_path / "policy.yaml",
        cgroups="none",
        containers="none",
        log_quota=1 << 30,
    )
    who = Identity("n", "u", "s", "m")
    launcher = Launcher(tmp_path, who, Policy(settings.policy), None)
    found = Brain(settings, who, Memory(tmp_path / "orders.json", who), launcher, clock, hostname="n")
    found.driver.runs = list
    return found


OFFER = Offer("1-a", 5, "u", {})


def test_an_offer_that_met_an_unexpected_error_is_considered_again(brain, monkeypatch):
    def broken(*_):
        raise RuntimeError("odd")

    brain.take(OFFER)
    monkeypatch.setattr(brain_module.obey, "consider", broken)
    with pytest.raises(RuntimeError):
        brain._round()
    monkeypatch.undo()
    brain._round()
    assert (brain.heartbeat()["rev"], brain.frozen) == (5, None)


def test_an_offer_that_found_the_disk_full_is_considered_again(brain, clock, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    brain.take(OFFER)
    monkeypatch.setattr(brain_module.Memory, "remember", full)
    again = brain._round()
    assert again == clock.now() + brain_module.RETRY_AFTER
    assert "cannot be written to disk" in brain.frozen
    monkeypatch.undo()
    brain._round()
    assert (brain.heartbeat()["rev"], brain.frozen) == (5, None)


def test_trouble_long_ago_does_not_slow_the_controller_down(fake_store, clock, monkeypatch):
    waits = []
    controller = Controller(fake_store, fake_store.client, "me", clock)

    class Stop(threading.Event):
        def wait(self, seconds=None):
            waits.append(seconds)
            if len(waits) == 7:
                self.set()
            return self.is_set()

    controller._stop = Stop()
    monkeypatch.setattr(loop.random, "random", lambda: 0.0)
    leads = iter([0, 0, 0, 60, 0, 60, 0])

    def lead():
        clock.advance(next(leads))
        raise Unavailable("gone")

    controller._lead = lead
    controller.run()
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.2, 0.1, 0.2])


def test_the_log_of_a_task_that_just_starts_is_not_over(tmp_path, clock):
    """Its directory is there before anything was reported of it."""
    who = Identity("n", "u", "s", "m")
    logbook = Logbook(Launcher(tmp_path, who, Policy(tmp_path / "p.yaml"), None), clock, 1 << 30)
    (tmp_path / "logs" / "d.0").mkdir()
    logbook.watch({"d.0": an_alloc()})
    assert not logbook.over(None, "d.0", "main", 1, obeyed=True)
    logbook.watch({})
    assert logbook.over(None, "d.0", "main", 1, obeyed=True)
    assert not logbook.over(None, "d.0", "main", 1, obeyed=False)
    entry = {"generation": 1, "tasks": [{"name": "main", "state": "completed"}]}
    assert logbook.over(entry, "d.0", "main", 1, obeyed=True)
    assert not logbook.over(entry, "d.0", "main", 2, obeyed=True)


def test_the_lease_is_renewed_while_a_large_fleet_is_read(fake_store, clock, monkeypatch):
    monkeypatch.setattr(mirror_module, "MOST_AT_ONCE", 2)
    for number in range(5):
        fake_store.put(NODES, f"web-{number}", dumps({"uid": "u"}))
    renewals = []
    mirror = mirror_module.Mirror(fake_store, clock, lambda: renewals.append(len(mirror.fleet.states)))
    mirror.load()
    assert renewals == [0, 2, 4]  # before each part, not after all of it
    renewals.clear()
    mirror.verify()
    assert len(renewals) == len(mirror_module.MIRRORED) + 3


def test_a_full_disk_ends_no_leadership(fake_store, clock, tmp_path, monkeypatch, caplog):
    """What lies on it is one witness of several."""

    def full(*_):
        raise OSError(28, "No space left on device")

    known = history.History(fake_store, clock, Files(tmp_path))
    known.enter()
    monkeypatch.setattr(history.highest, "record", full)
    for _ in range(3):
        clock.advance(history.WRITTEN_EVERY)
        known.remember()
    assert caplog.text.count("No space left on device") == 1


def test_what_cannot_be_written_holds_up_no_other_action(fake_store, clock, caplog):
    election = Election(fake_store, "me", clock)
    assert election.campaign()
    mirror = mirror_module.Mirror(fake_store, clock)
    mirror.load()
    record = {"v": 1, "status": "RUNNING", "allocations": []}
    good, bad = (SetStatus(name, 0, {**record, "what": name}, name) for name in ("good", "bad"))
    Executor(fake_store, mirror, election.token).perform([replace(bad, status={**record, "n": 2**65}), good])
    assert set(fake_store.values(STATUS)) == {"good"}
    assert "bad: it cannot be carried out" in caplog.text


def test_what_cannot_be_planned_for_is_said_and_seldom(fake_store, clock, caplog):
    mirror = mirror_module.Mirror(fake_store, clock)
    executor = Executor(fake_store, mirror, 1, clock=clock)
    for what in ("deployment", "deployment", "node"):
        executor.perform([Complain(what, "one", "it makes no sense")])
    assert caplog.text.count("deployment one: it makes no sense") == 1
    assert caplog.text.count("node one: it makes no sense") == 1
    clock.advance(60.0)
    executor.perform([Complain("deployment", "one", "it makes no sense")])
    assert caplog.text.count("deployment one: it makes no sense") == 2


def test_only_what_is_barred_is_kept_out_when_another_server_is_told_of_all_nodes(
    fake_store, clock, monkeypatch
):
    """A node that is drained has a status, too."""
    for node in ("plain", "drained", "barred"):
        fake_store.put(NODES, node, dumps({"v": 1, "uid": "u", "secret_sha256": node}))
    bar = {"since": 1.0, "reason": "too much", "secret_sha256": "barred"}
    fake_store.put(NODES_STATUS, "drained", dumps({"v": 1, "drain": {"state": "draining"}}))
    fake_store.put(NODES_STATUS, "barred", dumps({"v": 1, "barred": bar}))
    monkeypatch.setattr(loop.Server, "run_id", lambda _: "another")
    controller = Controller(fake_store, fake_store.client, "me", clock)
    granted = {}
    monkeypatch.setattr(controller, "_push", granted.update)
    controller._regrant()
    assert granted == {"plain": "plain", "drained": "drained"}


def test_checking_memory_against_the_store_goes_on_where_it_stopped(fake_store, clock):
    """However many steps it has, a tick does not wait for all of them."""
    controller = Controller(fake_store, fake_store.client, "me", clock)
    done = []

    def steps():
        for number in range(5):
            done.append(number)
            clock.advance(loop.STEPS_FOR / 2)
            yield

    left = controller._some_of(steps())
    assert done == [0, 1]
    left = controller._some_of(left)
    assert done == [0, 1, 2, 3]
    assert controller._some_of(left) is None
    assert done == [0, 1, 2, 3, 4]
    assert controller._some_of(None) is None


def test_a_deployment_that_is_heard_of_before_its_template_is_not_taken_for_nonsense(fake_store, clock):
    """Memory is checked against the store a collection at a time, while people go on writing."""
    mirror = Mirror(fake_store, clock)
    mirror.load()
    checks = mirror.verifying()
    assert MIRRORED[0] == VERSIONS
    next(checks)  # the versions were looked at; what comes now is on its way through the log
    fake_store.put(VERSIONS, "1:etl", dumps({"v": 1, "version": 1, "body": a_template()}), rev=0)
    deployment = {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": 1e9}
    fake_store.put(DEPLOYMENTS, "d", dumps(deployment), rev=0)
    for _ in checks:
        pass
    assert set(mirror.fleet.deployments) == {"d"}
    (decision,) = plan_deployments(mirror.fleet, Moment(1e9, 1e3), ["d"])
    assert "start an agent" in decision.reason
