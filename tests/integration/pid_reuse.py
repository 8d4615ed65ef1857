"""Run in a pid namespace of its own: a task dies with its keepers, and a stranger gets its pid."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.test_keeper import Desk


def main(home):
    desk = Desk(home)
    run = desk.spawn(0, "exec sleep 600")
    while desk.run(run).state != "running":
        time.sleep(0.01)
    pid = desk.run(run).pid
    os.kill(desk.driver.guard, signal.SIGSTOP)
    for victim in (desk.driver.pid, desk.driver.guard, pid):
        os.kill(victim, signal.SIGKILL)
    desk.driver._disconnect()
    while Path(f"/proc/{pid}").exists():  # we are pid 1 here: its heir
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    assert stranger.pid == pid, (stranger.pid, pid)
    desk.driver.connect()
    lost = desk.run(run)
    assert (lost.state, lost.code) == ("exited", None), lost
    desk.driver.kill(run)
    desk.driver.stop(run, 15)
    assert stranger.poll() is None
    print("the stranger lives")
    stranger.kill()
    desk.driver.end(force=True)
    desk.driver.wait_gone(10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
