"""`--device-csv`: there after each change, read at start when people changed it, never half written."""

import os
import signal

import pytest

from manager_api.core.device_csv import COLUMNS
from tests.conftest import eventually

pytestmark = pytest.mark.e2e

HEAD = ",".join(COLUMNS)
DEVICE = {
    "name": "desk", "type": "laptop", "hardware": {"model": "M", "sn": "S1"}, "nic": [], "status": "online",
    "software": {"version": "1", "last_update": "2023-08-06 20:00:00"},
}  # fmt: skip
TRIES = 5
LINE = "1234567890,shelf,t,M,S,1,,,,,on"


def lines(file):
    return file.read_text(errors="replace").splitlines()  # before its keeper has come it is what people wrote


def is_there_at_once(cluster, file):
    """Whether a device that was made has its line by the time of the answer."""
    status, made = cluster.call("/v1/devices", DEVICE)
    assert status == 200, made
    return any(line.startswith(f"{made['data']},desk,") for line in lines(file))


def test_the_file_follows_and_is_read_at_start(cluster):
    file = cluster.home / "devices.csv"
    file.write_bytes(f"{HEAD}\n{LINE}\nbad\n,café,t,M,S,1,,,,,on\n".encode("latin-1"))
    file.chmod(0o640)
    cluster.start_manager("--device-csv", str(file))
    eventually(lambda: lines(file) == [HEAD, LINE])
    assert file.stat().st_mode & 0o777 == 0o640
    refused = (cluster.home / "devices.csv.refused").read_text("latin-1")
    assert "bad" in refused
    assert "columns" in refused
    assert "café" in refused
    # The answer waits for the file, though no longer than a second, and not for one that is stuck.
    for made in range(1, TRIES + 1):
        at_once = is_there_at_once(cluster, file)
        eventually(lambda made=made: sum(",desk," in line for line in lines(file)) == made)
        if at_once:
            break
    assert at_once
    eventually(lambda: f"ok      device-csv: {file} is kept" in cluster.muster("doctor").stdout)

    # Its keeper is killed: nothing that the store has is undone by the file that is behind.
    (pid,) = cluster.children("manager_api.device_file")
    os.kill(pid, signal.SIGSTOP)
    status, second = cluster.call("/v1/devices", {**DEVICE, "name": "late"})
    assert status == 200
    assert not any("late" in line for line in lines(file))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: any("late" in line for line in lines(file)))
    assert second["data"] in file.read_text()

    cluster.manager.terminate()
    assert cluster.manager.wait(40) == 0
    file.write_text(file.read_text().replace("shelf", "drawer"))
    cluster.start_manager("--device-csv", str(file))
    eventually(lambda: "drawer" in cluster.call("/v1/devices/1234567890")[1].get("name", ""))
    assert len(cluster.call("/v1/devices")[1]["data"]) == 2 + made
    eventually(lambda: sorted(path.name for path in cluster.home.glob("*.part")) == [])


def test_a_file_that_is_none_is_left_alone(cluster):
    file = cluster.home / "notes.txt"
    file.write_text("my notes\n")
    cluster.start_manager("--device-csv", str(file))
    eventually(lambda: "the first line must be" in cluster.log("manager.log"))
    assert cluster.call("/v1/devices", DEVICE)[0] == 200
    assert file.read_text() == "my notes\n"
    told = cluster.muster("doctor")
    assert told.returncode == 1
    assert (
        f"WRONG   device-csv: {file} is not kept like the inventory, nor ever was: the first line"
        in told.stdout
    )
