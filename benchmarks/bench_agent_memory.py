"""The agent's memory: with 0, 100, 500 and 1,000 tasks, and over thousands of starts.

PSS of all processes of the agent, and not of tasks. Starts: tasks that exit at once are restarted without a
delay, and their deployment is stopped and made anew ten times on the way; what the agent knows of ended
runs must go again.

    bench_agent_memory.py --tasks 0,100,500,1000 --starts 10000
"""

import argparse
import os
import select
import tempfile
import time
from pathlib import Path

from procs import Sleeps, naming, pss
from rig import Rig, header

SETTLE = 2.0
BASE_MB, EACH_KIB = 45, 20
AT_ONCE = 20
"""Tasks that exit and are restarted at one time."""
PARTS = 10


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="0,100,500,1000", help="numbers of tasks, rising, by commas")
    parser.add_argument("--starts", type=int, default=4000, help="starts over which memory is to be flat")
    return parser.parse_args()


class Agent:
    """One agent with its manager."""

    def __init__(self, rig):
        self._rig = rig
        self._directory = rig.agent("bench-1")

    def deploy(self, name, command, count, restart):
        tasks = [
            {"name": f"t{number}", "config": {"command": command}, "restart": restart}
            for number in range(count)
        ]
        self._ask("/api/task/task_group", {"name": name, "task_groups": [{"tasks": tasks}]})
        return self.again(name)

    def again(self, name):
        return self._ask("/api/task/task_group/deploy", {"name": name})["id"]

    def stop(self, deployment):
        self._ask("/api/task/task_group/stop", {"id": deployment})

    def _ask(self, path, body):
        status, answer = self._rig.call("POST", path, body)
        if status != 200:
            raise SystemExit(f"{path}: {status} {answer}")
        return answer

    def memory(self):
        """(processes, bytes)."""
        pids = naming(self._directory)
        return len(pids), pss(pids)


def by_tasks(sizes):
    """Tasks are added by further deployments, up to 1,000 in all."""
    print(f"\n{'tasks':>8}{'processes':>12}{'PSS MB':>10}{'KiB/added task':>18}{'goal MB':>10}")
    with Rig() as rig:
        agent, sleeps, there, first = Agent(rig), Sleeps(), 0, None
        for size in sizes:
            if size > there:
                agent.deploy(f"sleeps-{size}", sleeps.command, size - there, {"condition": "always"})
                sleeps.wait(size, time.monotonic())
                there = size
            time.sleep(SETTLE)
            processes, memory = agent.memory()
            first = first or (size, memory)
            each = f"{(memory - first[1]) / (size - first[0]) / 1024:.1f}" if size > first[0] else ""
            goal = BASE_MB + size * EACH_KIB * 1024 / 1e6
            print(f"{size:>8}{processes:>12}{memory / 1e6:>10.1f}{each:>18}{goal:>10.1f}")


class Counter:
    """Counts starts: every task writes one byte into a pipe."""

    def __init__(self, directory):
        self.path = Path(directory) / "count"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.seen = 0

    def until(self, number, seconds=120):
        deadline = time.monotonic() + seconds
        while self.seen < number:
            if not select.select([self._fd], [], [], deadline - time.monotonic())[0]:
                raise SystemExit(f"{self.seen} of {number} starts after {seconds} s")
            self.seen += len(os.read(self._fd, 65536))


def over_starts(starts):
    """A series of PSS while tasks that exit at once are restarted, stopped and deployed again."""
    restart = {"condition": "always", "delay": "0s", "max_attempts": 100_000, "window": "1s"}
    print(f"\n{'starts':>8}{'PSS MB':>10}{'starts/s':>12}")
    series = []
    with Rig() as rig, tempfile.TemporaryDirectory(prefix="mb-") as home:
        agent, counter = Agent(rig), Counter(home)
        command = ["/bin/sh", "-c", f"printf . > {counter.path}"]
        deployment = agent.deploy("short", command, AT_ONCE, restart)
        for part in range(1, PARTS + 1):
            begin, before = time.monotonic(), counter.seen
            counter.until(starts * part // PARTS)
            rate = (counter.seen - before) / (time.monotonic() - begin)
            series.append(agent.memory()[1] / 1e6)
            print(f"{counter.seen:>8}{series[-1]:>10.1f}{rate:>12.0f}")
            agent.stop(deployment)
            deployment = agent.again("short")
        agent.stop(deployment)
    middle = len(series) // 2
    print(
        f"the second half, at most: {max(series[middle:]):.1f} MB; the first: {max(series[:middle]):.1f} MB; goal: flat"
    )


def main():
    options = parse()
    header(f"Memory of the agent, all its processes: {options.tasks} tasks; {options.starts} starts")
    by_tasks([int(size) for size in options.tasks.split(",")])
    over_starts(options.starts)


if __name__ == "__main__":
    main()
