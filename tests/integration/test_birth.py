"""What a forked child is before it is the task's program."""

import os
import signal

import pytest

from agentd.keeper import child

pytestmark = pytest.mark.integration


def order(*argv):
    return {"path": argv[0], "argv": list(argv), "env": {}, "cwd": "/", "uid": None, "gid": None,
            "rlimits": [], "stdout": os.devnull, "stderr": os.devnull}  # fmt: skip


@pytest.fixture
def handlers():
    """The keeper's: SIGTERM is handled, SIGINT and SIGHUP are ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    heard = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_comes_before_the_program_is_not_lost(handlers, number):
    """Else a task that is stopped as it starts is killed when its grace is over."""
    born = child.fork(order("/bin/sleep", "5"))
    os.kill(born.pid, number)
    os.write(born.go, b"g")
    os.close(born.go)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(born.pid, 0)[1]) == -number
    finally:
        os.close(born.verdict)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    os.kill(os.getpid(), signal.SIGTERM)
    assert handlers == [signal.SIGTERM]


def test_a_program_starts_with_no_signal_held_back_or_ignored(handlers, tmp_path):
    """Whatever was ignored where the agent was started: `nohup`, or a script that put it in the background."""
    out = tmp_path / "out"
    script = "/bin/grep -E '^Sig(Blk|Ign)' /proc/self/status"
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        born = child.fork({**order("/bin/sh", "-c", script), "stdout": str(out)})
    finally:
        signal.signal(signal.SIGQUIT, before)
    os.write(born.go, b"g")
    os.close(born.go)
    assert os.waitpid(born.pid, 0)[1] == 0
    os.close(born.verdict)
    held = {line.split()[0]: int(line.split()[1], 16) for line in out.read_text().splitlines()}
    ours = sum(1 << (number - 1) for number in signal.valid_signals())  # the C library keeps two for itself
    assert {name: mask & ours for name, mask in held.items()} == {"SigBlk:": 0, "SigIgn:": 0}
