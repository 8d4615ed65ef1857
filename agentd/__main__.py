"""The program `agent`: the brain of one node. The only place where the agent is wired together."""

import contextlib
import logging
import os
import signal
import socket
import sys
import time

from agentd import identity
from agentd.brain import Brain
from agentd.cgroups import places
from agentd.cgroups.groups import Groups
from agentd.containers.desk import Desk
from agentd.containers.engine import client_env, detect
from agentd.driver import Driver, KeeperError, KeeperGone
from agentd.facts import node as facts
from agentd.identity import Identity
from agentd.join import Joiner
from agentd.keeper import cgroup
from agentd.launch import Launcher
from agentd.local_port import LocalPort
from agentd.logs.server import LogServer
from agentd.memory import Memory
from agentd.policy import Policy
from agentd.settings import SETTINGS, AgentSettings, agent_settings
from agentd.uplink import Uplink
from store import logs
from store.clock import SystemClock
from store.config import ConfigError, Parser, add_flags, resolve
from store.errors import StoreError
from store.process import Lock, on_end
from store.version import VERSION

log = logging.getLogger("agent")

STOP_WITHIN = 20.0
TASKS_STOP_WITHIN = 3600.0


def main(argv: list[str] | None = None) -> int:
    """Run the agent, or stop one; the exit code."""
    parser = Parser(prog="agent", description="Muster's agent: runs what should run on this node.")
    parser.add_argument("--version", action="version", version=f"muster {VERSION}")
    parser.add_argument("command", nargs="?", choices=["stop"], help="stop the agent of --data-dir")
    parser.add_argument("--tasks", action="store_true", help="with stop: end its tasks, too")
    add_flags(parser, SETTINGS)
    flags = parser.parse_args(argv)
    if flags.tasks and flags.command != "stop":
        parser.error("--tasks goes with stop")
    try:
        settings = agent_settings(resolve(SETTINGS, flags))
        logs.setup(settings.log_file)
    except (ConfigError, OSError) as error:
        parser.exit(2, f"agent: {error}\n")
    try:
        if flags.command == "stop":
            return _stop(settings, tasks=flags.tasks)
        return _run(settings)
    except (StoreError, KeeperGone, OSError, ValueError) as error:
        log.error("%s", error)
        return 1


def _run(settings: AgentSettings) -> int:
    log.info("muster %s", VERSION)
    lock = Lock(settings.data_dir / "agent.lock")
    if not lock.try_acquire():
        raise ValueError(f"another agent runs on {settings.data_dir}")
    lock.note(f"{os.getpid()}\n")
    clock = SystemClock()
    who = identity.load(settings.data_dir, settings.hostname, identity.machine_id())
    memory = Memory(settings.data_dir / "orders.json", who)
    policy, environ = Policy(settings.policy), client_env(os.environ)
    engine = detect(environ, settings.data_dir / "engine.json") if settings.containers == "auto" else None
    about = engine.facts() if engine else None
    desk = Desk(engine, environ, settings.data_dir, who.uid, policy) if engine else None
    launcher = Launcher(settings.data_dir, who, policy, _groups(settings, who), desk)
    launcher.address = facts.addresses()[0]
    brain = Brain(settings, who, memory, launcher, clock, hostname=socket.gethostname())
    joiner = Joiner(settings.data_dir, who, settings.manager_url, facts.features(about), settings.labels)
    brain.uplink = Uplink(
        joiner, clock, who.uid, settings.interval, settings.ttl, brain.heartbeat, brain.take
    )
    brain.uplink.spread = joiner.spread
    brain.uplink.say_again = joiner.say_again
    brain.uplink.on_contact = brain.heard
    brain.uplink.on_grant = brain.depot.granted
    brain.uplink.describe = lambda: facts.facts(about)
    log_server = LogServer(launcher.logs, clock, brain.over)
    brain.uplink.on_asks = log_server.take
    port = LocalPort(settings.port, brain.view)
    on_end(brain.stop)
    port.start()
    log_server.start(brain.uplink)
    log.info("node %s, local port %d, manager %s", who.node, port.port, settings.manager_url)
    try:
        brain.run()
        log.info("shutting down")
        brain.uplink.leave()
    finally:
        with contextlib.suppress(KeeperGone, KeeperError):
            brain.driver.end(force=False)
        port.stop()
        lock.close()
    return 0


def _groups(settings: AgentSettings, who: Identity) -> Groups | None:
    """Where tasks are limited, if this agent may do that."""
    found = places.find(f"muster-{who.uid[:8]}") if settings.cgroups == "auto" else None
    if found is None:
        log.warning("no control groups: limits are sampled, and what leaves its session may be missed")
        return None
    log.info("%s for tasks, limiting %s", found.kind, ", ".join(sorted(found.controllers)) or "nothing")
    return Groups(found)


def _remove_groups(settings: AgentSettings) -> None:
    """Leave no control groups behind where no task is left."""
    if not (settings.data_dir / "identity.json").exists():
        return
    who = identity.load(settings.data_dir, settings.hostname, identity.machine_id())
    found = places.find(f"muster-{who.uid[:8]}") if settings.cgroups == "auto" else None
    if found is not None:
        cgroup.remove([found.kill, *found.limits.values()])


def _stop(settings: AgentSettings, *, tasks: bool) -> int:
    """Stop the brain of a data directory; with `tasks`, also all its tasks and its keeper."""
    if not (settings.data_dir / "identity.json").exists():
        log.warning("no agent has ever run on %s", settings.data_dir)
    lock = Lock(settings.data_dir / "agent.lock")
    deadline = time.monotonic() + STOP_WITHIN
    while not lock.try_acquire():
        pid = int((settings.data_dir / "agent.lock").read_text() or 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):  # it is just ending
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise ValueError(f"the agent (pid {pid}) did not stop within {STOP_WITHIN:.0f} s")
        time.sleep(0.1)
    if not tasks:
        return 0
    driver = Driver(settings.data_dir, lambda: None)
    # Tasks whose keeper was killed are still its successor's to end.
    if not driver.connect(start=(settings.data_dir / "keeper.journal").exists()):
        log.info("no tasks run here")
        _remove_groups(settings)
        return 0
    log.info("stopping %d tasks", sum(run.live for run in driver.runs()))
    deadline = time.monotonic() + TASKS_STOP_WITHIN
    while any(run.live for run in driver.runs()):  # a keeper that is killed meanwhile has a successor
        driver.end(force=True)
        if not driver.wait_gone(max(0.0, deadline - time.monotonic())):
            raise ValueError("the tasks did not end")
        if not driver.connect(start=True):
            break
    driver.end(force=True)
    driver.wait_gone(STOP_WITHIN)
    _remove_groups(settings)
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
