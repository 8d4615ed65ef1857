"""Cables pulled, machines lost and drained: what the controller makes of it, with real programs."""

import json
import signal
import sys
import time

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import shell
from tests.netns.conftest import NODES, inside, space_of, words_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

AFTER = "19s"
"""More than `stop_after` and the stop's timeout, 1 s each, and the 15 s that any node's heartbeat may live."""
LOCKING = """
import fcntl, os, sys, time
lock, ledger = open(sys.argv[1], "w"), open(sys.argv[2], "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    said = "taken"
except OSError:
    said = "clash"
ledger.write(f"{said} {os.environ['MUSTER_NODE']}\\n")
ledger.flush()
time.sleep(1e6)
"""


def a_group(fleet, command, **policy):
    task = {"name": "main", "config": {"command": command}, "stop": {"timeout": "1s"}}
    return fleet.deploy(fleet.template({"name": "etl", "task_groups": [{"tasks": [task], **policy}]}))


def telling(fleet):
    """A task that writes to the ledger when it begins and when it is told to end."""
    return shell(
        f'end() {{ echo "end $MUSTER_NODE" >> {fleet.ledger}; exit; }}; trap end TERM; '
        f'echo "begin $MUSTER_NODE" >> {fleet.ledger}; while :; do sleep 0.1; done'
    )


def where(fleet):
    """The node of the last line of the ledger."""
    return eventually(fleet.written, 40)[-1].split()[1]


def copies(fleet, mark):
    """The nodes that a program lives on, by a word of its command line; one for each process."""
    return [node for node in NODES for pid in inside(space_of(fleet.net.of(node))) if mark in words_of(pid)]


def test_a_partition_beyond_its_time_is_replaced_and_the_older_copy_ends_when_it_is_over(fleet):
    deployment = a_group(fleet, telling(fleet), reschedule={"after": "3s"})
    old = where(fleet)
    fleet.partition(old)
    eventually(lambda: len(fleet.written()) == 2, 60)
    new = where(fleet)
    assert new != old
    assert f"end {old}" not in fleet.written(), "it keeps what it has while it is alone"
    fleet.heal(old)
    eventually(lambda: f"end {old}" in fleet.written(), 60)
    eventually(lambda: [row["node"] for row in fleet.tasks(deployment) if row["state"] == "running"] == [new])
    assert fleet.written() == [f"begin {old}", f"begin {new}", f"end {old}"]


def test_what_ends_when_cut_off_comes_back_on_the_same_node_if_nobody_moved_it(fleet):
    deployment = a_group(fleet, telling(fleet), reschedule="never", on_disconnect={"stop_after": "1s"})
    node = where(fleet)
    fleet.partition(node)
    eventually(lambda: fleet.written()[-1] == f"end {node}", 30)
    fleet.heal(node)
    eventually(lambda: fleet.written()[-1] == f"begin {node}", 60)
    row = eventually(lambda: next((r for r in fleet.tasks(deployment) if r["state"] == "running"), None))
    assert row["node"] == node


@pytest.mark.parametrize("blow", [None, signal.SIGSTOP, signal.SIGKILL])
def test_two_copies_never_hold_what_only_one_may(fleet, blow):
    """Whatever becomes of the brain on the node that is cut off: it goes on, stands still, or is killed."""
    lock = fleet.home / "lock"
    a_group(
        fleet,
        [sys.executable, "-I", "-S", "-c", LOCKING, str(lock), str(fleet.ledger)],
        reschedule={"after": AFTER},
        on_disconnect={"stop_after": "1s"},
        duplicates="never",
    )
    node = where(fleet)
    begun = len(eventually(fleet.written))
    fleet.partition(node)
    if blow is not None:
        fleet.agents[node].send_signal(blow)
    eventually(lambda: len(fleet.written()) > begun, 90)
    if blow is signal.SIGSTOP:
        fleet.agents[node].send_signal(signal.SIGCONT)
    fleet.heal(node)
    if blow is signal.SIGKILL:
        fleet.agents[node].wait(10)
        fleet.start_agent(node, wait=False)
    eventually(lambda: fleet.online(node), 60)
    eventually(lambda: len(copies(fleet, str(lock))) == 1, 60)
    assert {line.split()[0] for line in fleet.written()} == {"taken"}


@pytest.mark.parametrize(
    ("seconds", "killed"), [(2.5, False), (20.0, True), (21.5, False), (22.5, False), (24.0, False)]
)
def test_however_long_a_partition_takes_there_are_no_two_copies(fleet, seconds, killed):
    """Over before anything is due, about when the task ends, when it is moved, and after; a brain dies in one."""
    lock = fleet.home / "lock"
    a_group(
        fleet,
        [sys.executable, "-I", "-S", "-c", LOCKING, str(lock), str(fleet.ledger)],
        reschedule={"after": AFTER},
        on_disconnect={"stop_after": "1s"},
        duplicates="never",
    )
    eventually(fleet.written, 40)
    node = where(fleet)
    began = time.monotonic()
    fleet.partition(node)
    if killed:
        fleet.agents[node].send_signal(signal.SIGKILL)
        fleet.agents[node].wait(10)
    eventually(lambda: time.monotonic() - began >= seconds, 60)
    fleet.heal(node)
    if killed:
        fleet.start_agent(node, wait=False)
    eventually(lambda: fleet.online(node), 60)
    eventually(lambda: len(copies(fleet, str(lock))) == 1, 60)
    assert {line.split()[0] for line in fleet.written()} == {"taken"}


def test_a_drained_node_is_left_only_when_the_replacement_is_up(fleet):
    deployment = a_group(fleet, telling(fleet))
    old = where(fleet)
    said = fleet.muster("node", "drain", old)
    assert said.returncode == 0, said.stderr
    eventually(lambda: f"end {old}" in fleet.written(), 60)
    begun, replaced, ended = fleet.written()
    new = replaced.split()[1]
    assert (begun, replaced, ended) == (f"begin {old}", f"begin {new}", f"end {old}")
    assert new != old
    eventually(lambda: [row["node"] for row in fleet.tasks(deployment) if row["state"] == "running"] == [new])
    eventually(
        lambda: json.loads(fleet.stored("nodes:status", old) or "{}").get("drain", {}).get("state") == "done"
    )


def test_a_lost_machine_s_work_is_done_by_another(fleet):
    deployment = a_group(fleet, telling(fleet), reschedule={"after": "3s"})
    old = where(fleet)
    fleet.lose(old)
    eventually(lambda: len(fleet.written()) == 2, 60)
    new = where(fleet)
    assert new != old
    eventually(lambda: [row["node"] for row in fleet.tasks(deployment) if row["state"] == "running"] == [new])
