"""A brain with a real keeper and no store: told what to do and of its heartbeats by the test.

    tied_brain.py DIRECTORY ALLOCATION STOP_AFTER COMMAND

While DIRECTORY/contact exists, heartbeats are acknowledged, and DIRECTORY/acked says when the last was sent.
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

BEAT_EVERY = 0.05


def entry(stop_after, command):
    return {
        "v": 1, "rev": 1, "generation": 1, "wanted": "running", "deployment": "d", "template": "t",
        "group": "g", "index": 0, "on_disconnect": {"stop_after": stop_after},
        "tasks": [{
            "name": "t", "config": {"command": ["/bin/sh", "-c", command]}, "stop": {"timeout": "500ms"},
            "restart": {"condition": "no"},
        }],
    }  # fmt: skip


def main(home, alloc, stop_after, command):
    settings = AgentSettings(
        manager_url="http://127.0.0.1:1", hostname="n", interval=BEAT_EVERY, port=0, data_dir=home,
        log_file=None, policy=home / "policy.yaml", cgroups="none", containers="none", log_quota=1 << 30,
    )  # fmt: skip
    clock, who = SystemClock(), Identity("n", "u", "s", "m")
    launcher = Launcher(home, who, Policy(settings.policy), None)
    brain = Brain(settings, who, Memory(home / "orders.json", who), launcher, clock, hostname="n")

    def beat():
        offered = False
        while True:
            if (home / "contact").exists():
                sent = clock.now()
                (home / "acked.new").write_text(
                    repr(sent)
                )  # before: a brain that is killed has not heard more
                (home / "acked.new").rename(home / "acked")
                brain.lifeline.heard(sent, known=offered)
                if not offered:
                    brain.take(Offer("1-a", 1, "u", {alloc: entry(stop_after, command)}))
                offered = True
            else:
                offered = False
            threading.Event().wait(BEAT_EVERY)

    threading.Thread(target=beat, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: brain.stop())
    brain.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
