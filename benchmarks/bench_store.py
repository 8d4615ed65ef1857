"""The store's verbs beside plain HSET on the same server, and beside etcd: how many, and at what server CPU.

`put x50` has 50 connections of one client that ask at once, which is what a server under load sees (the goal is
for it); all else is one client that waits for every answer. The clients differ (redis-py with
hiredis; etcd's own gRPC-JSON gateway over plain HTTP, which costs etcd some CPU that gRPC would not), so
compare server CPU per operation before operations per second. Rounds are interleaved; medians are printed.
"""

import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from procs import cpu
from rig import header, percentile
from stores import CROWD, FIELDS, RECORDS, VALUE, Etcd, OurStore, PlainHash

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SIZE = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
"""A factor on how many operations a round has."""
PUTS, TXNS, RANGES, WAKES = (max(3, int(SIZE * number)) for number in (3000, 150, 15, 300))
GOAL = 40.0
"""Microseconds of Redis CPU per put, at most."""


def measured(peer, verb, times):
    """(operations per second, microseconds of server CPU per operation)."""
    run = getattr(peer, verb)
    spent, begin = cpu([peer.pid()]), time.perf_counter()
    for n in range(times):
        run(n)
    seconds = time.perf_counter() - begin
    operations = times * (CROWD if verb == "crowd" else 1)
    return operations / seconds, (cpu([peer.pid()]) - spent) / operations * 1e6


def wakes(peer):
    """Milliseconds from the beginning of a write to its event being in the watcher's hands."""
    arrived, late = threading.Semaphore(0), []
    moments = []

    def heard(moment):
        moments.append(moment)
        arrived.release()

    follow = peer.watcher(heard)
    if follow is None:
        return []
    stopped = threading.Event()
    thread = threading.Thread(target=follow, args=(stopped,), daemon=True)
    thread.start()
    if not getattr(follow, "begun", threading.Event()).wait(0.2):
        time.sleep(0.2)
    for n in range(WAKES):
        begin = time.perf_counter()
        peer.put(n)
        if not arrived.acquire(timeout=10):
            raise SystemExit(f"{peer.name}: an event never came")
        late.append((moments[-1] - begin) * 1000)
    stopped.set()
    with contextlib.suppress(Exception):
        peer.put(0)  # so that it looks once more
    thread.join(2)
    return late


def peers(stack):
    """All that are here, each on a server of its own."""
    homes = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found = []
    for number, (make, fsync) in enumerate(
        (kind, fsync) for fsync in ("everysec", "always") for kind in (OurStore, PlainHash)
    ):
        home = homes / str(number)
        home.mkdir()
        found.append(make(home, fsync))
        stack.callback(found[-1].close)
    program = shutil.which("etcd")
    if program is None:
        print("etcd is not here (Debian: etcd-server): it is left out")
    else:
        found.append(Etcd(homes / "etcd", program))
        stack.callback(found[-1].close)
    return found


def main():
    header(f"The store's verbs, medians of {ROUNDS} rounds; CPU is the server's, per operation")
    verbs = {"crowd": max(3, PUTS // 20), "put": PUTS, "txn": TXNS, "range": RANGES}
    with contextlib.ExitStack() as stack:
        everybody = peers(stack)
        print(f"server: {everybody[0].server.binary}; values of {len(VALUE)} bytes")
        found = {(peer.name, verb): [] for peer in everybody for verb in verbs}
        late = {peer.name: [] for peer in everybody}
        for _ in range(ROUNDS):
            for peer in everybody:
                for verb, times in verbs.items():
                    found[peer.name, verb].append(measured(peer, verb, times))
                late[peer.name] += wakes(peer)
    table(everybody, found, late)


def table(everybody, found, late):
    """One line for each peer; in brackets times ours with the same syncing."""
    medians = {
        key: [statistics.median(each) for each in zip(*rows, strict=True)] for key, rows in found.items()
    }
    print(
        f"\n{'':<20}{f'put x{CROWD}':>24}{'put':>24}{f'transaction of {FIELDS}':>26}{f'range of {RECORDS:,}':>26}   watch wake-up, ms"
    )
    for peer in everybody:
        ours = f"Muster {'always' if 'always' in peer.name else 'everysec'}"
        cells = []
        for verb in ("crowd", "put", "txn", "range"):
            rate, micros = medians[peer.name, verb]
            cells.append(f"{rate:,.0f}/s {micros:,.0f} us ({micros / medians[ours, verb][1]:.2f}x)")
        waits = late[peer.name]
        said = f"p50 {percentile(waits, 0.5):.2f} p99 {percentile(waits, 0.99):.2f}" if waits else "-"
        print(f"{peer.name:<20}{cells[0]:>24}{cells[1]:>24}{cells[2]:>26}{cells[3]:>26}   {said}")
    micros = medians["Muster everysec", "crowd"][1]
    print(
        f"goal: a put takes at most {GOAL:.0f} us of Redis CPU: {micros:.1f}, {'met' if micros <= GOAL else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
