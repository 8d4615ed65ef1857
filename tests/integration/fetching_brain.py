"""A brain with a real keeper and no store, told to run one program that it has to fetch first.

    fetching_brain.py DIRECTORY SOURCE [RATE]

DIRECTORY/running has the process id of the task's run while there is one. All turns it asks for are granted.
"""

import signal
import sys
import threading
from pathlib import Path

from agentd.brain import Brain
from agentd.core.obey import Offer
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.memory import Memory
from agentd.policy import Policy
from agentd.settings import AgentSettings
from store.clock import SystemClock
from store.codec import dumps

INTERVAL = 0.5


def entry(source):
    return {
        "v": 1, "rev": 1, "generation": 1, "wanted": "running", "deployment": "d", "template": "t",
        "group": "g", "index": 0,
        "tasks": [{
            "name": "t", "config": {"command": "./run.sh"}, "restart": {"condition": "always", "delay": "100ms"},
            "artifacts": [{"source": source, "mode": "0755"}],
        }],
    }  # fmt: skip


def main(home, source, rate=None):
    settings = AgentSettings(
        manager_url="http://127.0.0.1:1", hostname="n", interval=INTERVAL, port=0, data_dir=home,
        log_file=None, policy=home / "policy.yaml", cgroups="none", containers="none", log_quota=1 << 30,
        download_rate=int(rate) if rate else None,
    )  # fmt: skip
    clock, who = SystemClock(), Identity("n", "u", "s", "m")
    launcher = Launcher(home, who, Policy(settings.policy), None)
    brain = Brain(settings, who, Memory(home / "orders.json", who), launcher, clock, hostname="n")
    brain.take(Offer("1-a", 1, "u", {"d.0": entry(source)}))

    def watch():
        (home / "running").unlink(missing_ok=True)
        while True:
            live = [run.pid for run in brain._runs if run.live and run.pid]
            if live:
                (home / "running.new").write_text(str(live[0]))
                (home / "running.new").rename(home / "running")
            brain.depot.heard(clock.now())
            asks = brain.depot.asks().get("fetching", {}).get("asks", {})
            brain.depot.granted(
                dumps({"v": 1, "uid": "u", "grants": {ask: {} for ask in asks}, "waiting": {}})
            )
            threading.Event().wait(0.05)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: brain.stop())
    brain.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
