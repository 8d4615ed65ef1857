"""The ten most used calls on one gunicorn worker, beside a bare Falcon and a FastAPI twin; and 500 watchers.

All three make the same round trips to the same store in the same run (see `twins.py`), in short turns one
after another, so that what else the machine does meets all of them. Beside requests per second and
latencies: the CPU time of the server process per request, which other load disturbs less.

    python benchmarks/bench_api.py [rounds] [seconds of each turn]
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
from rig import header, percentile, wait
from twins import TRIPS, Tape
from wire import Connection, request

sys.path.insert(0, str(Path(__file__).parent.parent))

from manager_api.settings import StoreAccess
from manager_api.supervisor import gunicorn_conf
from store import bootstrap
from store.codec import dumps
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.store import Store
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
CLIENTS, WATCHERS, NODES = 8, 500, 20
TEMPLATE = {
    "name": "t",
    "task_groups": [
        {"tasks": [{"name": f"task-{n}", "config": {"command": "/bin/sleep 9"}} for n in range(3)]}
    ],
}


def populate(manager):
    """Twenty nodes, a template and twenty deployments of it, decided by a real leader; the ten calls."""
    puppets = [Puppet(manager, f"web-{n}", f"192.168.10.{n + 1}") for n in range(NODES)]
    manager.post("/api/task/task_group", TEMPLATE)
    ids = [manager.post("/api/task/task_group/deploy", {"name": "t"}).json["id"] for _ in range(20)]
    eventually(lambda: sum(len(each.orders()) for each in puppets) == len(ids))
    for each in puppets:
        each.obey()
    one = f"/v1/deployments/{ids[0]}"
    eventually(lambda: manager.get(one).json["status"] == "RUNNING")
    manager.end()
    return [
        ("GET", "/api/task/node", None),
        ("GET", "/v1/nodes", None),
        ("GET", "/v1/nodes/web-1", None),
        ("GET", "/v1/deployments?limit=20", None),
        ("GET", one, None),
        ("GET", "/v1/templates", None),
        ("POST", "/api/task/query", {"name": "t"}),
        ("POST", "/api/task/task_group", TEMPLATE),
        ("POST", "/api/task/task_group/query", {"id": ids[0]}),
        ("POST", "/v1/nodes/web-1/cordon", {}),
    ]


def more_nodes(store, count):
    """Node records and heartbeats, as joined and beating agents would leave them."""
    there = len(store.revisions("nodes"))
    pipe = store.client.pipeline(transaction=False)
    for number in range(there, count):
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


def recorded(manager, method, path, body):
    """A call as the application makes it now."""
    with Tape() as tape:
        answer = manager.http.simulate_request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    return {"trips": tape.trips, "answer": answer.json}


class Server:
    """One of the three, and the process that serves."""

    def __init__(self, name, argv, env):
        self.name = name
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = [sys.executable, "-m", *(word.replace("PORT", str(self.port)) for word in argv)]
        self.process = subprocess.Popen(argv, env={**os.environ, **env})
        try:
            wait(lambda: Connection(self.port).ask(request("GET", "/v1/templates")))
        except BaseException:
            self.end()
            raise
        children = psutil.Process(self.process.pid).children()
        self.worker = children[0] if children else psutil.Process(self.process.pid)

    def cpu(self):
        spent = self.worker.cpu_times()
        return spent.user + spent.system

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def turn(server, data, seconds):
    """Requests per second, latencies in ms, and CPU in µs per request of one server for a while."""
    selector, latencies = selectors.DefaultSelector(), []
    connections = [Connection(server.port) for _ in range(CLIENTS)]
    connections[0].ask(data)  # warm
    for (
        connection
    ) in connections:  # together: an answer that is not taken for long ends a kept-alive connection
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(data)
    begin, cpu = time.perf_counter(), server.cpu()
    while (now := time.perf_counter()) < begin + seconds:
        for key, _ in selector.select(1):
            if key.data.take():
                latencies.append((time.perf_counter() - key.data.begun) * 1000)
                key.data.send(data)
    cpu = server.cpu() - cpu
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    count = max(len(latencies), 1)
    return (
        count / (now - begin),
        percentile(latencies or [0.0], 0.5),
        percentile(latencies or [0.0], 0.99),
        cpu / count * 1e6,
    )


def compare(servers, calls, rounds, seconds):
    """Print the medians of some rounds; the ratios of ours to each twin's."""
    print(f"{'':36}" + "".join(f"{server.name:>40}" for server in servers) + "   ours to each of the others")
    ratios = []
    for method, path, body in calls:
        data = request(method, path, body)
        found = {server.name: [] for server in servers}
        for _ in range(rounds):
            for server in servers:
                found[server.name].append(turn(server, data, seconds))
        middle = [
            [statistics.median(column) for column in zip(*each, strict=True)] for each in found.values()
        ]
        cells = "".join(
            f"{rps:9.0f}/s {p50:6.1f} {p99:7.1f} ms {cpu:7.0f} µs" for rps, p50, p99, cpu in middle
        )
        ratio = [middle[0][0] / other[0] for other in middle[1:]]
        cpu = [other[3] / max(middle[0][3], 1) for other in middle[1:]]
        ratios.append((*ratio, *cpu))
        shown = f"{method} {path}" if len(path) < 45 else f"{method} {path[:20]}…"
        print(f"{shown:36}{cells}   {_row(ratio)}; by CPU {_row(cpu)}")
    middle = [statistics.median(column) for column in zip(*ratios, strict=True)]
    half = len(middle) // 2
    names = ", ".join(server.name for server in servers[1:])
    print(f"medians, ours to {names}: {_row(middle[:half])}; by CPU {_row(middle[half:])}")


def _row(ratios):
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


def watch(ours, store, path="/v1/nodes"):
    """500 who wait for the list: what they take, what others get beside, when all are told of a change."""
    before = ours.worker.memory_info().rss
    warm = Connection(ours.port)
    after = "0"
    for _ in range(2):
        head = warm.ask(request("GET", f"{path}?after={after}&wait=0s")).decode()
        after = head.lower().partition("muster-revision: ")[2].partition("\r\n")[0]
    waiting = request("GET", f"{path}?after={after}&wait=5m", headers="Accept-Encoding: gzip\r\n")
    crowd = [Connection(ours.port) for _ in range(WATCHERS)]
    idle = turn(ours, request("GET", "/v1/templates"), 2 * SECONDS)
    for each in crowd:
        each.send(waiting)
    wait(lambda: ours.worker.num_threads() > WATCHERS)
    beside = turn(ours, request("GET", "/v1/templates"), 2 * SECONDS)
    taken = (ours.worker.memory_info().rss - before) / 2**20
    spent, begin, left = ours.cpu(), time.perf_counter(), len(crowd)
    record = store.get("nodes", "web-1")
    store.put("nodes", "web-1", dumps({**json.loads(record.value), "labels": {"moved": str(begin)}}))
    selector, told = selectors.DefaultSelector(), []
    for each in crowd:
        selector.register(each.socket, selectors.EVENT_READ, each)
    while left and time.perf_counter() < begin + 60:
        for key, _ in selector.select(1):
            if key.data.take():
                told.append((time.perf_counter() - begin) * 1000)
                selector.unregister(key.fileobj)
                left -= 1
    print(f"{WATCHERS} watchers of {path}: GET /v1/templates {idle[0]:.0f}/s p99 {idle[2]:.1f} ms without, "
          f"{beside[0]:.0f}/s p99 {beside[2]:.1f} ms beside them; {taken:.0f} MiB and {ours.worker.num_threads()} threads; "
          f"a change told to {len(told)} of them: first {told[0]:.0f} ms, median {percentile(told, .5):.0f} ms, "
          f"last {told[-1]:.0f} ms, {ours.cpu() - spent:.2f} s of CPU")  # fmt: skip
    for each in crowd:
        each.socket.close()


def main():
    header(f"Ten calls, {CLIENTS} connections, medians of {ROUNDS} turns of {SECONDS} s")
    quick = [name for name in ("uvloop", "httptools") if find_spec(name)]
    print(f"uvicorn with {' and '.join(quick) or 'neither uvloop nor httptools'}")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "store").mkdir()
        embedded = EmbeddedServer(Files(home / "store"))
        embedded.start()
        try:
            measure(home, embedded)
        finally:
            embedded.stop()


def measure(home, embedded):
    store = Store(embedded.client("bench"))
    bootstrap.begin(store, None)
    manager = Manager(store).lead()
    calls = populate(manager)
    options = store.client.connection_pool.connection_kwargs
    url = f"redis://:{options['password']}@{options['host']}:{options['port']}/0"
    access = StoreAccess(url=url, advertised_port=None, password_file=None, holder="bench")
    conf = home / "conf.py"
    ours_without_app = gunicorn_conf().read_text().split("def post_fork")[0]
    conf.write_text(f"{ours_without_app}def post_fork(server, worker):\n    on_one_cpu(worker.slot)\n")
    gunicorn = ["gunicorn", "-w", "1", "-b", "127.0.0.1:PORT"]
    here = str(Path(__file__).parent)
    env = {
        **access.environment(),
        "MUSTER_API_WORKERS": "1",
        "GUNICORN_CMD_ARGS": "--max-requests 0",  # no worker is replaced in the middle
        "BENCH_STORE": url,
        TRIPS: str(home / "calls.json"),
    }
    uvicorn = ["uvicorn", "--factory", "--port", "PORT", "--timeout-keep-alive", "60"]
    uvicorn += ["--log-level", "warning", "--no-access-log", "--app-dir", here]
    ours = Server("Muster", [*gunicorn, "-c", str(gunicorn_conf()), "manager_api.wsgi:app"], env)
    try:
        for nodes in (NODES, 1_000, 10_000):
            more_nodes(store, nodes)
            known = calls if nodes == NODES else [("GET", "/v1/nodes", None)]
            taken = {
                f"{method} {path}": recorded(manager, method, path, body) for method, path, body in calls
            }
            (home / "calls.json").write_text(json.dumps(taken))
            twins = [
                Server(
                    "bare Falcon", [*gunicorn, "-c", str(conf), "--chdir", here, "twins:falcon_app()"], env
                )
            ]
            twins.append(Server("FastAPI", [*uvicorn, "twins:fastapi_app"], env))
            twins.append(Server("FastAPI, raw", [*uvicorn, "twins:raw_fastapi_app"], env))
            print(f"{nodes} nodes")
            try:
                compare([ours, *twins], known, ROUNDS, SECONDS * max(1, nodes / 1_000))
            finally:
                for each in twins:
                    each.end()
            if nodes > NODES:
                watch(ours, store)
    finally:
        ours.end()


if __name__ == "__main__":
    main()
