"""Limits where cgroup v2 has all controllers, which the machine that runs the tests may not have."""

import signal
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.vm, pytest.mark.timeout(240)]
HERE = Path(__file__).resolve().parent


def test_the_virtual_machine_limits_kills_and_drops_rights(machine, tmp_path):
    seen = machine.run(HERE / "guest_smoke.py", tmp_path)
    assert seen["controllers"] == ["cpu", "memory", "pids"]
    assert seen["inner_node"] == "EBUSY"
    assert seen["oom"]["code"] == -signal.SIGKILL
    assert seen["oom"]["limit"] == str(64 << 20)
    assert seen["oom"]["oom_kill"] > 0
    assert seen["pids"] == {"most": 10, "code": -signal.SIGKILL}
    assert seen["cpu"]["max"] == "25000 100000"
    assert seen["cpu"]["throttled"] > 0
    assert seen["rights"] == {"worker": "1000 1000 []", "raised": True}
    assert seen["keeper"] == {"pid": True, "gone": True}
