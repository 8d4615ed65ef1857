"""What users see of their tasks: running, failing, stopping, frozen, gone offline."""

import contextlib
import os
import shutil
import signal
import time

import psutil
import pytest

from tests.conftest import eventually
from tests.e2e.conftest import pid_and_start, shell

pytestmark = pytest.mark.e2e

SLEEP = {"name": "t", "config": {"command": "sleep 600"}}


def a_task(name, script, **more):
    return {"name": name, "config": {"command": shell(script)}, **more}


def row(found, name="t"):
    return next(task for task in found["tasks"] if task["name"] == name)


def test_commands_that_cannot_run_say_why_in_the_api_and_in_ps(running):
    home = running.home
    (home / "noexec").write_text("#!/bin/sh\n")
    (home / "noshebang").write_text("echo hi\n")
    (home / "noshebang").chmod(0o755)
    (home / "badshebang").write_text("#!/nope/python\n")
    (home / "badshebang").chmod(0o755)
    wanted = {
        "missing": (f"{home}/missing", f"{home}/missing does not exist on this node"),
        "directory": (f"{home}", f"{home} is a directory"),
        "noexec": (f"{home}/noexec", f"{home}/noexec is not executable: it lacks the exec bit (chmod +x)"),
        "noshebang": (f"{home}/noshebang", f"{home}/noshebang lacks a shebang (#!) line and is no program"),
        "badshebang": (f"{home}/badshebang", "its interpreter /nope/python does not exist on this node"),
        "nopath": ("no-such-program-anywhere", "no-such-program-anywhere is not in PATH"),
        "notdir": ("/etc/passwd/x", "a part of the path is not a directory"),
    }
    tasks = [{"name": name, "config": {"command": command}} for name, (command, _) in wanted.items()]
    tasks.append({"name": "nocwd", "config": {"command": "sleep 1", "cwd": "/nope"}})
    tasks.append({"name": "pin", "config": {"command": "web-1:sleep 5"}})
    tasks.append({"name": "nouser", "config": {"command": "sleep 1", "user": "nobody-of-this-name"}})
    deployment = running.deploy(running.post("bad", *tasks))
    found = running.wait(deployment, "FAILED")
    listed = running.muster("ps").stdout
    for name, (_, says) in wanted.items():
        assert row(found, name)["state"] == "failed"
        assert says in row(found, name)["reason"]
        assert says in listed
    assert "could not enter its directory /nope: No such file" in row(found, "nocwd")["reason"]
    assert "a pin is followed by an absolute path" in row(found, "pin")["reason"]
    assert "user nobody-of-this-name does not exist" in row(found, "nouser")["reason"]


def test_stop_is_sigterm_grace_sigkill_for_the_whole_group(running):
    ready = f"touch {running.home}/ready.$MUSTER_TASK"
    polite = a_task(
        "polite", f"trap 'exit 7' TERM; {ready}; while :; do sleep 0.05; done", stop={"timeout": "20s"}
    )
    stubborn = a_task(
        "stubborn", f"trap '' TERM; (trap '' TERM; {ready}; sleep 605) & (setsid sleep 606) & while :; do sleep 0.1; done",
        stop={"timeout": "1s"},
    )  # fmt: skip
    deployment = running.deploy(running.post("x", polite, stubborn))
    found = running.wait(deployment, "RUNNING")
    leader = row(found, "stubborn")["pid"]

    def group():
        return [p.pid for p in psutil.process_iter() if _in_group(p.pid, leader)]

    eventually(lambda: len(group()) >= 2 and sleeping("606"))
    eventually(lambda: len(list(running.home.glob("ready.*"))) == 2)  # their traps are set
    stopped = running.muster("stop", deployment[:8])
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.strip() == deployment
    found = running.deployment(deployment)
    assert (row(found, "polite")["state"], row(found, "polite")["exit_code"]) == ("stopped", 7)
    assert row(found, "stubborn")["exit_code"] == 137
    told = row(found, "stubborn")["reason"]
    assert told.startswith("killed by SIGKILL (exit code 137); it left processes behind, which were killed: ")
    assert told.endswith(" (sleep 606)"), "it made itself a session of its own"
    eventually(lambda: group() == [])  # whoever is dead is buried
    listed = running.muster("ps", "-a").stdout
    assert "137" in listed
    assert not sleeping("606")


def sleeping(seconds):
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


def _in_group(pid, leader):
    try:
        return os.getpgid(pid) == leader
    except ProcessLookupError:
        return False


def test_what_a_task_leaves_behind_ends_with_it(running):
    deployment = running.deploy(running.post("x", a_task("t", "sleep 607 & exit 0")))
    running.wait(deployment, "COMPLETED")
    eventually(
        lambda: not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "607"]]
    )


def test_a_failing_task_is_restarted_and_then_given_up(running):
    policy = {"delay": "50ms", "max_attempts": 2}
    deployment = running.deploy(running.post("x", a_task("t", "exit 9", restart=policy)))
    found = running.wait(deployment, "FAILED")
    assert row(found)["restarts"] == 2
    assert row(found)["exit_code"] == 9
    assert "given up after 2 restarts" in row(found)["reason"]
    assert "task t on web-1 failed: exit code 9" in found["reason"]


def test_dependencies_and_shared_directory(running):
    first = a_task("a", "sleep 0.3; echo made > $MUSTER_ALLOC_DIR/x")
    second = {**a_task("b", 'test "$(cat ${alloc.dir}/x)" = made'), "depends_on": {"a": "completed"}}
    running.wait(running.deploy(running.post("x", first, second)), "COMPLETED")


def test_a_task_gets_its_environment_user_limits_and_nothing_else(running):
    script = (
        "env | sort > $MUSTER_ALLOC_DIR/env; id -u > $MUSTER_ALLOC_DIR/id; ulimit -n >> $MUSTER_ALLOC_DIR/id;"
        "ls -l /proc/self/fd | grep -c pipe >> $MUSTER_ALLOC_DIR/id; chmod 644 $MUSTER_ALLOC_DIR/*; sleep 600"
    )
    task = a_task("t", script, ulimits={"nofile": 123})
    task["config"] |= {"env": {"A": "b c"}}
    if os.geteuid() == 0:
        task["config"]["user"] = "65534:65534"
        running.home.chmod(0o755)
        for parent in running.home.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    deployment = running.deploy(running.post("x", task))
    running.wait(deployment, "RUNNING")
    shared = running.home / "agent-web-1" / "alloc" / f"{deployment}.0"
    eventually(lambda: (shared / "id").exists() and len((shared / "id").read_text().split()) == 3)
    lines = dict(line.split("=", 1) for line in (shared / "env").read_text().splitlines())
    assert lines["A"] == "b c"
    assert (lines["MUSTER_NODE"], lines["MUSTER_TASK"], lines["MUSTER_DEPLOYMENT"]) == (
        "web-1",
        "t",
        deployment,
    )
    assert not {"MUSTER_FAULTS", "VIRTUAL_ENV", "SSH_AUTH_SOCK"} & lines.keys()
    user, files, pipes = (shared / "id").read_text().split()
    assert (user, files, pipes) == ("65534" if os.geteuid() == 0 else str(os.getuid()), "123", "1")


def test_kill_9_of_the_brain_disturbs_nothing_and_loses_no_exit_code(running):
    gate = running.home / "gate"
    script = f"until [ -e {gate} ]; do sleep 0.05; done; exit 5"
    quick = a_task("quick", script, restart={"condition": "no"})
    deployment = running.deploy(running.post("x", SLEEP, quick))
    found = running.wait(deployment, "RUNNING")
    before, pid = pid_and_start(row(found)), row(found, "quick")["pid"]
    running.agents["web-1"].kill()
    running.agents["web-1"].wait()
    gate.touch()
    eventually(lambda: not psutil.pid_exists(pid))
    running.start_agent()
    found = running.wait(deployment, "DEGRADED")
    assert pid_and_start(row(found)) == before
    assert row(found, "quick")["exit_code"] == 5
    assert row(found, "quick")["restarts"] == 0


def test_kill_9_of_the_keeper_disturbs_nothing(running):
    deployment = running.deploy(running.post("x", SLEEP))
    before = pid_and_start(row(running.wait(deployment, "RUNNING")))
    keeper = next(p for p in psutil.process_iter(["cmdline"]) if str(running.home) in " ".join(p.info["cmdline"] or []) and "agentd/keeper" in " ".join(p.info["cmdline"]))  # fmt: skip
    keeper.kill()
    eventually(lambda: "adopts the tasks" in running.log("agent-web-1.log"))
    assert pid_and_start(row(running.wait(deployment, "RUNNING"))) == before
    os.kill(before[0], signal.SIGTERM)
    eventually(lambda: row(running.deployment(deployment))["restarts"] == 1)
    assert row(running.wait(deployment, "RUNNING"))["pid"] != before[0]


def frozen(cluster):
    return cluster.nodes().get("web-1", {}).get("frozen")


def local_view(cluster):
    import json
    import re
    import urllib.request

    port = re.findall(r"local port (\d+)", cluster.log("agent-web-1.log"))[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return json.load(answer)


def test_an_unreachable_store_freezes_and_nothing_stops(running):
    deployment = running.deploy(running.post("x", SLEEP))
    before = pid_and_start(row(running.wait(deployment, "RUNNING")))
    running.manager.terminate()
    running.manager.wait(30)
    assert "does not answer" in eventually(lambda: local_view(running)["frozen"])
    time.sleep(1)
    assert pid_and_start(row({"tasks": [{"name": "t", "pid": before[0]}]})) == before
    running.start_manager()
    eventually(lambda: local_view(running)["frozen"] is None)
    eventually(lambda: running.online("web-1"))
    assert pid_and_start(row(running.wait(deployment, "RUNNING"))) == before
    running.wait(running.deploy("x"), "RUNNING")


def test_a_flushed_store_freezes_and_its_snapshot_brings_everything_back(running):
    deployment = running.deploy(running.post("x", SLEEP))
    before = pid_and_start(row(running.wait(deployment, "RUNNING")))
    eventually(lambda: _snapshot_is_level(running))
    running.client().flushall()
    lacks = "no desired state for this node, though it had one"
    eventually(lambda: lacks in (local_view(running)["frozen"] or ""))
    said = b'"frozen":"the store has no desired state'
    eventually(lambda: said in (running.client().get("muster:n:{web-1}:hb") or b""))
    status, answer = running.call("/readyz")
    assert status == 503
    assert answer["checks"]["store"].startswith("data lost: the store holds no Muster data")
    time.sleep(3)  # the snapshot must outlive several chances to be overwritten
    running.manager.terminate()
    assert running.manager.wait(30) == 0
    running.start_manager(wait=False)
    eventually(lambda: "the store is empty, though cluster" in running.log("manager.log"), 40)
    eventually(
        lambda: _answers(running), 40
    )  # told to end while it starts, it leaves its server to the kernel
    running.manager.terminate()
    assert running.manager.wait(30) == 0
    shutil.rmtree(running.db.with_name(running.db.name + ".d"))
    running.start_manager()
    eventually(lambda: running.online("web-1") and local_view(running)["frozen"] is None, 40)
    assert pid_and_start(row(running.wait(deployment, "RUNNING"))) == before
    running.wait(running.deploy("x"), "RUNNING")


def _answers(cluster):
    with contextlib.suppress(OSError):
        return cluster.call("/healthz")[0] == 200
    return False


def _snapshot_is_level(cluster):
    """Two looks at an unchanging file, later than the last record."""
    first = cluster.db.stat().st_mtime_ns if cluster.db.exists() else 0
    time.sleep(5)
    return first and cluster.db.stat().st_mtime_ns == first


def test_a_copy_of_the_snapshot_alone_is_a_whole_manager(alone, tmp_path_factory):
    alone.post("other", SLEEP)
    deployment = alone.deploy(alone.post("x", SLEEP))
    alone.wait(deployment, "RUNNING")
    eventually(lambda: _snapshot_is_level(alone))
    from tests.e2e.conftest import Cluster

    other = Cluster(tmp_path_factory.mktemp("copy"))
    shutil.copy(alone.db, other.db)
    try:
        other.start_manager()
        assert [each["name"] for each in other.call("/v1/templates")[1]["data"]] == ["other", "x"]
        assert other.deployment(deployment)["template"] == "x"
        assert oct(other.db.stat().st_mode)[-3:] == "600"
    finally:
        other.end()


def test_a_file_replaced_while_the_manager_was_down_is_the_state(alone):
    alone.post("first", SLEEP)
    deployment = alone.deploy("first")
    before = pid_and_start(row(alone.wait(deployment, "RUNNING")))
    eventually(lambda: _snapshot_is_level(alone))
    backup = alone.home / "backup"
    shutil.copy(alone.db, backup)
    alone.post("second", SLEEP)
    later = alone.deploy("second")
    lost = pid_and_start(row(alone.wait(later, "RUNNING")))
    alone.manager.terminate()
    alone.manager.wait(30)
    shutil.copy(backup, alone.db)
    alone.start_manager()
    assert [each["name"] for each in alone.call("/v1/templates")[1]["data"]] == ["first"]
    eventually(lambda: alone.online("web-1") and local_view(alone)["epoch"].startswith("2-"), 40)
    assert pid_and_start(row(alone.wait(deployment, "RUNNING"))) == before
    # What the restored state does not know keeps running, and is shown.
    eventually(lambda: local_view(alone)["unclaimed"] == [f"{later}.0"])
    assert pid_and_start({"pid": lost[0]}) == lost


def refusal(cluster, name):
    """The answer to a deployment that is refused; a leader who is late refuses it after the answer."""
    status, answer = cluster.call("/api/task/task_group/deploy", {"name": name})
    return answer if status == 409 else None


def test_a_dead_agent_s_node_goes_offline_and_takes_no_work(running):
    deployment = running.deploy(running.post("x", SLEEP))
    before = pid_and_start(row(running.wait(deployment, "RUNNING")))
    said = len(running.log("manager.log"))
    running.agents["web-1"].kill()
    eventually(lambda: not running.online("web-1"))
    eventually(lambda: "node web-1 is offline" in running.log("manager.log")[said:])
    answer = eventually(lambda: refusal(running, "x"))
    assert answer["nodes"] == [{"node": "web-1", "reason": "is offline"}]
    refused = eventually(lambda: "web-1" in (done := running.muster("deploy", "x")).stderr and done)
    assert refused.returncode == 1
    assert "web-1 is offline" in refused.stderr
    assert "is offline; this is what it last said" in row(running.deployment(deployment))["reason"]
    running.start_agent()
    assert pid_and_start(row(running.wait(deployment, "RUNNING"))) == before


def test_muster_in_all_its_words(running):
    file = running.home / "t.yaml"
    file.write_text("name: y\ntask_groups:\n- tasks:\n  - {name: a, config: {command: sleep 600}}\n")
    deployed = running.muster("deploy", str(file))
    assert deployed.returncode == 0, deployed.stderr
    assert "a on web-1: running" in deployed.stderr
    deployment = deployed.stdout.strip()
    assert "y         1        a" in running.muster("templates").stdout
    eventually(lambda: "web-1  online" in running.muster("nodes").stdout)
    import json

    assert json.loads(running.muster("ps", "-o", "json").stdout)[0]["id"] == deployment
    cli = running.muster("redis-cli", "--db-path", str(running.db), "HGETALL", "muster:n:{web-1}:desired")
    assert deployment in cli.stdout
    assert running.muster("stop", deployment).returncode == 0
    assert running.muster("ps").stdout.count(deployment[:8]) == 0
    assert running.muster("stop", "nope").returncode == 4
    assert running.muster("deploy", "nope").returncode == 4
    assert running.muster("deploy", "nope.yaml").returncode == 1
    assert running.muster("redis-cli", "--db-path", "nope.db", "PING").returncode == 4
    assert running.muster("nodes", "--url", "http://127.0.0.1:9").returncode == 6
    assert running.muster("frob").returncode == 2
    assert running.muster("stop", "").returncode == 2
    assert running.muster("nodes", "--url", "nonsense").returncode == 2
    assert "is a directory" in running.muster("deploy", str(running.home)).stderr
    assert "--db-path" in running.muster("redis-cli", "--help").stdout
    (running.home / "empty.yaml").write_text("")
    assert "empty.yaml: not a template" in running.muster("deploy", str(running.home / "empty.yaml")).stderr
    (running.home / "bad.yaml").write_text("name: [")
    bad = running.muster("deploy", str(running.home / "bad.yaml"))
    assert bad.returncode == 1
    assert "bad.yaml: while parsing" in bad.stderr
    (running.home / "slow.yaml").write_text(
        "name: s\ntask_groups: [{tasks: [{name: a, config: {command: sleep 600}}, {name: b, depends_on: {a: completed}, config: {command: 'true'}}]}]\n"
    )
    late = running.muster("deploy", str(running.home / "slow.yaml"), "--timeout", "10")
    assert late.returncode == 124
    assert "waits for a to be completed" in late.stderr
    (running.home / "fail.yaml").write_text(
        "name: f\ntask_groups: [{tasks: [{name: a, config: {command: /nope}}]}]\n"
    )
    failed = running.muster("deploy", str(running.home / "fail.yaml"))
    assert failed.returncode == 1
    assert "task a on web-1 failed: /nope does not exist on this node" in failed.stderr
