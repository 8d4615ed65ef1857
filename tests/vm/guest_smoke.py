"""Runs in the virtual machine: what a kernel with cgroup v2 and all of root's rights does."""

import errno
import json
import os
import pwd
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
EATER = "data = bytearray(256 << 20)"
BOMB = """
import os, time
while True:
    try:
        os.fork() or time.sleep(600)
    except OSError:
        time.sleep(0.01)
"""


def write(path, text):
    path.write_text(str(text))


def fields(path):
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def within(group, *argv, **more):
    """A process that is in a group before its program begins."""
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    return subprocess.Popen(["/bin/sh", "-c", enter, "sh", *argv], **more)


def wait(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("never came true")
        time.sleep(0.02)


def controllers():
    """Enabled for the children of a child of the root."""
    node = ROOT / "node"
    node.mkdir()
    for group in (ROOT, node):
        write(group / "cgroup.subtree_control", "+memory +pids +cpu")
    return sorted((node / "cgroup.subtree_control").read_text().split())


def inner_node():
    """A group whose children have controllers takes no processes itself."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            write(ROOT / "node" / "cgroup.procs", process.pid)
        except OSError as error:
            return errno.errorcode[error.errno]
        finally:
            process.kill()
    return None


def out_of_memory():
    group = ROOT / "node" / "eater"
    group.mkdir()
    write(group / "memory.max", 64 << 20)
    code = within(group, sys.executable, "-c", EATER, stderr=subprocess.DEVNULL).wait()
    return {"code": code, "limit": (group / "memory.max").read_text().strip(),
            "oom_kill": fields(group / "memory.events")["oom_kill"]}  # fmt: skip


def pids():
    """A process that wants more children than it may have; how many it got, and how it was killed."""
    group = ROOT / "node" / "bomb"
    group.mkdir()
    write(group / "pids.max", 10)
    bomb = within(group, sys.executable, "-c", BOMB)
    wait(lambda: fields(group / "pids.events")["max"] > 0)
    most = int((group / "pids.current").read_text())
    write(group / "cgroup.kill", 1)
    code = bomb.wait()
    wait(lambda: fields(group / "cgroup.events")["populated"] == 0)
    group.rmdir()
    return {"most": most, "code": code}


def cpu():
    group = ROOT / "node" / "busy"
    group.mkdir()
    write(group / "cpu.max", "25000 100000")
    busy = within(group, sys.executable, "-c", "while True: pass")
    wait(lambda: fields(group / "cpu.stat")["nr_throttled"] > 0)
    busy.kill()
    busy.wait()
    return {
        "max": (group / "cpu.max").read_text().strip(),
        "throttled": fields(group / "cpu.stat")["nr_throttled"],
    }


def rights():
    """What a task's user is, and that root may raise its own hard limit."""
    worker = pwd.getpwnam("worker")
    shown = [sys.executable, "-c", "import os; print(os.getuid(), os.getgid(), os.getgroups())"]
    seen = subprocess.run(
        shown,
        user=worker.pw_uid,
        group=worker.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return {"worker": seen.stdout.strip(), "raised": resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard}


def keeper():
    """Whether the agent's own code starts here."""
    from agentd.driver import Driver

    home = Path("/var/lib/muster")
    home.mkdir(parents=True)
    driver = Driver(home, lambda: None)
    assert driver.connect()
    pid = driver.pid
    driver.end(force=True)
    return {"pid": pid > 1, "gone": driver.wait_gone(20)}


print(json.dumps({
    "kernel": os.uname().release, "controllers": controllers(), "inner_node": inner_node(), "oom": out_of_memory(),
    "pids": pids(), "cpu": cpu(), "rights": rights(), "keeper": keeper(),
}))  # fmt: skip
