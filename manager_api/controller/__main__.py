"""The controller process: `python -m manager_api.controller`, started by `manager`."""

import logging
import os
import sys
from pathlib import Path

from manager_api.base import PASSWORD
from manager_api.controller.garbage import OwnGarbage
from manager_api.controller.loop import Controller
from manager_api.settings import StoreAccess
from store import logs
from store.clock import SystemClock
from store.kv.connection import connect
from store.kv.presence import apart
from store.kv.store import Store
from store.process import on_end

log = logging.getLogger("controller")


def main() -> int:
    """Run until SIGTERM."""
    log_file = os.environ.get("MUSTER_LOG_FILE")
    logs.setup(Path(log_file) if log_file else None)
    access = StoreAccess.from_environment(dict(os.environ))
    os.environ.pop(PASSWORD, None)
    password = access.password()
    clock = SystemClock()
    presence = apart(access.presence_url, name="controller-presence", clock=clock)
    client = connect(access.url, name="controller", password=password, recheck=True)
    store = Store(client, presence=presence)
    watcher = connect(access.url, name="controller-watch", password=password, recheck=True)
    controller = Controller(
        store, watcher, access.holder, clock, access.files, access.artifacts, access.source_limit
    )
    controller.garbage = OwnGarbage(clock)
    on_end(controller.stop)
    controller.run()
    log.info("shutting down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
