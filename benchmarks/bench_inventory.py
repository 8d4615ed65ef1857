"""100,000 devices on a real manager over HTTP: found, paged, streamed, exported, imported; and what that takes.

python benchmarks/bench_inventory.py [devices]
"""

import json
import statistics
import sys
import time
import urllib.request
from pathlib import Path

import psutil
from rig import Rig, header

sys.path.insert(0, str(Path(__file__).parent.parent))

from store.kv.connection import connect
from store.kv.store import Store
from tests.inventory import seed, seed_group

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
GROUP = "1000000000"
ROUNDS = 7


def ask(rig, path, data=None):
    """Seconds until all of the answer is there, and its size; it is not kept."""
    request = urllib.request.Request(f"http://127.0.0.1:{rig.port}{path}", data=data)
    began, size, last = time.perf_counter(), 0, b""
    with urllib.request.urlopen(request, timeout=600) as answer:
        while piece := answer.read(1 << 18):
            size, last = size + len(piece), piece
    return time.perf_counter() - began, size, last


def workers(rig):
    """Resident bytes of the API's workers together."""
    api = [
        each
        for each in psutil.Process(rig.processes[0].pid).children()
        if "gunicorn" in " ".join(each.cmdline())
    ]
    return sum(each.memory_info().rss for parent in api for each in parent.children())


def main():
    header(f"{COUNT} devices, medians of {ROUNDS} calls")
    with Rig() as rig:
        home = rig.db.with_name(rig.db.name + ".d")
        url = f"redis://127.0.0.1:{(home / 'port').read_text()}/0"
        store = Store(connect(url, name="bench", password=(home / "password").read_text()))
        store.attach()
        seed_group(store, GROUP, "tenth")
        began = time.perf_counter()
        seed(store, COUNT, GROUP)
        print(f"written in transactions of 60: {COUNT / (time.perf_counter() - began):.0f} a second")
        for name, path in (
            ("by id", f"/v1/devices/{int(GROUP) + COUNT // 2}"),
            ("by serial number", f"/v1/devices?sn=SN-{COUNT // 2:06}"),
            ("serial number and model", f"/v1/devices?sn=SN-{COUNT // 2:06}&model=T-"),
            ("page of 100", "/v1/devices?limit=100"),
            ("page of 100 by name, downwards", "/v1/devices?limit=100&sort=-name"),
            ("page of 100 by a part of the model", "/v1/devices?limit=100&model=-07"),
            ("page of 100 of a tenth in a group", f"/v1/groups/{GROUP}/devices?limit=100"),
            ("all memberships of that group", f"/v1/memberships?group_id={GROUP}"),
        ):
            took = [ask(rig, path)[0] * 1000 for _ in range(ROUNDS)]
            print(f"{name:40} {statistics.median(took):8.1f} ms, worst {max(took):.1f}")
        before = workers(rig)
        for name, path in (
            ("all, as a list", "/v1/devices"),
            ("all, as CSV", "/v1/devices/csv"),
            ("export", "/v1/export"),
        ):
            took, size, _ = ask(rig, path)
            print(
                f"{name:40} {took:8.2f} s, {size / 2**20:.0f} MiB; workers grew by {(workers(rig) - before) / 2**20:.0f} MiB"
            )
        with urllib.request.urlopen(f"http://127.0.0.1:{rig.port}/v1/devices/csv", timeout=600) as answer:
            text = answer.read()
        for name, body in (
            ("CSV in, nothing new", text),
            ("CSV in, all changed", text.replace(b"terminal", b"kiosk")),
        ):
            took, _, last = ask(rig, "/v1/devices/csv", body)
            counts = json.loads(last.splitlines()[-1])
            print(
                f"{name:40} {took:8.2f} s, {COUNT / took:.0f} lines a second {counts}; workers grew by {(workers(rig) - before) / 2**20:.0f} MiB"
            )


if __name__ == "__main__":
    main()
