"""The agent where cgroup v2 has all controllers, which the machine that runs the tests may not have."""

import signal
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.vm, pytest.mark.timeout(240)]
HERE = Path(__file__).resolve().parent


def test_limits_trees_and_protection_on_cgroup_2(machine, tmp_path):
    seen = machine.run(HERE / "guest_agent.py", tmp_path)
    assert seen["places"] == {
        "kind": "cgroup v2", "kill": "/sys/fs/cgroup/muster-test", "controllers": ["cpu", "memory", "pids"],
    }  # fmt: skip
    assert seen["oom"] == {"code": 137, "oom": True}
    assert seen["limits"]["first"] == {"memory": 64 << 20, "cpus": 0.5, "pids": 20}
    assert seen["limits"]["second"] == {"memory": 128 << 20, "pids": 30}
    assert seen["limits"]["refused"].startswith("limit cpus: the kernel does not take ")
    assert seen["throttled"] == ["cpu", "rss", "threads", "throttled"]
    assert seen["trees"]["most"]
    assert seen["trees"]["left"] == []
    assert len(seen["trees"]["told"]) == 1, "the daemon, whose parents are gone"
    assert seen["frozen_kill"] == []
    assert seen["protected"] == {"keeper": -900, "guard": -900, "task": 0, "code": 143}
    assert seen["delegated"] == [
        "/sys/fs/cgroup/given/muster-w",
        ["cpu", "memory", "pids"],
        {"memory": 64 << 20, "pids": 5},
        True,
    ]
    assert seen["foreign_eater"] == {"eater": -signal.SIGKILL, "alive": [True, True, True], "code": 143}
    assert seen["stepped_clock"] == {
        "near": "its deadline passed and nobody renewed it", "not_early": True, "far": "running", "code": 143,
    }  # fmt: skip
