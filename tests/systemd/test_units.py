"""What the units promise, under a real systemd."""

import pytest

from tests.conftest import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ENDED, READY = "/var/ended", "/var/ready"
AGENT, MANAGER, TASKS = "muster-agent.service", "muster-manager.service", "muster-tasks.service"


def trap(name, number="TERM"):
    """A task that leaves a line behind when it is stopped in its own way."""
    script = (
        f"trap 'echo {name} >> {ENDED}; exit 0' {number}; touch {READY}-{name}; while :; do sleep 0.1; done"
    )
    return {
        "name": name,
        "config": {"command": ["/bin/sh", "-c", script]},
        "stop": {"signal": f"SIG{number}"},
    }


def ended(container):
    file = container.inside(ENDED)
    return sorted(file.read_text().split()) if file.exists() else []


def deployed(container, *tasks):
    """Who the tasks' processes are, by name; they have set their traps."""
    container.deploy("work", *tasks)
    eventually(lambda: all(container.inside(f"{READY}-{task['name']}").exists() for task in tasks))
    return {name: container.identity(task["pid"]) for name, task in container.tasks().items()}


def taken_over(container, before):
    """An agent that runs and reports exactly these processes."""
    eventually(lambda: [node["status"] for node in container.nodes()] == [0])
    eventually(
        lambda: {task["pid"] for task in container.tasks().values()} == {pid for pid, _ in before.values()}
    )
    assert {name: container.identity(pid) for name, (pid, _) in before.items()} == before
    assert all(task["restarts"] == 0 for task in container.tasks().values())


def main_pid(container):
    return container.unit(AGENT, "MainPID")["MainPID"]


def another_agent(container, than):
    eventually(lambda: container.active(AGENT) and main_pid(container) not in ("0", than), 40)


def test_manager_and_agent_run_by_their_units(running):
    for unit in (AGENT, MANAGER):
        assert running.active(unit), running.journal(unit)
        assert running.unit(unit, "NRestarts")["NRestarts"] == "0"
    # A machine that shares two processors with other tests may miss a heartbeat or two.
    eventually(lambda: [(node["id"], node["status"]) for node in running.nodes()] == [("web-1", 0)])
    running.run("systemctl", "stop", MANAGER)
    assert running.unit(MANAGER, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert "shutting down" in running.journal(MANAGER)
    assert running.inside("/var/lib/muster/manager/resource_monitor.db").exists()
    assert running.active(AGENT)


def test_stopping_the_agent_leaves_its_tasks_and_the_next_one_takes_them_over(running):
    before = deployed(running, trap("one"), trap("two"))
    running.run("systemctl", "stop", AGENT)
    found = running.unit(AGENT, "ActiveState", "Result", "ExecMainStatus")
    assert found == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert "shutting down" in running.journal(AGENT)
    assert {name: running.identity(pid) for name, (pid, _) in before.items()} == before
    running.run("systemctl", "start", AGENT)
    taken_over(running, before)
    was = main_pid(running)
    running.run("systemctl", "restart", AGENT)
    another_agent(running, was)
    taken_over(running, before)
    assert ended(running) == []


def test_a_killed_agent_is_started_again_and_its_tasks_stay(running):
    before = deployed(running, trap("one"))
    killed = main_pid(running)
    running.run("kill", "-KILL", killed)
    another_agent(running, killed)
    assert running.unit(AGENT, "NRestarts")["NRestarts"] == "1"
    taken_over(running, before)


def test_a_hung_agent_is_killed_when_it_is_to_stop_and_its_tasks_stay(running):
    before = deployed(running, trap("one"))
    extra = running.inside(f"/etc/systemd/system/{AGENT}.d/soon.conf")
    extra.write_text("[Service]\nTimeoutStopSec=1\n")
    running.run("systemctl", "daemon-reload")
    hung = main_pid(running)
    group = f"/sys/fs/cgroup{running.unit(AGENT, 'ControlGroup')['ControlGroup']}/hung"
    running.run(
        "sh", "-c", f"mkdir {group} && echo {hung} > {group}/cgroup.procs && echo 1 > {group}/cgroup.freeze"
    )
    running.run("systemctl", "restart", AGENT)
    assert running.identity(hung) is None
    another_agent(running, hung)
    taken_over(running, before)


def test_stopping_the_tasks_stops_the_agent_and_each_task_in_its_own_way(running):
    before = deployed(running, trap("one"), trap("two", "INT"))
    running.run("systemctl", "stop", TASKS)
    assert ended(running) == ["one", "two"]
    assert all(running.identity(pid) is None for pid, _ in before.values())
    assert not running.active(AGENT)
    assert running.unit(TASKS, "Result")["Result"] == "success", running.journal(TASKS)


@pytest.mark.parametrize("agent", ["runs", "is stopped"])
def test_power_off_stops_each_task_in_its_own_way_and_they_run_again_after_it(running, agent):
    running.run("systemctl", "enable", MANAGER, AGENT)
    deployed(running, trap("one"), trap("two", "INT"))
    if agent == "is stopped":
        running.run("systemctl", "stop", AGENT)
    running.power_off()
    assert ended(running) == ["one", "two"]
    running.boot()
    eventually(
        lambda: (
            {name for name, task in running.tasks().items() if task["state"] == "running"} == {"one", "two"}
        ),
        40,
    )
