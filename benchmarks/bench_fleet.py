"""1,000 simulated agents at 5 s: CPU of the store's server, and how soon a wake-up arrives.

Every agent is the real `NodeLink` with its two connections, its own store user, beats with jitter
and a blocking wait for hints; desired states are written by the real projection, 20 a second.
"""

import multiprocessing
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from rig import header, row

from store import bootstrap
from store.clock import SystemClock
from store.codec import dumps
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.connection import connect
from store.kv.node import RedisNodeLink
from store.kv.projection import Projection
from store.kv.server import Server, user_of
from store.kv.store import Store
from store.recipes.election import Election

AGENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 30
INTERVAL, PROCESSES, WRITES_PER_SECOND = 5.0, 4, 20
SECRET = "bench"


def beat_of(node, rev):
    return dumps({"v": 1, "uid": node, "instance": node, "started": 1.0, "hostname": node, "version": "0.1.0",
                  "time": time.time(), "interval": INTERVAL, "ttl": INTERVAL * 3, "epoch": "1-x", "rev": rev,
                  "frozen": None, "running": 5, "unclaimed": [], "tasks": {}, "cpu_percent": 3.2, "cpus": 4,
                  "memory_percent": 41.3, "memory_total": 8 << 30, "memory_used": 3 << 30, "disk_percent": 55.1,
                  "actual_seq": 3})  # fmt: skip


def agents(url, numbers, until, out):
    """Some agents in one process: a thread of each waits for hints, one thread beats for all."""
    threading.stack_size(256 * 1024)
    links, found, keys = {}, [], Store(None).keys
    for number in numbers:
        node = f"node-{number}"
        make = {"username": user_of(node), "password": SECRET}
        links[node] = RedisNodeLink(
            connect(url, name=node, **make), connect(url, name=node, **make), keys, node
        )
        links[node].beat(beat_of(node, 0), 15_000)

    def listen(link):
        link.wake(1)  # the connection, before it counts
        while time.time() < until:
            if link.wake(2000):
                desired = link.fetch()
                for entry in desired.entries.values():
                    if b'"at":' in entry:
                        found.append(
                            (time.time() - float(entry.split(b'"at":')[1].split(b",")[0].rstrip(b"}"))) * 1000
                        )

    for link in links.values():
        threading.Thread(target=listen, args=(link,), daemon=True).start()
    order = list(links.items())
    random.shuffle(order)
    while time.time() < until:
        begin = time.time()
        for place, (node, link) in enumerate(order):
            due = begin + INTERVAL * place / len(order)
            time.sleep(max(0.0, due - time.time()))
            link.beat(beat_of(node, 1), 15_000)
    time.sleep(0.5)
    out.put(found)


def cpu(client):
    info = client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


def main():
    header(f"{AGENTS} agents at {INTERVAL:g} s, {WRITES_PER_SECOND} desired writes a second, {SECONDS} s")
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer(Files(Path(directory)))
        server.start()
        try:
            measure(server)
        finally:
            server.stop()


def measure(server):
    import hashlib

    store = Store(server.client("bench"))
    bootstrap.begin(store, None)
    election = Election(store, "bench", SystemClock(), ttl=600)
    election.campaign()
    admin, projection = Server(store.client), Projection(store)
    for number in range(AGENTS):
        admin.grant_node(store.keys, f"node-{number}", hashlib.sha256(SECRET.encode()).hexdigest())
        projection.project(f"node-{number}", f"node-{number}", {}, (), token=election.token)
    out = multiprocessing.Queue()
    settle = 5 + AGENTS / 200
    until = time.time() + settle + SECONDS
    parts = [list(range(AGENTS))[n::PROCESSES] for n in range(PROCESSES)]
    workers = [
        multiprocessing.Process(target=agents, args=(server.local_url, part, until, out)) for part in parts
    ]
    for worker in workers:
        worker.start()
    time.sleep(settle)
    begin, spent = time.time(), cpu(store.client)
    while time.time() < begin + SECONDS - 1:
        node = f"node-{random.randrange(AGENTS)}"
        entry = dumps({"at": time.time(), "wanted": "running"})
        projection.project(node, node, {"a.0": entry}, (), token=election.token)
        time.sleep(1 / WRITES_PER_SECOND)
    share = (cpu(store.client) - spent) / (time.time() - begin)
    connections = store.client.info("clients")["connected_clients"]
    late = [value for _ in workers for value in out.get()]
    for worker in workers:
        worker.join()
    print(f"server: {server.binary}; {connections} connections")
    print(f"server CPU: {share * 100:.1f} % of a core")
    row("desired write to the agent having read it", late)


if __name__ == "__main__":
    main()
