"""`python -m benchmarks.fleet`: a simulated fleet beside a manager, until Ctrl-C or so many seconds."""

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from store.kv.connection import connect
from store.kv.store import Store

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # the benchmarks find each other by bare names

from rig import Rig

from fleet.crew import Fleet
from fleet.enrol import Door, enrol
from fleet.setting import Setting, Who


def arguments():
    parser = argparse.ArgumentParser("python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument(
        "--processes", type=int, default=2, help="each agent has two connections of its limit"
    )
    parser.add_argument(
        "--interval", type=float, default=5.0, help="seconds between heartbeats; TTL is 3 times"
    )
    parser.add_argument("--mix", default="obey", help="obey=90,lag:2=4,flap:10:5=2,lie=2,cut:60=2: shares")
    parser.add_argument("--name", default="sim", help="nodes are NAME-0, NAME-1, …")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--ramp", type=float, default=None, help="seconds over which they come up")
    parser.add_argument(
        "--url", help="of a manager; without it, one is started in a directory that goes away"
    )
    return parser.parse_args()


def main():
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that nothing of it stays
    with contextlib.ExitStack() as stack:
        crew = [Who(f"{asked.name}-{number}") for number in range(asked.agents)]
        manager = asked.url
        if manager is None:
            rig = stack.enter_context(Rig())
            manager = f"http://127.0.0.1:{rig.port}"
            url, password = rig.store_access()
            store = Store(connect(url, name="fleet", password=password))
            store.attach()
            enrol(store, crew)
            parts = urlsplit(url)
            address = parts.hostname, parts.port
        else:
            door = Door(manager)
            address = door.take_in(crew)
            door.close()
        print(f"manager {manager}, store {address[0]}:{address[1]}", flush=True)
        setting = Setting(address, interval=asked.interval, ttl=3 * asked.interval, manager=manager)
        ramp = asked.interval if asked.ramp is None else asked.ramp
        fleet = Fleet(setting, [who.node for who in crew], asked.mix, processes=asked.processes, ramp=ramp)
        stack.callback(fleet.end)
        watch(fleet, asked.seconds)


def watch(fleet, seconds):
    """Say once a second how it goes."""
    begin, before = time.monotonic(), None
    with contextlib.suppress(KeyboardInterrupt):
        while (passed := time.monotonic() - begin) < seconds:
            time.sleep(min(1.0, seconds - passed))
            now = fleet.status()
            gained = {
                key: now[key] - (before or {}).get(key, 0) for key in ("beats", "reports", "rejoins", "cpu")
            }
            before = now
            print(
                f"{now['in']} in; last second: {gained['beats']} beats, {gained['reports']} reports, "
                f"{gained['rejoins']} joins, {gained['cpu'] * 100:.0f} % cpu; troubles {now['troubles']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
