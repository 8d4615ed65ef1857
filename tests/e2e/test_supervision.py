"""The life of a task on one node, as its user sees it: limits, health, hooks, isolation, trees."""

import os
import signal
import subprocess

import psutil
import pytest

from agentd.containers.engine import _may_raise_limits
from tests.conftest import eventually
from tests.e2e.conftest import free_port, pid_and_start, shell
from tests.integration.test_containers import IMAGE, podman  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e


def a_task(name="t", script="exec sleep 600", **more):
    config = {"command": shell(script), **more.pop("config", {})}
    return {"name": name, "config": config, **more}


def row(found, name="t"):
    return next(task for task in found["tasks"] if task["name"] == name)


def task_of(cluster, deployment, name="t"):
    rows = [task for task in cluster.deployment(deployment)["tasks"] if task["name"] == name]
    return rows[0] if rows else {"state": "?", "reason": ""}


def sleepers(seconds):
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


# -- limits


def test_limits_are_read_back_and_changed_under_the_living_process(running):
    limits = {"memory": "256M", "cpus": "0.5", "pids": 50}
    deployment = running.deploy(running.post("x", a_task(resources={"limits": limits})))
    before = row(running.wait(deployment, "RUNNING"))
    who = pid_and_start(before)
    assert (before["limits"]["memory"], before["limits"]["cpus"], before["limits"]["pids"]) == (
        256 << 20,
        0.5,
        50,
    )
    assert before["limits"]["by"].startswith("cgroup")
    done = running.muster("limit", deployment[:8], "t", "--memory", "128M", "--pids", "60")
    assert done.returncode == 0, done.stderr
    assert "cpus 0.5, memory 128M, pids 60" in done.stderr
    eventually(lambda: task_of(running, deployment)["limits"].get("memory") == 128 << 20)
    after = task_of(running, deployment)
    assert (after["limits"]["cpus"], after["limits"]["pids"]) == (0.5, 60), "what is not named stays"
    assert running.muster("limit", deployment[:8], "t", "--cpus", "none").returncode == 0
    eventually(lambda: "cpus" not in task_of(running, deployment)["limits"])
    assert running.muster("limit", deployment[:8], "t").returncode == 2
    assert pid_and_start(after) == who
    assert after["restarts"] == 0
    running.agents["web-1"].kill()
    running.agents["web-1"].wait()
    running.start_agent()
    eventually(lambda: task_of(running, deployment)["limits"].get("memory") == 128 << 20)
    assert pid_and_start(task_of(running, deployment)) == who


def test_a_limit_that_the_kernel_refuses_is_said_at_once(running):
    eater = "exec python3 -c 'import time; x = bytearray(60 << 20); time.sleep(600)'"
    deployment = running.deploy(
        running.post("x", a_task(script=eater, resources={"limits": {"memory": "200M"}}))
    )
    pid = row(running.wait(deployment, "RUNNING"))["pid"]
    eventually(lambda: psutil.Process(pid).memory_info().rss > 60 << 20)
    by = task_of(running, deployment)["limits"]["by"]
    running.muster("limit", deployment[:8], "t", "--memory", "2M")
    if by == "cgroup v2":
        return  # there it is reclaimed, or killed for: no refusal
    eventually(lambda: "error" in task_of(running, deployment)["limits"])  # it looks for a second only
    done = running.muster("limit", deployment[:8], "t", "--memory", "2M")
    assert done.returncode == 1
    assert "the kernel does not take 2097152" in done.stderr
    assert task_of(running, deployment)["limits"]["memory"] == 200 << 20


def test_limits_for_a_task_that_had_none(running):
    deployment = running.deploy(running.post("x", a_task()))
    who = pid_and_start(row(running.wait(deployment, "RUNNING")))
    assert running.muster("limit", deployment[:8], "t", "--memory", "64M").returncode == 0
    eventually(lambda: task_of(running, deployment).get("limits", {}).get("memory") == 64 << 20)
    assert pid_and_start(task_of(running, deployment)) == who


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"task": "nope", "limits": {}}, 400, "there is no task 'nope'; there are t"),
        ({"task": "t", "limits": {"memory": "1K"}}, 400, "limits.memory: less than 1M"),
        ({"task": "t", "limits": {"memory": "32M"}}, 400, "limits.memory: t reserves more than that"),
        ({"task": "t"}, 400, "limits: Missing data"),
        ({"limits": {}}, 400, "task: Missing data"),
    ],
)
def test_limits_that_make_no_sense_change_nothing(running, body, status, says):
    reserved = {"reservations": {"memory": "64M"}}
    deployment = running.deploy(running.post("x", a_task(resources=reserved)))
    found, answer = running.call(f"/v1/deployments/{deployment}/limits", body)
    assert (found, says in answer["detail"]) == (status, True), answer


def test_what_is_killed_for_memory_is_said_to_have_been(running):
    eater = "python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'"
    task = a_task(script=eater, resources={"limits": {"memory": "32M"}}, restart={"condition": "no"})
    found = row(running.wait(running.deploy(running.post("x", task)), "FAILED"))
    assert "killed for want of memory (OOM)" in found["reason"]
    assert found["oom_kills"] >= 1


BOMB = """
import os, sys, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(0.05)
    except OSError:
        time.sleep(0.01)
"""


def test_a_fork_bomb_is_held_and_ended(running):
    marker = f"bomb-{running.port}"
    bomb = {
        "name": "t",
        "config": {"command": ["python3", "-c", BOMB, marker]},
        "resources": {"limits": {"pids": 60}},
    }

    def bombs():
        return [p.pid for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[-1] == marker]

    deployment = running.deploy(running.post("bomb", bomb))
    running.wait(deployment, "RUNNING")
    eventually(lambda: len(bombs()) > 30)
    other = running.deploy(running.post("other", a_task()))
    running.wait(other, "RUNNING")
    assert len(bombs()) <= 60
    running.stop(deployment)
    running.wait(deployment, "STOPPED", seconds=60)
    assert not bombs()


def test_without_control_groups_limits_are_sampled_and_the_status_says_so(cluster):
    cluster.start_manager()
    cluster.start_agent(cgroups="none")
    children = "python3 -c 'import os, time\nfor _ in range(3):\n  if os.fork() == 0: x = bytearray(30 << 20)\ntime.sleep(600)'"
    limits = {"memory": "64M", "cpus": "1"}
    gate = f"until [ -e {cluster.home}/gate ]; do sleep 0.05; done"
    task = a_task(
        script=f"{gate}; exec {children}", resources={"limits": limits}, restart={"condition": "no"}
    )
    deployment = cluster.deploy(cluster.post("x", task))
    seen = row(cluster.wait(deployment, "RUNNING"))["limits"]
    assert seen == {"memory": 64 << 20, "sampled": ["memory"], "not_enforced": ["cpus"], "by": "sampling"}
    (cluster.home / "gate").touch()
    found = row(cluster.wait(deployment, "FAILED"))
    assert "out of memory" in found["reason"]
    assert "(sampled)" in found["reason"]


def test_figures_of_tasks_and_node_travel_in_the_heartbeat(running):
    burner = a_task(script="while :; do :; done", resources={"limits": {"cpus": "0.2", "memory": "64M"}})
    deployment = running.deploy(running.post("x", burner))
    running.wait(deployment, "RUNNING")
    found = eventually(
        lambda: (used := task_of(running, deployment).get("usage", {})) and used.get("throttled") and used
    )
    assert "M" in running.muster("ps").stdout
    assert found["threads"] >= 1
    assert found["rss"] > 0
    assert found["restarts"] == 0
    node = eventually(lambda: (found := running.nodes().get("web-1", {})).get("load") and found)
    assert len(node["load"]) == 3
    assert node["disk_total"] > node["disk_used"] > 0


# -- restart


def test_a_failed_task_stays_down_until_it_is_restarted(running):
    gate = running.home / "gate"
    script = f"test -e {gate} && exec sleep 600; exit 9"
    task = a_task(script=script, restart={"max_attempts": 1, "delay": "10ms"})
    deployment = running.deploy(running.post("x", task))
    running.wait(deployment, "FAILED")
    gate.touch()
    assert running.deployment(deployment)["status"] == "FAILED"
    done = running.muster("restart", deployment[:8])
    assert done.returncode == 0, done.stderr
    assert row(running.deployment(deployment))["state"] == "running", "it waits until all is up"
    assert row(running.wait(deployment, "RUNNING"))["restarts"] == 0
    running.stop(deployment)
    running.wait(deployment, "STOPPED")
    status, answer = running.call(f"/v1/deployments/{deployment}/restart", {})
    assert (status, answer["detail"]) == (
        409,
        "it was stopped, and that is for ever: deploy its template again",
    )
    assert running.call("/v1/deployments/nope/restart", {})[0] == 404


def test_a_restart_of_what_runs_replaces_it_after_its_grace(running):
    deployment = running.deploy(running.post("x", a_task()))
    before = pid_and_start(row(running.wait(deployment, "RUNNING")))
    for _ in range(3):
        assert running.call(f"/v1/deployments/{deployment}/restart", {})[0] == 200
        assert running.muster("restart", deployment[:8]).returncode == 0
        after = pid_and_start(row(running.wait(deployment, "RUNNING")))
        assert after != before
        assert not psutil.pid_exists(before[0])
        before = after


def test_a_restart_followed_by_a_stop_ends_all_of_it_and_runs_its_hooks(alone):
    """The older generation is still ending when the order to stop comes: nothing is over before it is."""
    ledger = alone.home / "hooks"
    ready = alone.home / "ready"
    script = f"trap 'sleep 4; exit 0' TERM; touch {ready}; while :; do sleep 0.05; done"
    hooks = {"post_stop": shell(f"echo begin >> {ledger}; sleep 0.5; echo end >> {ledger}")}
    deployment = alone.deploy(alone.post("x", a_task(script=script, hooks=hooks)))
    pid = row(alone.wait(deployment, "RUNNING"))["pid"]
    eventually(ready.exists)
    assert alone.call(f"/v1/deployments/{deployment}/restart", {})[0] == 200
    eventually(lambda: "older generation" in task_of(alone, deployment)["reason"])
    alone.stop(deployment)
    alone.wait(deployment, "STOPPED")
    assert not psutil.pid_exists(pid)
    assert ledger.read_text().split() == ["begin", "end"]
    eventually(lambda: alone.nodes().get("web-1", {}).get("running") == 0)


def test_restart_and_stop_at_once_end_as_a_stop(running):
    for _ in range(5):
        deployment = running.deploy(running.post("x", a_task()))
        running.wait(deployment, "RUNNING")
        running.call(f"/v1/deployments/{deployment}/restart", {})
        running.stop(deployment)
        running.wait(deployment, "STOPPED")


def test_policy_goes_on_while_the_store_is_away(running):
    beats = running.home / "beats"
    script = f"echo x >> {beats}; sleep 0.1; exit 1"
    task = a_task(
        script=script, restart={"condition": "always", "delay": "50ms", "factor": 1, "max_attempts": 100000}
    )
    running.deploy(running.post("x", task))
    eventually(lambda: beats.exists() and beats.read_text().count("x") > 2)
    running.manager.send_signal(signal.SIGTERM)
    running.manager.wait(30)
    before = beats.read_text().count("x")
    eventually(lambda: beats.read_text().count("x") > before + 3)


# -- health


def test_health_of_every_kind_and_who_waits_for_it(running):
    port = free_port()
    ready = running.home / "ready"
    server = f"cd {running.home} && exec python3 -m http.server --bind 127.0.0.1 {port}"
    fast = {"interval": "200ms", "timeout": "2s", "retries": 3}
    tasks = [
        a_task("http", server, healthcheck={"http": f"http://127.0.0.1:{port}/ready", "body": "yes", "on_failure": "report", **fast}),
        a_task("tcp", healthcheck={"tcp": port, **fast}),
        a_task("exec", healthcheck={"test": ["CMD-SHELL", f"test -e {ready}"], "on_failure": "report", **fast}),
        a_task("app", depends_on={"http": {"condition": "service_healthy"}, "tcp": "healthy", "exec": "healthy"}),
    ]  # fmt: skip
    deployment = running.deploy(running.post("x", *tasks))
    eventually(lambda: task_of(running, deployment, "tcp").get("health") == "healthy")
    waiting = eventually(
        lambda: (found := task_of(running, deployment, "app"))["state"] == "waiting" and found
    )
    assert "waits for exec to be healthy" in waiting["reason"]
    ready.write_text("yes, I am")
    found = running.wait(deployment, "RUNNING")
    assert {name: row(found, name)["health"] for name in ("http", "tcp", "exec")} == dict.fromkeys(
        ("http", "tcp", "exec"), "healthy"
    )
    ready.write_text("no")
    found = running.wait(deployment, "DEGRADED")
    assert "task http on web-1 is unhealthy" in found["reason"]
    assert "lacks 'yes'" in row(found, "http")["health_reason"]
    assert row(found, "http")["restarts"] == 0


def test_an_unhealthy_task_is_restarted_and_then_given_up(running):
    check = {"exec": "/bin/false", "interval": "100ms", "retries": 2, "timeout": "1s"}
    task = a_task(healthcheck=check, restart={"max_attempts": 1, "delay": "10ms"})
    found = row(running.wait(running.deploy(running.post("x", task)), "FAILED"))
    assert found["restarts"] == 1
    assert "stopped, unhealthy: " in found["reason"]
    assert "given up after 1 restarts" in found["reason"]


# -- hooks and duration


def test_hooks_run_around_every_run_as_the_task_s_user(running):
    ledger = running.home / "hooks"
    ledger.touch()
    ledger.chmod(0o666)
    running.home.chmod(0o755)
    note = f"echo $MUSTER_TASK $0 $(id -u) >> {ledger}"
    hooks = {"pre_start": ["/bin/sh", "-c", note, "before"], "post_stop": ["/bin/sh", "-c", note, "after"]}
    user = "65534:65534" if os.geteuid() == 0 else str(os.geteuid())
    task = {
        "name": "t",
        "config": {"command": ["/bin/sh", "-c", f"{note}; kill -9 $$", "main"], "user": user},
        "hooks": hooks,
        "restart": {"max_attempts": 1, "delay": "10ms"},
    }
    for parent in running.home.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    running.wait(running.deploy(running.post("x", task)), "FAILED")
    uid = user.partition(":")[0]
    assert ledger.read_text().split("\n")[:-1] == [
        f"t {what} {uid}" for what in ("before", "main", "after") * 2
    ]


def test_a_failed_pre_start_is_a_failed_start_and_a_slow_post_stop_is_waited_for(running):
    bad = a_task(hooks={"pre_start": "/bin/false"}, restart={"condition": "no"})
    found = row(running.wait(running.deploy(running.post("bad", bad)), "FAILED"))
    assert found["reason"] == "pre_start hook: exit code 1"
    none = a_task(hooks={"pre_start": "/nope/nothing"})
    found = row(running.wait(running.deploy(running.post("none", none)), "FAILED"))
    assert found["reason"] == "pre_start hook: /nope/nothing does not exist on this node"
    gate = running.home / "gate"
    slow = a_task(hooks={"post_stop": shell(f"until [ -e {gate} ]; do sleep 0.02; done")})
    deployment = running.deploy(running.post("slow", slow))
    running.wait(deployment, "RUNNING")
    running.stop(deployment)
    eventually(lambda: "post_stop hook runs" in task_of(running, deployment)["reason"])
    assert running.deployment(deployment)["status"] == "STOPPING"
    gate.touch()
    running.wait(deployment, "STOPPED")


def test_a_duration_ends_a_task_as_completed(running):
    task = a_task(duration="500ms", restart={"condition": "always"})
    found = row(running.wait(running.deploy(running.post("x", task)), "COMPLETED"))
    assert found["reason"] == "its duration is over (0.5 s)"
    assert found["exit_code"] == 143


# -- trees


@pytest.mark.parametrize("groups", ["auto", "none"])
def test_nothing_of_a_tree_outlives_its_task_however_it_forked(cluster, groups):
    cluster.start_manager()
    cluster.start_agent(cgroups=groups)
    seconds = "641" if groups == "auto" else "642"
    daemon = (
        "python3 -c 'import os\n"
        "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: os.execvp(\"sleep\", [\"sleep\", \"SECONDS\"])'"
    ).replace("SECONDS", seconds)  # fmt: skip
    script = (
        f"{daemon}; setsid sleep {seconds} & (trap '' TERM; sleep {seconds}) & wait; exec sleep {seconds}"
    )
    stopped = cluster.deploy(cluster.post("stopped", a_task(script=script, stop={"timeout": "500ms"})))
    eventually(lambda: len(sleepers(seconds)) == 3)
    cluster.stop(stopped)
    cluster.wait(stopped, "STOPPED")
    assert not sleepers(seconds)
    assert f"(sleep {seconds})" in task_of(cluster, stopped)["reason"]
    ended = cluster.deploy(
        cluster.post(
            "ended",
            a_task(
                script=f"{daemon}; setsid sleep {seconds} & sleep 0.5; exit 3", restart={"condition": "no"}
            ),
        )
    )
    found = row(cluster.wait(ended, "FAILED"))
    assert not sleepers(seconds)
    assert found["exit_code"] == 3
    assert f"(sleep {seconds})" in found["reason"]


def test_tasks_stop_in_reverse_order_of_their_dependencies(running):
    ledger = running.home / "order"
    trap = f"trap 'sleep 0.2; echo $MUSTER_TASK >> {ledger}; exit 0' TERM; touch {ledger}.$MUSTER_TASK"
    script = f"{trap}; while :; do sleep 0.02; done"
    tasks = [
        a_task("db", script),
        a_task("app", script, depends_on=["db"]),
        a_task("web", script, depends_on=["app"]),
    ]
    deployment = running.deploy(running.post("x", *tasks))
    running.wait(deployment, "RUNNING")
    eventually(lambda: len(list(running.home.glob("order.*"))) == 3)  # all have set their traps
    running.stop(deployment)
    running.wait(deployment, "STOPPED")
    assert ledger.read_text().split() == ["web", "app", "db"]


# -- isolation


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become")
def test_a_task_of_another_user_can_neither_signal_the_keeper_nor_read_what_others_have(running):
    secret = a_task("secret", config={"env": {"TOKEN": "s3cr3t"}})
    deployment = running.deploy(running.post("secret", secret))
    pid = row(running.wait(deployment, "RUNNING"), "secret")["pid"]
    keeper = psutil.Process(pid).ppid()
    guard = psutil.Process(keeper).ppid()
    script = (
        f"for p in {keeper} {guard} {pid}; do kill -0 $p && exit 1; done; "
        f"cat /proc/{pid}/environ && exit 2; grep NoNewPrivs:.1 /proc/self/status || exit 3; "
        "test $(id -G) = 65534 || exit 4; test $(umask) = 0077 || exit 5; exit 0"
    )
    spy = a_task(
        "t", script, config={"user": "65534:65534", "umask": "0077", "cwd": "/"}, restart={"condition": "no"}
    )
    found = running.wait(running.deploy(running.post("spy", spy)), "COMPLETED", "FAILED")
    assert row(found)["exit_code"] == 0, found


def test_the_node_s_own_policy_holds_whatever_the_manager_asks(running):
    policy = running.home / "agent-web-1" / "policy.yaml"
    policy.write_text(f'forbid_root: true\nusers: [nobody]\ncommands: ["{os.path.realpath("/bin/sleep")}"]\n')
    sleep, user = {"command": "sleep 600", "cwd": "/"}, {"user": "nobody"}
    cases = {
        "root": ({**sleep}, "forbids tasks of root: give the task a user"),
        "other": ({**sleep, "user": "1:1"}, "does not list user 1"),
        "shell": ({"command": shell("true"), **user}, "does not list the command"),
    }
    if os.geteuid() != 0:
        cases = {}
    for name, (config, says) in cases.items():
        found = running.wait(running.deploy(running.post(name, {"name": "t", "config": config})), "FAILED")
        assert says in row(found)["reason"]
    if os.geteuid() == 0:
        running.wait(
            running.deploy(running.post("fine", {"name": "t", "config": {**sleep, **user}})), "RUNNING"
        )
    policy.write_text("users: nobody\n")
    found = running.wait(running.deploy(running.post("broken", {"name": "t", "config": sleep})), "FAILED")
    assert "cannot be read, so nothing is allowed: users: not one of" in row(found)["reason"]


def test_a_limit_that_this_kernel_refuses_is_refused_by_name(running):
    hard = subprocess.run(shell("ulimit -Hn"), capture_output=True, text=True, check=True).stdout.strip()
    if hard == "unlimited" or _may_raise_limits():
        pytest.skip("this agent may raise its own limits")
    task = a_task(ulimits={"nofile": int(hard) + 1})
    found = row(running.wait(running.deploy(running.post("x", task)), "FAILED"))
    assert found["reason"] == f"ulimit nofile: {int(hard) + 1} is above this agent's hard limit {hard}"


# -- containers


@pytest.mark.usefixtures("podman")
def test_a_container_lives_like_any_task(cluster):
    running = cluster
    cluster.start_manager()
    cluster.start_agent(containers="auto")
    port_file = running.home / "mounted"
    port_file.mkdir()
    task = {
        "name": "t",
        "config": {
            "driver": "container", "image": IMAGE, "network": "none",
            "command": shell("trap 'exit 7' TERM; echo $MUSTER_TASK $A > /m/said; while :; do sleep 0.05; done"),
            "env": {"A": "b"}, "mounts": [f"{port_file}:/m"],
        },
        "resources": {"limits": {"memory": "64M", "pids": 20}},
        "healthcheck": {"test": ["CMD", "/bin/true"], "interval": "500ms", "timeout": "10s"},
    }  # fmt: skip
    deployment = running.deploy(running.post("x", task))
    found = row(running.wait(deployment, "RUNNING", seconds=60))
    who = pid_and_start(found)
    eventually(lambda: (port_file / "said").exists() and (port_file / "said").read_text() == "t b\n")
    eventually(lambda: task_of(running, deployment)["limits"].get("memory") == 64 << 20, 40)
    assert task_of(running, deployment)["limits"]["by"] == "podman"
    eventually(lambda: task_of(running, deployment).get("health") == "healthy", 40)
    running.agents["web-1"].kill()
    running.agents["web-1"].wait()
    running.start_agent(containers="auto")
    running.wait(deployment, "RUNNING")
    assert pid_and_start(task_of(running, deployment)) == who
    running.stop(deployment)
    running.wait(deployment, "STOPPED")
    assert task_of(running, deployment)["exit_code"] == 7
    bad = {
        "name": "t",
        "config": {"driver": "container", "image": "localhost/no-such:1"},
        "restart": {"condition": "no"},
    }
    found = row(running.wait(running.deploy(running.post("bad", bad)), "FAILED", seconds=60))
    assert "localhost/no-such:1" in found["reason"]
