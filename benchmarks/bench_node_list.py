"""`GET /api/task/node` with 1,000 simulated nodes: latency of one client, and requests per second.

The peer in the same run is a bare Falcon application under the same gunicorn settings that answers
the same bytes from memory: what this stack can do when it does nothing.
"""

import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rig import Rig, header, percentile, row, wait

from manager_api.supervisor import gunicorn_conf
from store.codec import dumps
from store.kv.connection import connect
from store.kv.store import Store

NODES = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
REQUESTS, CLIENTS, SECONDS = 400, 4, 5
BARE = """
import falcon, pathlib
body = pathlib.Path({body!r}).read_bytes()
class Bare:
    def on_get(self, req, resp):
        resp.data = body
        resp.content_type = 'application/json'
app = falcon.App()
app.add_route('/api/task/node', Bare())
"""


def populate(rig):
    """Node records and heartbeats, as joined and beating agents would leave them."""
    url, password = rig.store_access()
    store = Store(connect(url, name="bench", password=password))
    store.attach()
    pipe = store.client.pipeline(transaction=False)
    for number in range(NODES):
        node = f"node-{number:05}"
        record = {"v": 1, "uid": node, "hostname": node, "ip": f"10.0.{number // 250}.{number % 250}",
                  "addresses": [f"10.0.{number // 250}.{number % 250}"], "version": "0.1.0", "features": ["process"],
                  "secret_sha256": "0" * 64, "joined": time.time()}  # fmt: skip
        beat = {"v": 1, "uid": node, "instance": node, "started": 1.0, "hostname": node, "version": "0.1.0",
                "time": time.time(), "interval": 5.0, "ttl": 3600.0, "epoch": store.epoch, "rev": 1, "frozen": None,
                "running": 7, "unclaimed": [], "tasks": {}, "cpu_percent": number % 100, "cpus": 4, "actual_seq": 3,
                "memory_percent": 41.3, "memory_total": 8 << 30, "memory_used": 3 << 30, "disk_percent": 55.1}  # fmt: skip
        store.put("nodes", node, dumps(record))
        pipe.set(store.keys.node(node).beat, dumps(beat), px=3_600_000)
    pipe.execute()


def latencies(port, count):
    import http.client

    connection, found = http.client.HTTPConnection("127.0.0.1", port), []
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("GET", "/api/task/node")
        body = connection.getresponse().read()
        found.append((time.perf_counter() - begin) * 1000)
    return found, len(body)


def hammer(port, until, out):
    count = 0
    while time.time() < until:
        latencies(port, 5)
        count += 5
    out.put(count)


def throughput(port):
    out = multiprocessing.Queue()
    begin = time.time()
    clients = [
        multiprocessing.Process(target=hammer, args=(port, begin + SECONDS, out)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    total = sum(out.get() for _ in clients)
    spent = time.time() - begin
    for client in clients:
        client.join()
    return total / spent


def main():
    header(f"List of {NODES} nodes")
    with Rig() as rig, tempfile.TemporaryDirectory() as directory:
        populate(rig)
        time.sleep(2)
        (Path(directory) / "body").write_bytes(rig_body(rig))
        (Path(directory) / "bare.py").write_text(BARE.format(body=str(Path(directory) / "body")))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = (gunicorn_conf()).read_text().split("def post_fork")[0]
        (Path(directory) / "conf.py").write_text(settings)
        argv = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            f"{directory}/conf.py",
            "-b",
            f"127.0.0.1:{port}",
            "--chdir",
            directory,
        ]
        bare = subprocess.Popen([*argv, "bare:app"])
        try:
            wait(lambda: latencies(port, 1))
            for place in (rig.port, port):
                latencies(place, 50)  # warm
            ours, size = latencies(rig.port, REQUESTS)
            theirs, _ = latencies(port, REQUESTS)
            rates = throughput(rig.port), throughput(port)
        finally:
            bare.terminate()
            bare.wait()
    row(f"muster, one client, {size // 1024} KiB", ours, goal="goal: p99 20 ms")
    row("bare Falcon, the same bytes from memory", theirs)
    print(f"ratio of medians: {percentile(ours, 0.5) / percentile(theirs, 0.5):.1f}")
    print(f"requests per second, {CLIENTS} clients: muster {rates[0]:.0f}, bare Falcon {rates[1]:.0f}")


def rig_body(rig):
    connection = rig.connection()
    connection.request("GET", "/api/task/node")
    return connection.getresponse().read()


if __name__ == "__main__":
    main()
