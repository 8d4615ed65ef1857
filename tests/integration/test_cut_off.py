"""Work tied to the store, with a real keeper: it ends in time whatever becomes of the brain."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from agentd import ports
from agentd.driver import Driver, KeeperError
from agentd.keeper.events import EXPIRED
from tests.conftest import eventually
from tests.integration.test_keeper import Desk

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("tied_brain.py")
LIVES = "while :; do sleep 0.05; done"
DEAF = "trap '' TERM; " + LIVES


class Tied:
    """A brain in a process of its own, and the store that it may or may not reach."""

    def __init__(self, home):
        self.home = home
        self.brain = None
        self.alloc = f"{secrets.token_hex(4)}.0"  # keepers know what is theirs by the names of runs

    def start(self, stop_after="2s", command=LIVES):
        with (self.home / "brain.log").open("ab") as out:
            self.brain = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), str(self.home), self.alloc, stop_after, command],
                stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            )  # fmt: skip

    def connect(self):
        (self.home / "contact").touch()

    def cut(self):
        (self.home / "contact").unlink()

    def acked(self):
        return float((self.home / "acked").read_text())

    def runs(self):
        """As the keeper has them; a driver of our own listens beside the brain's."""
        driver = Driver(self.home, lambda: None)
        if not driver.connect(start=False):
            return []
        found = driver.runs()
        driver._disconnect()
        return sorted(found, key=lambda run: run.attempt)

    def running(self):
        return next((run for run in self.runs() if run.state == "running"), None)

    def send(self, number):
        os.kill(self.brain.pid, number)

    def end(self):
        if self.brain is not None:
            self.brain.kill()
            self.brain.wait(10)
        driver = Driver(self.home, lambda: None)
        if driver.connect(start=False):
            driver.end(force=True)
            assert driver.wait_gone(20)


@pytest.fixture
def tied(tmp_path):
    found = Tied(tmp_path)
    yield found
    found.end()


@pytest.mark.parametrize("blow", [None, signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("command", [LIVES, DEAF])
def test_cut_off_it_ends_whatever_becomes_of_the_brain(tied, blow, command):
    tied.start(command=command)
    tied.connect()
    run = eventually(tied.running)
    tied.cut()
    if blow is not None:
        tied.send(blow)
    eventually(lambda: not psutil.pid_exists(run.pid))
    (over,) = [each for each in eventually(tied.runs) if each.id == run.id]
    assert over.deadline <= tied.acked() + 2.0, "no later than was promised"
    assert over.stop_at >= over.deadline, "and no sooner"
    assert over.why == ("cut off from the store for 2 s" if over.why != EXPIRED else EXPIRED)
    if blow is not None:
        assert over.why == EXPIRED


def test_in_contact_it_lives_far_beyond_its_first_deadline(tied):
    tied.start(stop_after="3s")  # a busy machine must not be taken for a store that is away
    tied.connect()
    first = eventually(tied.running)
    eventually(lambda: tied.running().deadline > first.deadline + 6.0)
    assert tied.running().pid == first.pid


def test_it_stays_down_while_cut_off_and_comes_back_with_the_store_at_no_cost(tied):
    tied.start(stop_after="3s")
    tied.connect()
    first = eventually(tied.running)
    tied.cut()
    eventually(lambda: not psutil.pid_exists(first.pid))
    eventually(lambda: "waits for the store" in (tied.home / "brain.log").read_text() or tied.runs())
    assert tied.running() is None
    tied.connect()
    again = eventually(tied.running)  # its restart policy is "no"
    assert (again.attempt, again.generation) == (first.attempt + 1, first.generation)


def test_a_new_brain_without_a_store_leaves_it_running_until_its_deadline_and_starts_nothing(tied):
    tied.start(stop_after="3s")
    tied.connect()
    run = eventually(tied.running)
    tied.send(signal.SIGKILL)
    tied.brain.wait(10)
    tied.cut()
    tied.start(stop_after="3s")
    eventually(lambda: not psutil.pid_exists(run.pid))
    over = tied.runs()
    assert [each.id for each in over] == [run.id], "nothing was started from what lies on disk"
    assert over[0].stop_at >= over[0].deadline
    assert over[0].deadline <= tied.acked() + 3.0


# -- the keeper alone


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.driver.connect()
    found.driver.end(force=True)
    assert found.driver.wait_gone(20)


def boot_time():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def test_the_keeper_starts_nothing_whose_time_is_over(desk):
    with pytest.raises(KeeperError, match="its deadline has passed already"):
        desk.spawn(0, "touch ran; sleep 600", deadline=boot_time() - 0.001, cwd=str(desk.directory))
    assert desk.runs() == []
    assert not (desk.directory / "ran").exists()


def test_many_switches_are_moved_at_once(desk):
    runs = [desk.spawn(number, "sleep 600", deadline=boot_time() + 600) for number in range(3)]
    desk.driver.expire_all({runs[0]: boot_time() + 900, runs[1]: None, runs[2]: boot_time()})
    assert desk.wait(runs[2], "exited").why == EXPIRED
    assert desk.wait(runs[0], "running").deadline > boot_time() + 600
    assert desk.wait(runs[1], "running").deadline is None


def test_a_keeper_of_the_last_release_has_no_switches(desk):
    desk.driver.protocol = 1
    with pytest.raises(KeeperError, match="older release"):
        desk.driver.expire_all({"a/t/1.0": 1.0})


# -- ports


def listener(family, address, number=0, *, reuse=False):
    sock = socket.socket(family)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, number))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")]
)
@pytest.mark.parametrize("reuse", [False, True])
def test_a_held_port_is_refused_with_who_holds_it(family, address, reuse):
    with listener(family, address, reuse=reuse) as sock:
        number = sock.getsockname()[1]
        holder = f"{psutil.Process().name()} (pid {os.getpid()})"
        assert ports.held([number]) == f"port {number} is held by {holder}"
    assert ports.held([number]) is None


def test_connections_that_only_wait_for_their_end_hold_no_port():
    with listener(socket.AF_INET, "127.0.0.1") as sock:
        number = sock.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", number))
        server, _ = sock.accept()
        server.close()  # who closes first waits, on the listener's port
        client.close()
    eventually(
        lambda: (
            [each.status for each in psutil.net_connections("tcp4") if each.laddr.port == number]
            == [psutil.CONN_TIME_WAIT]
        )
    )
    assert ports.held([number]) is None


def test_a_holder_that_we_may_not_see_is_another_program(monkeypatch):
    def denied(_):
        raise psutil.AccessDenied

    with listener(socket.AF_INET, "") as sock:
        number = sock.getsockname()[1]
        monkeypatch.setattr(psutil, "net_connections", denied)
        assert ports.held([number]) == f"port {number} is held by another program"
