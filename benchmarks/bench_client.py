"""How long `muster --help` and `muster ps` take, and a call by each of the client's wires.

    python benchmarks/bench_client.py [--beside DIRECTORY]

A server of this script answers, so that only the client is measured. `--beside`: a checkout of an earlier
Muster, whose command line is measured in turn with this one's (CPU seconds of the process, the least of
rounds, so that other work on the machine does not show).
"""

import argparse
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
ROUNDS = 15
CALLS = 400
EMPTY = {"data": [], "total": 0, "next": None, "engaged": None}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every call at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps(EMPTY).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def cpu(words, directory, url):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "MUSTER_URL": url, "PYTHONPATH": str(directory)}
    subprocess.run(
        [sys.executable, "-m", "muster", *words],
        cwd=directory,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def starts(places, url):
    found = {}
    for _ in range(ROUNDS):
        for words in (("--help",), ("ps",)):
            for place in places:
                found.setdefault((words[0], place), []).append(cpu(words, place, url))
    for words in ("--help", "ps"):
        row = [f"{name} {min(found[words, place]) * 1000:.0f} ms" for place, name in places.items()]
        print(f"muster {words:<7} {', '.join(row)} of CPU")


def first_calls(url):
    """An interpreter that makes one call, and ends."""
    code = "import sys; from muster.client import Client; "
    ways = {
        "httpx": code + "Client(sys.argv[1]).get('/v1/nodes')",
        "standard library": code
        + "from muster.client.plain import Wire; Client(sys.argv[1], wire=Wire(sys.argv[1])).get('/v1/nodes')",
    }
    found = {}
    for _ in range(ROUNDS):
        for name, text in ways.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", text, url], cwd=HERE, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.setdefault(name, []).append(
                after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            )
    print(
        "one call from start to end: "
        + ", ".join(f"{name} {min(took) * 1000:.0f} ms" for name, took in found.items())
    )


def calls(url):
    from muster.client import Client
    from muster.client.httpx_wire import Wire as Httpx
    from muster.client.plain import Wire as Plain

    for name, wire in (("httpx", Httpx(url)), ("standard library", Plain(url))):
        client, took = Client(url, wire=wire), []
        for _ in range(CALLS):
            begun = time.perf_counter()
            client.get("/v1/nodes")
            took.append(time.perf_counter() - begun)
        print(
            f"a call, {name:<17} p50 {statistics.median(took) * 1e6:.0f} µs, p99 {statistics.quantiles(took, n=100)[98] * 1e6:.0f} µs"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", type=Path)
    beside = parser.parse_args().beside
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    starts({HERE: "here", **({beside.resolve(): "beside"} if beside else {})}, url)
    first_calls(url)
    calls(url)


if __name__ == "__main__":
    main()
