"""Groups that a task depends on, and ports: what holds a start back, what the task is told."""

import dataclasses

import pytest

from agentd import ports, told
from agentd.containers.desk import Desk
from agentd.containers.engine import Engine
from agentd.core import obey
from agentd.core.actions import Start
from agentd.core.draft import Observed
from agentd.core.obey import Obeyed, Offer, Orders
from agentd.core.plan import plan
from agentd.executor import Executor
from agentd.facts import node as facts
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.policy import Policy
from agentd.report import entry
from store.model import spec
from store.model.lifecycle import Task
from store.model.spec import PeerState
from tests.builders import BOOT, a_run, a_task, an_alloc, ended

pytestmark = pytest.mark.unit

UP = PeerState(met=True, addresses={"": "10.0.0.1,10.0.0.2", "sql": "10.0.0.1:5432,10.0.0.2:5433"})
DOWN = PeerState(met=False, reason="1 of 2 healthy")
APP = a_task("app", depends_on={"db.server": "2 healthy"})


def with_peers(*tasks, ports=None, **peers):
    found = {key.replace("_", "."): state for key, state in peers.items()}
    return dataclasses.replace(an_alloc(*tasks), peers=found, ports=ports or {})


def planned(alloc, *runs, now=200.0):
    return plan({alloc.id: alloc}, Observed(runs=runs, boot=BOOT), now, keep={alloc.id})


def state(found):
    view = found.views["d.0"][0]
    return view.state, view.reason


def test_a_task_waits_for_a_group_and_says_for_what():
    assert state(planned(with_peers(APP))) == (Task.WAITING, "waits to hear of db.server")
    waiting = planned(with_peers(APP, db_server=DOWN))
    assert (waiting.actions, state(waiting)) == ((), (Task.WAITING, "waits for db.server: 1 of 2 healthy"))
    assert [type(each) for each in planned(with_peers(APP, db_server=UP)).actions] == [Start]


def test_no_task_is_stopped_or_kept_from_restarting_because_a_group_went_away():
    alloc = with_peers(APP, db_server=DOWN)
    assert planned(alloc, a_run("app")).actions == ()
    again = planned(alloc, ended(1, task="app"))
    assert [each.attempt for each in again.actions if isinstance(each, Start)] == [1]


def test_after_a_reboot_groups_are_waited_for_again():
    gone = ended(None, task="app", lost="the machine was rebooted")
    found = planned(with_peers(APP, db_server=DOWN), gone)
    assert state(found) == (Task.WAITING, "waits for db.server: 1 of 2 healthy")


def test_a_task_of_the_allocation_is_meant_before_a_group_of_that_name():
    alloc = with_peers(a_task("db"), a_task("app", depends_on={"db": "started"}), db=DOWN)
    assert [each.task.name for each in planned(alloc, a_run("db")).actions] == ["app"]


def raw(**more):
    alloc = an_alloc()
    return {
        "rev": alloc.rev, "generation": 1, "wanted": "running", "deployment": "d", "template": "etl",
        "group": "g", "index": 0, "tasks": [APP], **more,
    }  # fmt: skip


def test_orders_that_change_only_in_what_is_told_are_obeyed_and_restart_nothing():
    first = raw(peers={"db.server": {"met": True, "addresses": {"": "10.0.0.1"}}})
    second = raw(rev=6, adjusted=3, peers={"db.server": {"met": False, "reason": "0 of 2 healthy"}})
    known = Orders("1-a", 5, {"d.0": first}, {})
    verdict = obey.consider(Offer("1-a", 6, "u", {"d.0": second}), known, "u")
    assert isinstance(verdict, Obeyed)
    assert verdict.oddities == {}
    (alloc,) = obey.allocations(verdict.orders).values()
    assert alloc.peers["db.server"].reason == "0 of 2 healthy"
    assert planned(alloc, a_run("app")).actions == ()


# -- what tasks are told

WEB = a_task(
    "web",
    "/bin/echo ${port.http} ${port.admin} ${port.sql} ${addr.db.server} ${addr.db.server.sql} ${addr.nobody}",
    config={"env": {"URL": "http://x:${port.http}/"}},
    healthcheck={"http": "http://127.0.0.1:${port.http}/health"},
    hooks={"pre_start": "/bin/echo ${port.http}"},
    ports={"http": 0, "admin": 9000},
)
SIDE = a_task("side", ports={"http": 0, "sql": 0})
OTHER = a_task("other", ports={"metrics-v2": 0, "http": 0})
PORTS = {"web": {"http": 20001, "admin": 9000}, "side": {"http": 20002, "sql": 20003},
         "other": {"metrics-v2": 20004, "http": 20005}}  # fmt: skip


@pytest.fixture
def launcher(tmp_path):
    return Launcher(tmp_path, Identity("n", "u", "s", "m"), Policy(tmp_path / "p.yaml"), None)


def test_ports_and_addresses_are_filled_in_everywhere(launcher):
    alloc = with_peers(WEB, SIDE, OTHER, ports=PORTS, db_server=UP)
    web = alloc.tasks[0]
    order = launcher.order(alloc, web, "r", "main")
    assert order["argv"][1:] == [
        "20001", "9000", "20003", "10.0.0.1,10.0.0.2", "10.0.0.1:5432,10.0.0.2:5433", "${addr.nobody}",
    ]  # fmt: skip
    assert order["env"]["URL"] == "http://x:20001/"
    assert launcher.order(alloc, web, "r", "pre_start")["argv"] == ["/bin/echo", "20001"]
    assert launcher.filled(alloc, web, web.health).target == "http://127.0.0.1:20001/health"


def test_the_environment_says_the_same(launcher):
    alloc = with_peers(WEB, SIDE, OTHER, ports=PORTS, db_server=UP)
    told_web, told_side = (
        {key: value for key, value in launcher.order(alloc, task, "r", "main")["env"].items()
         if key.startswith(("MUSTER_PORT", "MUSTER_ADDR"))}
        for task in alloc.tasks[:2]
    )  # fmt: skip
    addresses = {
        "MUSTER_ADDR_DB_SERVER": "10.0.0.1,10.0.0.2",
        "MUSTER_ADDR_DB_SERVER_SQL": "10.0.0.1:5432,10.0.0.2:5433",
    }
    assert told_web == {
        "MUSTER_PORT_HTTP": "20001", "MUSTER_PORT_ADMIN": "9000", "MUSTER_PORT_SQL": "20003",
        "MUSTER_PORT_METRICS_V2": "20004", **addresses,
    }  # fmt: skip
    assert told_side["MUSTER_PORT_HTTP"] == "20002", "its own, whatever the others have"


def test_a_port_that_two_other_tasks_have_means_neither():
    alloc = with_peers(a_task("main"), SIDE, OTHER, ports=PORTS)
    assert set(told.ports_told(alloc, alloc.tasks[0])) == {"sql", "metrics-v2"}


def test_a_fixed_port_needs_nobody_to_give_it_out():
    alloc = with_peers(WEB)
    assert told.ports_of(alloc, alloc.tasks[0]) == {"admin": 9000}


def test_a_held_port_is_passing_trouble_of_restart_policy():
    alloc = with_peers(a_task("app", restart={"max_attempts": 1, "delay": "5s"}))
    why = "port 8080 is held by nginx (pid 812)"
    once = a_run("app", state="failed", error=why, pid=None, ended=199.0)
    found = planned(alloc, once)
    assert state(found)[0] is Task.BACKOFF
    assert state(found)[1].startswith(f"{why}; restarted after 5")
    twice = a_run("app", state="failed", error=why, pid=None, ended=199.0, attempt=1)
    assert state(planned(alloc, once, twice)) == (Task.FAILED, f"{why}; given up after 1 restarts")


def test_the_agent_claims_what_it_does_and_reports_whose_allocation_it_is():
    assert {"ports", "peers", "disconnect"} <= set(facts.FEATURES)
    said = entry(an_alloc(), [], epoch="1-a", uid="u", oddity=None)
    assert (said["group"], said["index"]) == ("group-0", 0)
    assert spec.task(WEB).features >= {"ports"}


class Keeper:
    """Notes what it is asked to do."""

    protocol = 2

    def __init__(self):
        self.refused, self.spawned = [], []

    def refuse(self, run, error):
        self.refused.append((run["id"], run["role"], error))

    def begin_spawn(self, order):
        self.spawned.append(order)
        return 1

    def finish(self, number):
        pass


@pytest.fixture
def executor(launcher, clock):
    found = Executor(Keeper(), launcher, clock)
    found.keeper = found._driver
    return found


@pytest.mark.parametrize("role", ["main", "pre_start"])
def test_nothing_is_started_whose_port_is_held_not_even_its_hook(executor, monkeypatch, role):
    why = "port 20001 is held by nginx (pid 812)"
    monkeypatch.setattr(ports, "held", lambda numbers: why if 20001 in numbers else None)
    alloc = with_peers(WEB, SIDE, ports=PORTS)
    executor.perform([Start(alloc, alloc.tasks[0], 3, "wanted", role), Start(alloc, alloc.tasks[1], 0, "")])
    assert executor.keeper.refused == [("d.0/web/1.3", "main", why)]
    assert [order["run"]["task"] for order in executor.keeper.spawned] == ["side"]


def test_cleaning_up_needs_no_port(executor, monkeypatch):
    monkeypatch.setattr(ports, "held", lambda _: "port 20001 is held by another program")
    alloc = with_peers({**WEB, "hooks": {"post_stop": "/bin/true"}}, ports=PORTS)
    executor.perform([Start(alloc, alloc.tasks[0], 0, "", "post_stop")])
    assert executor.keeper.refused == []
    assert len(executor.keeper.spawned) == 1


def test_the_switch_is_set_with_the_start_and_no_old_keeper_is_trusted_with_it(executor):
    alloc = with_peers(a_task("app", "/bin/true"))
    start = Start(alloc, alloc.tasks[0], 0, "wanted", "main", 1030.0)
    executor.perform([start])
    assert [order["deadline"] for order in executor.keeper.spawned] == [1030.0]
    executor.keeper.protocol = 1
    again = dataclasses.replace(start, attempt=1)
    assert executor.perform([again]) is not None
    assert "older release" in executor.trouble(again.run)
    assert len(executor.keeper.spawned) == 1


def test_containers_are_told_the_same_in_what_they_publish_run_and_are_probed_with(tmp_path):
    who, policy = Identity("n", "u", "s", "m"), Policy(tmp_path / "p.yaml")
    engine = Engine(name="docker", path="/usr/bin/docker", version="28.2.2")
    desk = Desk(engine, {}, tmp_path, "u", policy)
    boxed = a_task(
        "web",
        ["serve", "${port.http}"],
        config={"driver": "container", "image": "x:1", "ports": ["${port.http}:80"]},
        ports={"http": 0},
    )
    alloc = with_peers(boxed, ports={"web": {"http": 20001}}, db_server=UP)
    launcher = Launcher(tmp_path, who, policy, None, desk)
    web = alloc.tasks[0]
    argv = launcher.order(alloc, web, "r", "main")["argv"]
    assert "--publish=20001:80" in argv
    assert argv[-2:] == ["serve", "20001"]
    (env,) = (tmp_path / "containers").glob("*/env")
    assert "MUSTER_PORT_HTTP=20001\n" in env.read_text()
    assert "MUSTER_ADDR_DB_SERVER=10.0.0.1,10.0.0.2\n" in env.read_text()
    probe = launcher.probe(alloc, web, a_run("web"), ["check", "${port.http}"])
    assert probe["argv"][-2:] == ["check", "20001"]
