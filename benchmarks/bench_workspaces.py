"""A hundred users ask for their workspace at the same moment, and somebody lists meanwhile.

Real processes (a small shell loop would be the program), no engine: what an engine takes for a container is its own.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rig import Rig, header, row, wait

USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
LISTS = 200


def timed(rig, method, path, body=None):
    begin = time.perf_counter()
    status, answer = rig.call(method, path, body)
    assert status < 300, answer
    return (time.perf_counter() - begin) * 1000, answer


def template():
    task = {"name": "t", "config": {"command": ["sleep", "1000"]}, "ports": {"http": 0}}
    return {"name": "ws", "parameters": {"user_id": {}}, "task_groups": [{"name": "g", "tasks": [task]}]}


def main():
    header(f"{USERS} workspaces at once")
    with Rig("--workspace-template", "ws", "--workspace-ttl", "1h") as rig:
        rig.agent("bench-1")
        rig.call("POST", "/api/task/task_group", template())
        meanwhile, over = [], threading.Event()

        def lister():
            while not over.is_set():
                meanwhile.append(timed(rig, "GET", "/list")[0])

        watching = threading.Thread(target=lister)
        watching.start()
        begin = time.perf_counter()
        with ThreadPoolExecutor(USERS) as pool:
            made = list(pool.map(lambda n: timed(rig, "POST", "/create", {"user_id": f"u{n}"}), range(USERS)))
        answered = time.perf_counter() - begin
        wait(lambda: all(one["status"] == "RUNNING" for one in rig.call("GET", "/list")[1]["containers"]))
        running = time.perf_counter() - begin
        over.set()
        watching.join()
        assert rig.call("GET", "/list")[1]["total"] == USERS
        known = sum(answer["url"] is not None for _, answer in made)
        row("POST /create", [one for one, _ in made])
        print(
            f"all answered after {answered:.2f} s, {known} of {USERS} with their url; all running after {running:.2f} s"
        )
        row("GET /list meanwhile", meanwhile)
        row(
            f"GET /list of {USERS}, nothing else going on",
            [timed(rig, "GET", "/list")[0] for _ in range(LISTS)],
        )
        row(
            "the same user again", [timed(rig, "POST", "/create", {"user_id": "u0"})[0] for _ in range(LISTS)]
        )


if __name__ == "__main__":
    main()
