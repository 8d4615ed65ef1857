"""The controller at size: placing and writing, its memory and how it comes back, deploys beside a fleet, a death.

A real server and a real controller process. Most nodes are records with heartbeats that one process renews
(`census.py`), so that the two cores are the controller's and the server's; nodes that must answer are simulated
agents (`benchmarks/fleet`). The API's write is its record, put by compare and swap, without HTTP around it.

A goal "on one core" is judged by the processor time of the controller, since other processes share the machine:
the census' heartbeats, the server, whatever else runs. Wall time is printed beside it, with the load.

Peers, which cannot run here: Nomad's C1M placed 1,000,000 containers on 5,000 hosts in 266 s with 5 servers of
its own (3,750 a second); Kubernetes' SLO is 5 s from a pod's creation to its start, at up to 5,000 nodes.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from urllib.parse import urlsplit

from census import Census
from fleet.crew import Fleet, raise_limit
from fleet.enrol import enrol
from fleet.orders import deploy, template_on
from fleet.setting import Setting, Who
from rig import header, percentile, wait
from stage import INTERVAL, TTL, Stage, beating

from manager_api.http.templates.templates import save
from store.codec import loads
from store.keys import ALLOCATIONS
from store.kv.projection import Projection

LIVE_INTERVAL, LIVE_TTL = 1.0, 3.0
REPLACED_WITHIN = 60.0


class Table:
    """Rows, printed as they come."""

    def __call__(self, what, measured, goal=""):
        print(f"  {what:<62} {measured:<46} {goal}", flush=True)


def verdict(goal, *, met):
    return f"{goal}: {'met' if met else 'MISSED'}"


def place(asked, row):
    """(a) From the API's write to all desired entries written."""
    with Stage() as stage, contextlib.ExitStack() as stack:
        Census(stage.store, nodes=asked.nodes, allocations=0, ttl=TTL).fill()
        stack.enter_context(beating(stage, asked.nodes))
        stage.lead()
        task = {"name": "main", "config": {"command": "/bin/sleep 1000"}}
        task["resources"] = {"reservations": {"memory": "16M", "cpus": "0.01"}}
        body = {"name": "bulk", "task_groups": [{"name": "main", "count": asked.per, "tasks": [task]}]}
        template = body["name"], save(stage.store, body)
        whole = asked.place // asked.per * asked.per
        before, began = stage.cpu(), time.monotonic()
        for number in range(asked.place // asked.per):
            deploy(stage.store, template, name=f"bulk-{number}")
        accepted = time.monotonic() - began
        seconds = until_written(stage, asked.nodes, whole, began)
        spent = stage.cpu() - before
        there = stage.store.client.hlen(stage.store.keys.collection(ALLOCATIONS))
    what = f"{there} of {whole} allocations over {asked.nodes} nodes, {asked.per} in a deployment"
    row(what, f"{seconds:.2f} s ({accepted:.2f} s of it the API's writes), {spent:.2f} s of CPU")
    goal = verdict("goal 2,000 a second on one core", met=whole / spent >= 2000)
    row(
        "placed and written",
        f"{whole / spent:.0f} per second of CPU, {whole / seconds:.0f} of wall time",
        goal,
    )


def until_written(stage, nodes, whole, began):
    """Seconds until every allocation lies in the desired hash of its node."""
    store = stage.store
    names = [f"sim-{number}" for number in range(nodes)]
    wait(lambda: store.client.hlen(store.keys.collection(ALLOCATIONS)) >= whole, 600, every=0.05)

    def written():
        pipe = store.client.pipeline(transaction=False)
        for name in names:
            pipe.hlen(store.keys.node(name).desired)
        return sum(max(0, each - 3) for each in pipe.execute()) >= whole

    wait(written, 600, every=0.05)
    return time.monotonic() - began


def memory(asked, row):
    """(b) Its memory with the largest fleet, how soon it is back, and what it costs when nothing happens."""
    with Stage() as stage:
        stage.lead()
        bare = stage.cpu()  # to start and to lead where nothing is
    for allocations in sorted({asked.large_nodes, asked.large_allocations}):
        with Stage() as stage:
            Census(stage.store, nodes=asked.large_nodes, allocations=allocations, ttl=TTL).fill()
            with beating(stage, asked.large_nodes):
                took, spent = [stage.lead()], [stage.cpu() - bare]
                stage.dismiss()
                took.append(stage.lead())
                spent.append(stage.cpu() - bare)
                what = f"{asked.large_nodes} nodes, {allocations} allocations: memory rebuilt"
                told = ", ".join(f"{each:.2f}" for each in took)
                row(what, f"{', '.join(f'{each:.2f}' for each in spent)} s of CPU; {told} s of wall time",
                    verdict("goal 2 s", met=max(spent) < 2.0) if allocations == asked.large_nodes else "")  # fmt: skip
                time.sleep(asked.settle)
                before, began = stage.cpu(), time.monotonic()
                time.sleep(asked.seconds)
                share = 100 * (stage.cpu() - before) / (time.monotonic() - began)
                row("its memory", f"{stage.rss():.0f} MiB")
                row(f"heartbeats only, {asked.large_nodes / INTERVAL:.0f} a second", f"{share:.0f} % of a core",
                    verdict("goal 25 %", met=share <= 25))  # fmt: skip


def live(stage, count):
    """Simulated agents that answer, in a process of their own."""
    names = [f"live-{number}" for number in range(count)]
    enrol(stage.store, [Who(name) for name in names])
    parts = urlsplit(stage.server.local_url)
    setting = Setting((parts.hostname, parts.port), interval=LIVE_INTERVAL, ttl=LIVE_TTL)
    fleet = Fleet(setting, names, processes=1)
    wait(lambda: fleet.status()["in"] == len(names), 120, every=0.1)
    return fleet, names


def deploys(asked, row):
    """(c) From the API's write to the order read by its agent, with the largest fleet present."""
    nodes, allocations = asked.large_nodes, asked.large_allocations
    with Stage() as stage, contextlib.ExitStack() as stack:
        fleet, names = live(stage, asked.live)  # first: a full store takes no node more
        stack.callback(fleet.end)
        Census(stage.store, nodes=nodes, allocations=allocations, ttl=TTL).fill()
        stack.enter_context(beating(stage, nodes))
        stage.lead()
        templates = [template_on(stage.store, name) for name in names]
        time.sleep(asked.settle)
        fleet.latencies()
        for number in range(asked.deploys):
            deploy(stage.store, templates[number % len(names)], name=str(number))
            time.sleep(0.1)
        time.sleep(2.0)
        _, found, unhinted = fleet.latencies()
    if not found:
        row("deploy to order read", "none arrived")
        return
    p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
    row(f"deploy to order read by its agent, {nodes} nodes, {allocations} allocations",
        f"p50 {p50:.1f}, p99 {p99:.1f}, max {max(found):.0f} ms; n={len(found)}",
        verdict("goal p99 150 ms", met=p99 <= 150))  # fmt: skip
    row("orders read without a hint", f"{unhinted} of {len(found)}")


def death(asked, row):
    """(d) From a node's last heartbeat to its replacement running elsewhere."""
    late = []
    with Stage() as stage:
        # More than a fifth of a fleet that vanish within minutes are not replaced: the brake holds them.
        fleet, names = live(stage, max(asked.live, 6 * asked.deaths))
        try:
            stage.lead()
            for number in range(asked.deaths):
                found = one_death(stage, fleet, names, number)
                if found is None:
                    row("replacement", f"not running within {REPLACED_WITHIN:.0f} s of the node's death")
                    return
                late.append(found * 1000)
        finally:
            fleet.end()
    p50, worst = percentile(late, 0.5), max(late)
    row(f"node death to replacement running, after TTL ({LIVE_TTL:.0f} s)",
        f"p50 {p50:.0f}, max {worst:.0f} ms; n={len(late)}",
        verdict("goal TTL + 1 s", met=worst <= 1000))  # fmt: skip


def one_death(stage, fleet, names, number):
    """Seconds from the death, a time to live after the last heartbeat, to the replacement; None: it never came."""
    store, nodes = stage.store, Projection(stage.store)
    task = {"name": "main", "config": {"command": "/bin/sleep 1000"}}
    group = {"name": "main", "reschedule": {"after": "0s"}, "tasks": [task]}
    name = f"moves-{number}"
    field = deploy(store, (name, save(store, {"name": name, "task_groups": [group]})), name=name)

    def running():
        wanted = [node for node in names if node not in cut]
        told = zip(wanted, nodes.actual(wanted), strict=True)
        return [
            node for node, said in told for alloc_id, raw in (said or {}).items()
            if alloc_id.startswith(f"{field}.") and loads(raw)["tasks"][0]["state"] == "running"
        ]  # fmt: skip

    cut = {}
    wait(running, 60, every=0.01)
    (victim,) = running()
    last = fleet.cut([victim])[victim]
    cut[victim] = last
    deadline = time.monotonic() + REPLACED_WITHIN
    while not running():
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    names.remove(victim)
    return time.monotonic() - last - LIVE_TTL


PHASES = {"place": place, "memory": memory, "deploys": deploys, "death": death}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5000, help="of (a)")
    parser.add_argument("--place", type=int, default=10_000, help="allocations of (a)")
    parser.add_argument("--per", type=int, default=200, help="allocations in one deployment of (a)")
    parser.add_argument("--large-nodes", type=int, default=10_000, help="of (b) and (c)")
    parser.add_argument("--large-allocations", type=int, default=100_000, help="of (b) and (c)")
    parser.add_argument("--live", type=int, default=20, help="agents that answer, in (c) and, at least, (d)")
    parser.add_argument("--deploys", type=int, default=200)
    parser.add_argument("--deaths", type=int, default=5)
    parser.add_argument("--settle", type=float, default=40.0, help="seconds after which a new leader is calm")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring what it costs at rest")
    parser.add_argument("--only", default=",".join(PHASES), help="some of these, separated by commas")
    return parser.parse_args()


def main():
    asked = arguments()
    unknown = set(asked.only.split(",")) - PHASES.keys()
    if unknown:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    header("The controller at size")
    raise_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that nothing of it stays
    for name in asked.only.split(","):
        PHASES[name](asked, Table())
    print(f"  load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
