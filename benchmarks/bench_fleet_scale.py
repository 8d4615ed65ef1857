"""10,000 simulated agents at 5 s under one whole manager: CPU, wake-ups, deaths, a restart, the ceiling.

The manager is started as a user would; the agents are `benchmarks/fleet` (real `NodeLink`, two connections each,
each its own user of the store). Orders are deployments of one pinned task, decided and written by the controller.
"""

import argparse
import contextlib
import dataclasses
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from fleet.crew import Fleet, raise_limit
from fleet.enrol import enrol
from fleet.orders import deploy, template_on
from fleet.setting import Setting, Who
from procs import children, cpu
from rig import Rig, header, percentile, wait

from manager_api.http.nodes.admission import spread
from store.errors import StoreError
from store.kv.connection import connect
from store.kv.store import Store

INTERVAL, TTL = 5.0, 15.0
WRITES_PER_SECOND, DEATHS, KEPT_BACK = 50, 100, 200
CEILING_MS = 1000.0


class Bench:
    """A manager, its fleet, and what is measured of both."""

    def __init__(self, rig, asked):
        self.rig, self.asked = rig, asked
        url, self.password = rig.store_access()
        self.url = url
        self.client = connect(url, name="bench", password=self.password)
        self.store = Store(self.client)
        self.store.attach()
        parts = urlsplit(url)
        most = (int(self.client.config_get("maxclients")["maxclients"]) - KEPT_BACK) // 2
        self.agents = min(asked.agents, most)
        self.share = asked.agents / self.agents
        """Each agent stands for so many: fewer than asked for beat that much more often."""
        self.setting = Setting(
            (parts.hostname, parts.port), interval=INTERVAL / self.share, ttl=TTL,
            manager=f"http://127.0.0.1:{rig.port}", spread=spread(self.agents),
        )  # fmt: skip
        self.nodes = [f"sim-{number}" for number in range(self.agents)]
        self.rows = []
        self.log = rig.home / "manager.log"
        self.templates = []

    @property
    def server(self):
        return int(self.client.info("server")["process_id"])

    def controller(self):
        named = b"manager_api.controller"
        manager = self.rig.processes[0].pid
        return [pid for pid in children(manager) if named in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def row(self, what, measured, goal=""):
        self.rows.append((what, measured, goal))
        print(f"  {what:<58} {measured:<44} {goal}", flush=True)

    def come_up(self):
        begin = time.monotonic()
        enrol(self.store, [Who(node) for node in self.nodes])
        enrolled = time.monotonic() - begin
        # Their commands count from here, not those of joining.
        fleet = Fleet(
            self.setting, self.nodes, processes=self.asked.processes, ramp=max(5.0, self.agents / 500)
        )
        wait(lambda: fleet.status()["in"] == self.agents, 300, every=0.5)
        self.row(f"{self.agents} agents joined and up", f"{enrolled:.1f} s, {time.monotonic() - begin:.1f} s")
        self.templates = [
            (n, template_on(self.store, n)) for n in random.sample(self.nodes, min(500, self.agents))
        ]
        time.sleep(2 * INTERVAL)
        return fleet

    def busy(self, fleet, seconds, writes):
        """Percent of a core of server, controller, simulators; heartbeats per second."""
        pids = {"server": [self.server], "controller": self.controller(), "agents": fleet.pids()}
        before = {name: cpu(each) for name, each in pids.items()}
        beats, begin = fleet.status()["beats"], time.monotonic()
        fleet.latencies()
        due = begin
        for number in range(int(seconds * writes)):
            due += 1 / writes
            time.sleep(max(0.0, due - time.monotonic()))
            node, template = self.templates[number % len(self.templates)]
            deploy(self.store, template, name=node)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
        passed = time.monotonic() - begin
        share = {name: 100 * (cpu(each) - before[name]) / passed for name, each in pids.items()}
        return share, (fleet.status()["beats"] - beats) / passed

    def steady(self, fleet):
        share, beats = self.busy(fleet, self.asked.seconds, 0)
        self.client.config_resetstat()
        goal = f"goal 20 %: {'met' if share['server'] <= 20 else 'MISSED'}"
        self.row(
            "Redis CPU, heartbeats only", f"{share['server']:.1f} % of a core at {beats:.0f} beats/s", goal
        )
        share, beats = self.busy(fleet, self.asked.seconds, WRITES_PER_SECOND)
        time.sleep(2.0)
        wakes, deploys, unhinted = fleet.latencies()
        goal = f"goal 20 %: {'met' if share['server'] <= 20 else 'MISSED'}"
        what = f"Redis CPU with {WRITES_PER_SECOND} deployments a second"
        self.row(what, f"{share['server']:.1f} % at {beats:.0f} beats/s", goal)
        self.row("controller, simulators", f"{share['controller']:.0f} %, {share['agents']:.0f} % of a core")
        self.latency("desired written to order read by its agent", wakes)
        self.latency("deployment written to order read by its agent", deploys)
        self.row("orders read without a hint", f"{unhinted} of {len(deploys)}")
        self.commands()

    def latency(self, what, values):
        if not values:
            self.row(what, "none arrived")
            return
        p50, p99, worst = percentile(values, 0.5), percentile(values, 0.99), max(values)
        self.row(what, f"p50 {p50:.1f}, p99 {p99:.1f}, max {worst:.0f} ms; n={len(values)}")

    def commands(self):
        """Where the server's time goes."""
        found = self.client.info("commandstats")
        whole = sum(each["usec"] for each in found.values())
        most = sorted(found.items(), key=lambda item: -item[1]["usec"])[:8]
        said = ", ".join(
            f"{name.removeprefix('cmdstat_')} {100 * each['usec'] / whole:.0f} % "
            f"({each['calls'] / self.asked.seconds:.0f}/s, {each['usec_per_call']:.1f} us)"
            for name, each in most
        )
        print(f"  commands: {said}; of {whole / self.asked.seconds / 1e4:.1f} % in commands", flush=True)

    def deaths(self, fleet):
        position = self.log.stat().st_size
        victims = random.sample(self.nodes, min(DEATHS, self.agents // 2))
        last = fleet.cut(victims)
        self.nodes = [node for node in self.nodes if node not in last]
        late, deadline = {}, time.monotonic() + TTL + 60
        while len(late) < len(last) and time.monotonic() < deadline:
            with self.log.open() as text:
                text.seek(position)
                said = text.read()
            position += len(said.encode())
            now = time.monotonic()
            for node in re.findall(r"node (\S+) is offline", said):
                if node in last:
                    late[node] = (now - last[node] - TTL) * 1000
            time.sleep(0.01)
        worst = max(late.values()) if late else float("inf")
        goal = f"goal TTL + 500 ms: {'met' if len(late) == len(last) and worst <= 500 else 'MISSED'}"
        p50 = percentile(list(late.values()), 0.5) if late else float("inf")
        self.row(
            f"{len(late)} of {len(last)} deaths noticed, after TTL",
            f"p50 {p50:.0f}, max {worst:.0f} ms",
            goal,
        )

    def restart(self, fleet):
        size = self.log.stat().st_size
        stop, seen = threading.Event(), {"shut out": 0, "longest": 0.0}
        prober = threading.Thread(target=self.probe, args=(stop, seen), daemon=True)
        prober.start()
        before = fleet.status()
        began = time.monotonic()
        os.kill(self.server, signal.SIGKILL)
        living = len(self.nodes)
        back, deadline = 0, began + 120
        while back < living and time.monotonic() < deadline:
            time.sleep(0.25)
            back = sum(fleet.ask("whole_since", began))
        after = fleet.status()
        seconds = after["last"] - began if back == living else float("inf")
        time.sleep(1.0)
        stop.set()
        prober.join(10)
        goal = f"goal 30 s: {'met' if seconds <= 30 else 'MISSED'}"
        what = f"kill -9 of the server: {back} of {living} agents beat again"
        self.row(what, f"after {seconds:.1f} s, {after['rejoins'] - before['rejoins']} joined anew", goal)
        refused = self.client.info("stats")["rejected_connections"]
        said = f"{seen['shut out']} times (server: {refused}); longest gap {seen['longest']:.1f} s"
        self.row(
            "manager connections shut out", said, f"goal none: {'met' if not seen['shut out'] else 'MISSED'}"
        )
        dead = len(re.findall(r"node \S+ is offline", self.log.read_text()[size:]))
        self.row(
            "nodes called offline that were not", str(dead), f"goal none: {'met' if not dead else 'MISSED'}"
        )

    def probe(self, stop, seen):
        """A manager's new connection, five times a second."""
        last = time.monotonic()
        while not stop.is_set():
            client = connect(self.url, name="probe", password=self.password)
            try:
                client.ping()
                seen["longest"] = max(seen["longest"], time.monotonic() - last)
                last = time.monotonic()
            except Exception as error:
                seen["shut out"] += "max number of clients" in str(error)
            client.close()
            stop.wait(0.2)

    def ceiling(self, fleet):
        """Shorter intervals, and waits for hints, stand for more agents: the same commands per second."""
        self.store.attach()
        first = self.setting
        factor, points = 1.0, []
        while factor <= 32:
            fleet.change(dataclasses.replace(first, interval=first.interval / factor,
                                             wake_wait=first.wake_wait / factor))  # fmt: skip
            time.sleep(2 * INTERVAL if factor == 1 else 2 * first.interval)
            share, beats = self.busy(fleet, 10.0, WRITES_PER_SECOND)
            time.sleep(1.0)
            wakes, _, _ = fleet.latencies()
            p99 = percentile(wakes, 0.99) if wakes else float("inf")
            load = sum(share.values())
            stands = len(self.nodes) * self.share * factor
            points.append((beats * INTERVAL, share["server"]))
            self.row(
                f"as {stands:.0f} agents: {beats:.0f} beats/s (asked {stands / INTERVAL:.0f})",
                f"Redis {share['server']:.0f} %, controller {share['controller']:.0f} %, agents {share['agents']:.0f} %",
                f"wake p50 {percentile(wakes, 0.5) if wakes else 0:.1f}, p99 {p99:.1f} ms",
            )
            if p99 > CEILING_MS or beats < 0.8 * stands / INTERVAL:
                why = (
                    "wake-up p99 passed 1 s" if p99 > CEILING_MS else "the simulators cannot beat faster here"
                )
                self.row(
                    "ended because", f"{why} ({load:.0f} % of {100 * os.cpu_count()} % used by these three)"
                )
                break
            factor *= 1.5
        (low, some), (high, more) = points[0], points[-1]
        if high > low and more > some:
            slope = (more - some) / (high - low)
            self.row("extrapolated: agents at 90 % of a Redis core", f"{low + (90 - some) / slope:,.0f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", type=int, nargs="?", default=10_000)
    parser.add_argument("seconds", type=float, nargs="?", default=30.0, help="of each measurement")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="steady,deaths,restart,ceiling")
    return parser.parse_args()


def main():
    asked = arguments()
    header(f"{asked.agents} simulated agents at {INTERVAL:g} s, TTL {TTL:g} s, one manager")
    limit = raise_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that nothing of it stays
    with contextlib.ExitStack() as stack:
        bench = Bench(stack.enter_context(Rig()), asked)
        print(
            f"  server {bench.store.meta().flavour}; files per process {limit}; {asked.processes} simulators"
        )
        if bench.agents < asked.agents:
            print(
                f"  only {bench.agents} fit its maxclients; they beat every {bench.setting.interval:.2f} s instead"
            )
        fleet = bench.come_up()
        stack.callback(fleet.end)
        for phase in asked.only.split(","):
            try:
                getattr(bench, phase)(fleet)
            except StoreError as error:
                bench.row(phase, f"broken off: {error}")
        print(f"  load at the end {os.getloadavg()[0]:.1f}; troubles of agents {fleet.status()['troubles']}")


if __name__ == "__main__":
    main()
