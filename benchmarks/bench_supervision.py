"""Tasks up, killed and up again, stopped; memory and idle CPU: Muster beside supervisord, circus, runit, pm2.

Muster goes its whole way: a template deployed by the API, controller, store, agent, processes. All
tasks are `sleep`; some say their pid on a pipe first, so that their restart is heard at once.
`up` and `stopped` are when /proc shows all and none. Rounds of all managers take turns; figures are
medians over rounds, of restarts over all kills. The floor of bring-up is `posix_spawn` in C.

Muster makes two logs and a directory for a task, and the peers are let off that. On ext4 a file cost 14 to
200 us of processor here, depending on where and when; `--directory /dev/shm` shows figures without that.

    bench_supervision.py --tasks 300,1000 --rounds 3 --peers supervisord,circus,runit,pm2
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from peers import PEERS, Missing, Peer
from procs import Bell, Sleeps, cpu_share, naming, pss
from rig import Rig, header, percentile

SETTLE = 2.0
"""Seconds between bring-up and the next measurement; runit also waits a second before it restarts what is younger."""
SLOW = ("pm2",)
"""Stops 300 tasks in 20 s: one round of it."""
RESTART = {"condition": "always", "delay": "0s", "max_attempts": 100_000}


class Muster(Peer):
    """A manager and an agent; only the agent's processes count, as only it is on every node."""

    name = "muster"

    def begin(self, apps):
        self._rig = Rig().__enter__()
        self._directory = self._rig.agent("bench-1")
        if apps:
            tasks = [
                {"name": f"{name}{number}", "config": {"command": command}, "restart": RESTART}
                for name, command, count in apps
                for number in range(count)
            ]
            body = {"name": "bench", "task_groups": [{"tasks": tasks}]}
            self._ask("/api/task/task_group", body)

    def _ask(self, path, body):
        status, answer = self._rig.call("POST", path, body)
        if status != 200:
            raise SystemExit(f"{path}: {status} {answer}")
        return answer

    def up(self):
        self._id = self._ask("/api/task/task_group/deploy", {"name": "bench"})["id"]

    def stop(self):
        self._ask("/api/task/task_group/stop", {"id": self._id})

    def pids(self):
        return naming(self._directory)

    def close(self):
        self._rig.__exit__()


def measure(make, size, kills, window, floor, home):
    """One round of one manager: its figures. The floor is taken just before, as neighbours come and go."""
    sleeps, found = Sleeps(), {}
    bell = Bell(home, sleeps)
    peer = make(home)
    tellers = min(max(kills, 1), size)
    try:
        peer.begin([("tell", bell.command, tellers), ("sleep", sleeps.command, size - tellers)])
        if floor:
            found["floor"] = spawn_loop(floor, size)
        begin = time.monotonic()
        peer.up()
        found["up"] = sleeps.wait(size, begin)
        told = bell.hear(tellers)
        time.sleep(SETTLE)
        found["pss"] = pss(peer.pids())
        if window:
            found["cpu"] = cpu_share(peer.pids, window)
        found["restart"] = [restart(pid, bell) for pid in told[:kills]]
        sleeps.wait(size, time.monotonic())
        begin = time.monotonic()
        peer.stop()
        found["stop"] = sleeps.wait(0, begin)
    finally:
        with contextlib.suppress(Exception):
            peer.close()
        sleeps.kill()
        bell.close()
    return found


def restart(pid, bell):
    """Milliseconds from the kill of a task to the word of the next one."""
    begin = time.monotonic()
    os.kill(pid, 9)
    bell.hear(1)
    return (time.monotonic() - begin) * 1000


def empty(make, home):
    """Memory of a manager without tasks."""
    peer = make(home)
    try:
        peer.begin([])
        time.sleep(SETTLE)
        return pss(peer.pids())
    finally:
        peer.close()


def spawn_loop(program, size):
    """Seconds until the C loop's sleeps are all there."""
    sleeps = Sleeps()
    begin = time.monotonic()
    process = subprocess.Popen([program, str(size), *sleeps.command], stdin=subprocess.PIPE)
    try:
        return sleeps.wait(size, begin)
    finally:
        process.stdin.close()
        process.wait(60)


def compiled(tools):
    """The C loop, or None."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler: no posix_spawn floor")
        return None
    program = tools / "spawn_loop"
    source = Path(__file__).with_name("spawn_loop.c")
    subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    return program


def present(wanted, tools):
    """Makers of the managers that can be had here."""
    makers = {"muster": lambda home: Muster(tools, home)}
    for name in wanted:
        try:
            with tempfile.TemporaryDirectory() as home:
                empty(lambda home, name=name: PEERS[name](tools, home), home)
        except (Missing, OSError, subprocess.SubprocessError, SystemExit) as error:
            print(f"{name}: skipped: {error}")
        else:
            makers[name] = lambda home, name=name: PEERS[name](tools, home)
    return makers


def run(make, function, *args):
    with tempfile.TemporaryDirectory(prefix="mb-") as home:
        return function(make, *args, home)


def compare(size, makers, floor, options):
    """All rounds of one size, and the table."""
    found = {name: [] for name in makers}
    bare = {name: run(make, empty) for name, make in makers.items()}
    kills = -(-options.kills // options.rounds)
    for number in range(options.rounds):
        for name, make in makers.items():
            if number > 0 and (name in SLOW or not found[name]):
                continue
            window = options.window if number == 0 else 0
            try:
                found[name].append(
                    run(make, measure, size, kills, window, floor if name == "muster" else None)
                )
            except (OSError, subprocess.SubprocessError, SystemExit) as error:
                if name == "muster":
                    raise
                print(f"{name}: round {number + 1} of {size} tasks left out: {error}")
    table(size, found, bare)


def table(size, found, bare):
    """Figures, and in brackets how many times Muster's they are."""
    middle = statistics.median
    rows = {}
    for name, rounds in found.items():
        if not rounds:
            continue
        kills = [each for one in rounds for each in one["restart"]]
        memory = middle(one["pss"] for one in rounds)
        rows[name] = [
            middle(one["up"] for one in rounds),
            percentile(kills, 0.5),
            max(kills),
            middle(one["stop"] for one in rounds),
            memory / 1e6,
            (memory - bare[name]) / size / 1024,
            rounds[0].get("cpu", float("nan")),
        ]
    titles = ["up s", "restart p50 ms", "max ms", "stop s", "PSS MB", "KiB/added task", "idle CPU %"]
    print(f"\n{size} tasks{'':<6}" + "".join(f"{title:>20}" for title in titles))
    own = rows["muster"]
    for name, figures in rows.items():
        cells = [f"{value:.{3 if k in (0, 3) else 2}f}" for k, value in enumerate(figures)]
        if name != "muster":
            cells = [
                f"{cell} ({value / mine:5.1f}x)"
                for cell, value, mine in zip(cells, figures, own, strict=True)
            ]
        print(f"{name:<15}" + "".join(f"{cell:>20}" for cell in cells))
    pairs = [(one["up"], one["floor"]) for one in found["muster"] if "floor" in one]
    if pairs:
        times = middle(up / floor for up, floor in pairs)
        base = middle(floor for _, floor in pairs)
        print(f"{'posix_spawn, C':<15}{base:>20.3f}  Muster takes {times:.2f} times as long; goal: 3")
    print("goal: ahead of all four on up, restart, stop, KiB per added task")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="300", help="sizes, by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20, help="of single tasks, over all rounds")
    parser.add_argument("--window", type=float, default=10, help="seconds of idleness, once")
    parser.add_argument("--peers", default=",".join(PEERS), help="by commas; empty for none")
    parser.add_argument("--directory", help="where all of it lies; the system's temporary directory")
    options = parser.parse_args()
    tempfile.tempdir = options.directory
    header(f"Supervision: {options.tasks} sleeps on one node, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="mb-tools-") as directory:
        tools = Path(directory)
        makers = present([name for name in options.peers.split(",") if name], tools)
        floor = compiled(tools)
        for size in options.tasks.split(","):
            compare(int(size), makers, floor, options)


if __name__ == "__main__":
    main()
