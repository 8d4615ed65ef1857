"""An agent is killed: how long until its node is offline, by the API and by the controller's word.

The heartbeat may have been renewed up to one interval before the kill, so the time runs from the
last renewal: that is what TTL counts from. The peer's figure (Nomad, 210-410 s at 10,000 nodes) is
arithmetic on its own constants; there is no Nomad to run here.
"""

import os
import signal
import sys
import time

from rig import Rig, header, row, wait

from store.kv.connection import connect

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
INTERVAL = 1.0


def main():
    header(f"Node offline after kill -9 of its agent; interval {INTERVAL:g} s, TTL {3 * INTERVAL:g} s")
    by_api, by_controller = [], []
    with Rig() as rig:
        url, password = rig.store_access()
        store = connect(url, name="bench", password=password)
        for number in range(ROUNDS):
            name = f"bench-{number}"
            rig.agent(name, interval=INTERVAL)
            time.sleep(INTERVAL * 1.3)
            left = store.pttl(f"muster:n:{{{name}}}:hb") / 1000
            renewed = time.monotonic() - (3 * INTERVAL - left)
            os.kill(rig.processes[-1].pid, signal.SIGKILL)
            rig.processes[-1].wait()
            wait(lambda name=name: offline(rig, name), every=0.005)
            by_api.append(time.monotonic() - renewed - 3 * INTERVAL)
            said = f"node {name} is offline"
            wait(lambda said=said: said in (rig.home / "manager.log").read_text(), every=0.005)
            by_controller.append(time.monotonic() - renewed - 3 * INTERVAL)
    row("API says offline, after TTL", [value * 1000 for value in by_api], goal="goal: 500 ms")
    row("controller says offline, after TTL", [value * 1000 for value in by_controller])


def offline(rig, name):
    return any(node["id"] == name and node["status"] for node in rig.call("GET", "/v1/nodes")[1]["data"])


if __name__ == "__main__":
    main()
