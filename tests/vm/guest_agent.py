"""Runs in the virtual machine: the agent's groups, keeper and guard where cgroup v2 has all controllers."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

from agentd.cgroups import groups as group_module
from agentd.cgroups import places
from agentd.cgroups.groups import GroupError, Groups
from agentd.driver import Driver
from agentd.keeper import cgroup
from agentd.usage import Meter
from store.model.policies import Limits

EATER = "data = bytearray(256 << 20)"
BOMB = "while :; do sh -c 'sleep 700 & sleep 700' & done 2>/dev/null"
DAEMON = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "700"])
    os._exit(0)
os.wait()
"""


def wait(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("never came true")
        time.sleep(0.02)
    return found


class Node:
    """A keeper, and groups to run things in."""

    def __init__(self):
        self.home = Path("/var/lib/muster")
        self.home.mkdir(parents=True)
        self.groups = Groups(places.find("muster-test"))
        self.driver = Driver(self.home, lambda: None)
        self.driver.connect()
        self.number = 0

    def start(self, *argv, limits=Limits(), **more):  # noqa: B008
        self.number += 1
        run = {
            "id": f"a/t/1.{self.number}",
            "alloc": "a",
            "task": "t",
            "generation": 1,
            "attempt": self.number,
        }
        made = self.groups.make(f"run-{self.number}", limits)
        self.driver.spawn({
            "run": run, "path": argv[0], "argv": list(argv), "env": {"PATH": "/usr/bin:/bin", "HOME": "/"}, "cwd": "/",
            "uid": None, "gid": None, "rlimits": [], "stdout": "/tmp/out", "stderr": "/tmp/err", "stop_signal": 15,
            "grace": 1.0, "cgroups": made, **more,
        })  # fmt: skip
        return run["id"]

    def run(self, run_id):
        return next(run for run in self.driver.runs() if run.id == run_id)

    def ended(self, run_id):
        return wait(lambda: (run := self.run(run_id)).state == "exited" and run, 60)


def places_of(node):
    found = node.groups.places
    return {"kind": found.kind, "kill": found.kill, "controllers": sorted(found.controllers)}


def out_of_memory(node):
    run = node.ended(node.start(sys.executable, "-c", EATER, limits=Limits(memory=64 << 20)))
    return {"code": run.code, "oom": run.oom > 0}


def limits(node):
    run_id = node.start("/bin/sleep", "600", limits=Limits(memory=64 << 20, cpus=0.5, pids=20))
    run = wait(lambda: (found := node.run(run_id)).state == "running" and found)
    first = group_module.effective(run.cgroups)
    group_module.limit(run.cgroups, Limits(memory=128 << 20, pids=30))
    second = group_module.effective(run.cgroups)
    refused = None
    try:
        group_module.limit(run.cgroups, Limits(cpus=1e9))
    except GroupError as error:
        refused = str(error)
    node.driver.kill(run_id)
    node.ended(run_id)
    wait(lambda: not Path(run.cgroups[0]).exists())
    return {"first": first, "second": second, "refused": refused}


def throttled(node):
    run_id = node.start(sys.executable, "-c", "while True: pass", limits=Limits(cpus=0.25))
    run = wait(lambda: (found := node.run(run_id)).state == "running" and found)
    meter = Meter(run.pid, run.cgroups, keep=True)
    figures = wait(lambda: (seen := meter.read(time.monotonic())).get("throttled") and seen)
    node.driver.kill(run_id)
    node.ended(run_id)
    return sorted(figures)


def trees(node):
    """A fork bomb and a daemon: held, told of, ended whole."""
    bomb = node.start("/bin/sh", "-c", BOMB, limits=Limits(pids=40))
    directory = wait(lambda: node.run(bomb).cgroups)[0]
    most = wait(lambda: (count := len(cgroup.members(directory))) > 20 and count)
    node.driver.stop(bomb, 15)
    node.driver.kill(bomb)
    node.ended(bomb)
    daemon = node.ended(node.start(sys.executable, "-c", DAEMON))
    return {"most": most <= 40, "left": cgroup.members(directory), "told": [said for _, said in daemon.left]}


def frozen_kill(node):
    """An older kernel has no cgroup.kill: the group is frozen, killed, thawed."""
    run_id = node.start("/bin/sh", "-c", BOMB, limits=Limits(pids=40))
    directory = wait(lambda: node.run(run_id).cgroups)[0]
    wait(lambda: len(cgroup.members(directory)) > 20)
    original = cgroup.write
    cgroup.write = lambda path, text: not path.endswith("cgroup.kill") and original(path, text)
    cgroup.kill(directory)
    cgroup.write = original
    node.ended(run_id)
    return cgroup.members(directory)


def protected(node):
    """Keeper and guard are spared when memory runs out, their tasks are not; both may die in turn."""
    run_id = node.start("/bin/sleep", "600")
    run = wait(lambda: (found := node.run(run_id)).state == "running" and found)
    scores = {
        name: int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        for name, pid in (("keeper", node.driver.pid), ("guard", node.driver.guard), ("task", run.pid))
    }
    os.kill(node.driver.pid, signal.SIGKILL)
    node.driver.wait_gone(10)
    node.driver.connect()
    node.driver.stop(run_id, 15)
    return {**scores, "code": node.ended(run_id).code}


def foreign_eater(node):
    """A stranger eats all memory there is: it dies, and neither task nor keeper nor guard does."""
    run_id = node.start("/bin/sleep", "600")
    run = wait(lambda: (found := node.run(run_id)).state == "running" and found)
    ours = node.driver.pid, node.driver.guard, run.pid
    code = "x = []\nwhile True: x.append(bytearray(16 << 20))"
    eater = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    alive = [Path(f"/proc/{pid}").exists() for pid in ours]
    node.driver.stop(run_id, 15)
    return {"eater": eater.returncode, "alive": alive, "code": node.ended(run_id).code}


def stepped_clock(node):
    """The wall clock leaps a day ahead, and two back: deadlines and ends do not mind."""
    far, near = (node.start("/bin/sleep", "600") for _ in range(2))
    for run_id in (far, near):
        wait(lambda run_id=run_id: node.run(run_id).state == "running")
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    node.driver.expire(far, boot + 3600)
    node.driver.expire(near, boot + 2)
    for step in (86400, -2 * 86400):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + step)
    ended = node.ended(near)
    lasted = time.clock_gettime(time.CLOCK_BOOTTIME) - boot
    state = node.run(far).state
    node.driver.stop(far, 15)
    return {"near": ended.why, "not_early": lasted >= 2, "far": state, "code": node.ended(far).code}


def delegated():
    """As somebody else, in a group that was given to them."""
    worker = pwd.getpwnam("worker")
    given = Path("/sys/fs/cgroup/given")
    given.mkdir()
    (given / "cgroup.subtree_control").write_text("")
    for path in (
        given,
        *(given / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")),
    ):
        os.chown(path, worker.pw_uid, worker.pw_gid)
    code = (
        "import json, os, sys; open('/sys/fs/cgroup/given/cgroup.procs', 'w').write(str(os.getpid()))\n"
        f"os.setgroups([]); os.setgid({worker.pw_gid}); os.setuid({worker.pw_uid})\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from agentd.cgroups import places\n"
        "from agentd.cgroups.groups import Groups, effective\n"
        "from store.model.policies import Limits\n"
        "found = places.find('muster-w'); again = places.find('muster-w')\n"
        "made = Groups(found).make('x', Limits(memory=64 << 20, pids=5))\n"
        "print(json.dumps([found.kill, sorted(found.controllers), effective(made), again == found]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


NODE = Node()
found = {
    "places": places_of(NODE), "oom": out_of_memory(NODE), "limits": limits(NODE), "throttled": throttled(NODE),
    "trees": trees(NODE), "frozen_kill": frozen_kill(NODE), "protected": protected(NODE), "delegated": delegated(),
    "foreign_eater": foreign_eater(NODE), "stepped_clock": stepped_clock(NODE),
}  # fmt: skip
NODE.driver.end(force=True)
NODE.driver.wait_gone(20)
print(json.dumps(found))
