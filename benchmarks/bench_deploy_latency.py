"""From the deploy call to the task's exec, through API, store, controller, brain and keeper.

The task is `date +%s.%N`: its own clock reading, a moment after its exec, less the moment at which
the client began to send. Beside it the floor of this machine: `date` spawned directly.
"""

import json
import subprocess
import sys
import time

from rig import Rig, header, row, wait

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
DATE = ["/bin/date", "+%s.%N"]


def spawned():
    begin = time.time()
    said = float(subprocess.run(DATE, capture_output=True, text=True, check=True).stdout)
    return (said - begin) * 1000


def main():
    header("Deploy call to task exec'd, idle fleet of one")
    floor = [spawned() for _ in range(ROUNDS)]
    with Rig() as rig:
        data = rig.agent("bench-1")
        rig.call("POST", "/api/task/task_group", {
            "name": "date", "task_groups": [{"tasks": [{"name": "t", "config": {"command": DATE}}]}]})  # fmt: skip
        connection = rig.connection()
        answered, execed = [], []
        for _ in range(ROUNDS):
            begin = time.time()
            connection.request("POST", "/api/task/task_group/deploy", json.dumps({"name": "date"}))
            deployment = json.loads(connection.getresponse().read())["id"]
            answered.append((time.time() - begin) * 1000)
            log = data / "logs" / f"{deployment}.0" / "t.out"
            wait(lambda log=log: log.read_text().strip())
            execed.append((float(log.read_text()) - begin) * 1000)
            time.sleep(0.02)
    row("floor: subprocess.run(date), no Muster", floor)
    row("deploy call answered", answered)
    row("deploy call to exec", execed, goal="goal: p50 20 ms, p99 100 ms")


if __name__ == "__main__":
    main()
