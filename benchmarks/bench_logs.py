"""The path of logs: a task's writes to a file that is rotated under it, beside `cat >>` in the same run.

The writer is the same both times: `cat` of a big file, in its big writes, and lines of 100 bytes with a
write each. A LogKeeper in a process of its own rotates at 10 MB, and packs. All through the page cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rig import PYTHON, header

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
BIG = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
SMALL = BIG // 4

KEEPER = """
import sys, time
from pathlib import Path
from agentd.logs.keeper import LogKeeper
from store.clock import SystemClock
from store.model.policies import LogPolicy
live = Path(sys.argv[1])
keeper = LogKeeper(live.parent.parent, SystemClock(), 5 << 30)
keeper.watch({live: LogPolicy(max_size=10 << 20, max_files=1000)})
keeper.start()
time.sleep(600)
"""
LINES = f"dd if=/dev/zero bs=100 count={SMALL * 10_000} status=none"


def main():
    header(f"Log path: one writer, {ROUNDS} rounds, medians")
    home = Path(tempfile.mkdtemp(prefix="muster-bench-", dir=os.environ.get("MUSTER_BENCH_DIR")))
    big = home / "big"
    with big.open("wb") as file:
        for _ in range(BIG):
            file.write((b"x" * 99 + b"\n") * 10_000)
    try:
        for title, size, command in (
            (f"cat of {BIG} MB", BIG, f"cat {big}"),
            ("100 bytes a write", SMALL, LINES),
        ):
            plain, rotated, segments = [], [], 0
            for number in range(ROUNDS):
                for rotating in (False, True) if number % 2 else (True, False):
                    if rotating:
                        rate, segments = run_rotated(home, size, command)
                        rotated.append(rate)
                    else:
                        plain.append(run(home, size, command))
            row(f"{title} >> file", plain)
            row(f"{title} to a rotated log ({segments} segments)", rotated)
            print(f"{'':<52} ratio {median(rotated) / median(plain):.2f}")
    finally:
        shutil.rmtree(home)


def run(home, size, command):
    target = home / "logs" / "d.0" / "web.out"
    target.parent.mkdir(parents=True)
    os.sync()  # what earlier rounds left to be written is not this one's
    started = time.monotonic()
    with target.open("ab") as out:
        subprocess.run(["/bin/sh", "-c", f"exec {command}"], stdout=out, check=True)
    rate = size / (time.monotonic() - started)
    shutil.rmtree(home / "logs")
    return rate


def run_rotated(home, size, command):
    target = home / "logs" / "d.0" / "web.out"
    target.parent.mkdir(parents=True)
    target.touch()
    keeper = subprocess.Popen([*PYTHON[:-1], "-c", KEEPER, str(target)])
    try:
        time.sleep(0.5)  # it has begun
        os.sync()
        started = time.monotonic()
        with target.open("ab") as out:
            subprocess.run(["/bin/sh", "-c", f"exec {command}"], stdout=out, check=True)
        rate = size / (time.monotonic() - started)
        time.sleep(2.5)
        return rate, sum(1 for path in target.parent.iterdir() if path.name.startswith("web.out.0"))
    finally:
        keeper.kill()
        keeper.wait()
        shutil.rmtree(home / "logs")


def median(values):
    return sorted(values)[len(values) // 2]


def row(name, values):
    print(
        f"{name:<52} p50 {median(values):7.0f}  min {min(values):7.0f}  max {max(values):7.0f} MB/s  n={len(values)}"
    )


if __name__ == "__main__":
    main()
