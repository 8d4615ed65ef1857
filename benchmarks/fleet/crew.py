"""Some agents in one process or thread, and the fleet that is made of them."""

import collections
import multiprocessing
import os
import resource
import threading
import time

from .agent import Agent
from .behaviours import KINDS, mixed
from .enrol import Door
from .loop import Loop
from .setting import Who

MARK = "at-"
"""Deployments so named say when they were asked for: nanoseconds since 1970 follow, then a dash."""


class Tally:
    """What one loop counts; latencies in milliseconds."""

    def __init__(self):
        self.beats = self.reports = self.rejoins = 0
        self.troubles = collections.Counter()
        self.wakes, self.deploys, self.unhinted = [], [], 0

    def read(self, desired, stamp, known):
        """A desired hash was read; `stamp` is when the hint that led to it was written."""
        now = time.time()
        if stamp is not None:
            self.wakes.append(max(0.0, now * 1000 - stamp - 0.5))  # stamped in whole milliseconds
        news = [
            alloc_id for alloc_id in desired.entries if alloc_id not in known and alloc_id.startswith(MARK)
        ]
        self.deploys += [(now - int(each[len(MARK) :].split("-")[0]) / 1e9) * 1000 for each in news]
        self.unhinted += bool(news) and stamp is None

    def take(self):
        """The latencies since the last time, and how many orders were read without a hint."""
        found = self.wakes, self.deploys, self.unhinted
        self.wakes, self.deploys, self.unhinted = [], [], 0
        return found


class Crew:
    """The agents of one loop. Its methods run on the loop's thread."""

    def __init__(self, setting, agents, ramp):
        self.loop, self.tally = Loop(), Tally()
        self._door = Door(setting.manager) if setting.manager else None
        rejoin = self._door.ask if self._door else None
        self._agents = {}
        for place, (node, (kind, arguments)) in enumerate(agents):
            agent = Agent(self.loop, setting, Who(node), KINDS[kind](*arguments), self.tally, rejoin)
            self._agents[node] = agent
            agent.begin(ramp * place / len(agents))

    def status(self):
        """Counts, and when the last of those that are whole became so (monotonic)."""
        whole = [agent.whole for agent in self._agents.values() if agent.whole]
        return {
            "in": len(whole), "last": max(whole, default=0.0), "beats": self.tally.beats,
            "reports": self.tally.reports, "rejoins": self.tally.rejoins,
            "troubles": dict(self.tally.troubles), "cpu": time.process_time(),
        }  # fmt: skip

    def whole_since(self, moment):
        """How many have both connections from after a moment (monotonic), and are answered."""
        return sum(agent.whole > moment for agent in self._agents.values())

    def latencies(self):
        """See `Tally.take`."""
        return self.tally.take()

    def cut(self, nodes):
        """Cut some off; when each of them last beat (monotonic)."""
        mine = [node for node in nodes if node in self._agents]
        for node in mine:
            self._agents[node].cut()
        return {node: self._agents[node].beaten for node in mine}

    def back(self, nodes):
        """Have some that were cut off come back, with all that they knew."""
        for node in nodes:
            if node in self._agents:
                self._agents[node].begin(0.0)

    def change(self, setting):
        """Other times from now on."""
        for agent in self._agents.values():
            agent.take(setting)

    def end(self):
        """Stop the loop."""
        self.loop.stop()
        if self._door:
            self._door.close()


def _play(setting, agents, ramp, pipe):
    """A process of agents; obeys what its parent says through the pipe."""
    raise_limit()
    crew = Crew(setting, agents, ramp)
    threading.Thread(target=_obey, args=(crew, pipe), daemon=True).start()
    crew.loop.run()


def _obey(crew, pipe):
    while True:
        try:
            verb, arguments = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            verb = "end"
        if verb == "end":
            crew.loop.post(crew.end)
            return
        crew.loop.post(lambda verb=verb, arguments=arguments: pipe.send(getattr(crew, verb)(*arguments)))


def raise_limit():
    """As many files as this process may have at all; that number."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Fleet:
    """Agents `prefix-0` … in `processes` processes; 0: on a thread of this one, for tests.

    The nodes must have been enrolled. `mix` says how they behave, see `behaviours.parse`.
    """

    def __init__(self, setting, nodes, mix="obey", *, processes=1, ramp=0.0):
        self.setting = setting
        self.behaviours = dict(zip(nodes, (kind for kind, _ in mixed(mix, len(nodes))), strict=True))
        agents = list(zip(nodes, mixed(mix, len(nodes)), strict=True))
        self._pipes, self._workers = [], []
        for number in range(max(1, processes)):
            part = agents[number :: max(1, processes)]
            ours, theirs = multiprocessing.Pipe()
            self._pipes.append(ours)
            if processes:
                # Not forked: whoever has threads must not be.
                start = multiprocessing.get_context("spawn").Process
                worker = start(target=_play, args=(setting, part, ramp, theirs), daemon=True)
            else:
                worker = threading.Thread(target=_play, args=(setting, part, ramp, theirs), daemon=True)
            worker.start()
            self._workers.append(worker)

    def named(self, *kinds):
        """The nodes that behave so."""
        return [node for node, kind in self.behaviours.items() if kind in kinds]

    def ask(self, verb, *arguments):
        """What every part of the fleet answers; see `Crew`."""
        for pipe in self._pipes:
            pipe.send((verb, arguments))
        return [pipe.recv() for pipe in self._pipes]

    def status(self):
        """The sum of what the parts say."""
        whole = collections.Counter()
        troubles = collections.Counter()
        last = 0.0
        for part in self.ask("status"):
            last = max(last, part.pop("last"))
            troubles.update(part.pop("troubles"))
            whole.update(part)
        return {**whole, "last": last, "troubles": dict(troubles)}

    def cut(self, nodes):
        """Cut some off; when each of them last beat (monotonic)."""
        return {node: at for part in self.ask("cut", nodes) for node, at in part.items()}

    def back(self, nodes):
        """Have some that were cut off come back, with all that they knew."""
        self.ask("back", nodes)

    def latencies(self):
        """Since the last time: hint written to order read, asked for to order read (ms), orders without a hint."""
        parts = self.ask("latencies")
        return [x for p in parts for x in p[0]], [x for p in parts for x in p[1]], sum(p[2] for p in parts)

    def change(self, setting):
        """Other times from now on."""
        self.setting = setting
        self.ask("change", setting)

    def pids(self):
        """Of its processes."""
        return [getattr(worker, "pid", os.getpid()) for worker in self._workers]

    def end(self):
        """Stop all of it."""
        for pipe in self._pipes:
            pipe.send(("end", ()))
        for worker in self._workers:
            worker.join(20)
        for pipe in self._pipes:
            pipe.close()
