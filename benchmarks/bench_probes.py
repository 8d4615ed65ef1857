"""1,000 http probes every 10 s: processor and memory that they cost the prober's process.

Peers in the same run, each in a process of its own against the same server: a thread for each probe
with `http.client`, and one asyncio loop with its streams. The server is a process of its own and is
not counted. Memory is PSS; `threads` and `fds` are the highest seen.
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
INTERVAL = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
WINDOW = float(sys.argv[3]) if len(sys.argv) > 3 else 30.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready"


def main():
    if len(sys.argv) > 4:
        return child(sys.argv[4], int(sys.argv[5]))
    import subprocess

    from rig import header

    header(f"{COUNT} http probes every {INTERVAL:g} s, over {WINDOW:g} s")
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]
        server = subprocess.Popen(again("server", listener.fileno()), pass_fds=[listener.fileno()])
    try:
        for name in ("muster", "asyncio", "threads"):
            found = json.loads(subprocess.run(again(name, port), stdout=subprocess.PIPE, check=True).stdout)
            print(
                f"{name:<10} {found['cpu']:6.2f} % of a cpu  {found['each']:6.0f} µs a probe  "
                f"{found['import']:6.0f} KiB to import  {found['memory']:6.2f} KiB a probe  "
                f"{found['threads']:5d} threads  {found['fds']:4d} fds  n={found['probes']}"
            )
    finally:
        server.kill()
        server.wait()


def again(name, number):
    return [sys.executable, __file__, str(COUNT), str(INTERVAL), str(WINDOW), name, str(number)]


def child(name, number):
    if name == "server":
        return serve(socket.socket(fileno=number))
    before = pss()
    begin = {"muster": muster, "asyncio": in_asyncio, "threads": in_threads}[name]
    counted = [0]
    imported = begin(counted)
    middle = pss()
    imported(f"http://127.0.0.1:{number}/health?n=")
    most_threads, most_fds = settle(counted)
    done, used, began = counted[0], time.process_time(), time.monotonic()
    time.sleep(WINDOW)
    spent, lasted = time.process_time() - used, time.monotonic() - began
    probes = counted[0] - done
    print(
        json.dumps(
            {
                "cpu": 100 * spent / lasted,
                "each": 1e6 * spent / probes,
                "import": middle - before,
                "memory": (pss() - middle) / COUNT,
                "threads": most_threads,
                "fds": most_fds,
                "probes": probes,
            }
        )
    )
    sys.stdout.flush()
    os._exit(0)  # a thousand threads need not be joined


def settle(counted):
    """Two intervals: first looks are over, and each probe has its phase."""
    threads = fds = 0
    until = time.monotonic() + 2 * INTERVAL
    while time.monotonic() < until:
        threads = max(threads, entries("task"))
        fds = max(fds, entries("fd"))
        time.sleep(0.05)
    assert counted[0] >= COUNT
    return threads, fds


def entries(what):
    return sum(1 for _ in Path("/proc/self", what).iterdir())


def pss():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def muster(counted):
    from agentd.probes.prober import Prober
    from store.clock import SystemClock
    from store.model.policies import HealthCheck

    def on_result(_, result):
        assert result.ok, result.reason
        counted[0] += 1

    def start(url):
        checks = {
            f"d{n}.0/web/1.0": HealthCheck(kind="http", target=f"{url}{n}", interval=INTERVAL)
            for n in range(COUNT)
        }
        Prober(on_result, lambda *_: None, SystemClock()).watch(checks)

    return start


def in_threads(counted):
    import http.client

    def probe(url, delay):
        host, _, path = url.removeprefix("http://").partition("/")
        time.sleep(delay)
        while True:
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request("GET", f"/{path}")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
            connection.close()
            counted[0] += 1
            time.sleep(INTERVAL)

    def start(url):
        for n in range(COUNT):
            args = (f"{url}{n}", INTERVAL * n / COUNT)
            threading.Thread(target=probe, args=args, daemon=True).start()

    return start


def in_asyncio(counted):
    import asyncio

    async def probe(url, delay):
        host, _, path = url.removeprefix("http://").partition("/")
        address, _, port = host.partition(":")
        request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        await asyncio.sleep(delay)
        while True:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(address, int(port))
                writer.write(request)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                await reader.read(65536)
                writer.close()
                await writer.wait_closed()
            counted[0] += 1
            await asyncio.sleep(INTERVAL)

    async def all_of(url):
        await asyncio.gather(*(probe(f"{url}{n}", INTERVAL * n / COUNT) for n in range(COUNT)))

    def start(url):
        threading.Thread(target=asyncio.run, args=(all_of(url),), daemon=True).start()

    return start


def serve(listener):
    import asyncio

    class Answering(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, _):
            self.transport.write(ANSWER)
            self.transport.close()

    async def forever():
        server = await asyncio.get_running_loop().create_server(Answering, sock=listener, backlog=4096)
        await server.serve_forever()

    asyncio.run(forever())


if __name__ == "__main__":
    main()
