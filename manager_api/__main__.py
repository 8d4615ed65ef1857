"""The program `manager`: API, controller and, by default, the store, in one command."""

import argparse
import json
import logging
import os
import secrets
import signal
import socket
import sys
from typing import Any

from manager_api.base import take_password
from manager_api.listening import LOCK_WITHIN, listen, pause
from manager_api.recorder import recorder
from manager_api.settings import (
    DEFAULT_STORE_PORT,
    SECRETS,
    SETTINGS,
    ManagerSettings,
    StoreAccess,
    manager_settings,
)
from manager_api.supervisor import Supervisor, api_child, controller_child, device_file_child
from manager_api.warden import wardens
from store import backup, bootstrap, highest, logs, snapshot
from store.clock import SystemClock
from store.config import ConfigError, Parser, add_flags, resolve
from store.embedded import EmbeddedServer
from store.errors import StoreEmpty, StoreError, Unavailable
from store.home import Files
from store.keys import Keys
from store.kv.connection import connect
from store.kv.presence import ANSWER_WITHIN, own
from store.kv.server import Server
from store.kv.store import Store
from store.kv.url import is_sentinel, redacted
from store.preflight import insist, preflight, tell
from store.process import Lock, write_whole
from store.version import VERSION

log = logging.getLogger("manager")

EMPTY = (
    "Nothing is begun anew by itself, and nodes keep what they run. Restore a backup (`muster restore FILE`, "
    "or put it at --db-path and start again); or `muster recover`, which begins with what the nodes run"
)
EXTERNAL_SAID_EVERY = 10.0
"""Seconds to wait for the store of a manager that has just died."""


def main(argv: list[str] | None = None) -> int:
    """Run the manager; its exit code."""
    parser = Parser(prog="manager", description="Muster's manager: HTTP API, controller and store.")
    parser.add_argument("--version", action="version", version=f"muster {VERSION}")
    add_flags(parser, SETTINGS)
    flags = parser.parse_args(argv)
    _hide_secrets(flags)
    try:
        settings = manager_settings(resolve(SETTINGS, flags) | {"sftp_password": take_password(os.environ)})
        logs.setup(settings.log_file)
    except (ConfigError, OSError) as error:
        parser.exit(2, f"manager: {error}\n")
    for number in (signal.SIGTERM, signal.SIGINT):  # until the supervisor takes them
        signal.signal(number, _interrupted)
    try:
        return _run(settings)
    except KeyboardInterrupt:
        log.info("shutting down")
        return 0
    except (StoreError, OSError) as error:
        log.error("%s", error)
        return 1


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _hide_secrets(flags: argparse.Namespace) -> None:
    """Start anew without the flags that carry passwords: argv is for everybody to read."""
    given = [key for key in SECRETS if getattr(flags, key, None) is not None]
    if not given or sys.argv[0] == "":
        return
    for key in given:
        os.environ["MUSTER_" + key.upper()] = getattr(flags, key)
    names = {"--" + key.replace("_", "-") for key in given}
    kept: list[str] = []
    skip = False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word in names:
            skip = True
        elif word.partition("=")[0] not in names:
            kept.append(word)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "manager_api", *kept])


def _run(settings: ManagerSettings) -> int:
    log.info("muster %s", VERSION)
    if not settings.local:
        log.warning("INSECURE: everybody who reaches %s can run programs on every node", settings.listen)
    if settings.base is not None:
        settings.base.open().tell()
        settings.base.warn()
    clock = SystemClock()
    files = settings.files
    files.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(files, clock)
    backup.clear(files)
    listener = listen(settings, files, clock)
    embedded, keeper, access = _store(settings, files, lock, clock)
    if settings.presence_store is not None:
        _presence(settings.presence_store, files)
    environment = access.environment()
    if settings.log_file:
        environment["MUSTER_LOG_FILE"] = str(settings.log_file.resolve())
    port = listener.getsockname()[1]
    host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
    about = {"url": f"http://{host}:{port}", "pid": os.getpid(), "version": VERSION}
    write_whole(files.home / "manager.json", json.dumps(about).encode())
    log.info("listening on %s", about["url"])
    api = api_child(clock, environment, listener, files.home / "metrics")
    children = [api, controller_child(clock, environment)]
    if settings.device_csv is not None:
        children.append(device_file_child(clock, environment))
    events = recorder(access, files.home, clock)
    events.start()
    Supervisor(clock, children, embedded, keeper, wardens(access, clock)).run()
    events.stop()
    # A manager that finds this file knows that its former self crashed.
    (files.home / "manager.json").unlink(missing_ok=True)
    return 0


def _store(
    settings: ManagerSettings, files: Files, lock: Lock, clock: SystemClock
) -> tuple[EmbeddedServer | None, snapshot.SnapshotKeeper | None, StoreAccess]:
    """The server, with who publishes its snapshot, if it is our own; and how to reach the store."""
    mine: dict[str, Any] = {"holder": _holder(files), "home": files.home}
    mine |= {"presence_url": settings.presence_store, "durability": settings.durability}
    mine |= {"base": settings.base, "source_limit": settings.source_limit}
    mine |= {"workspaces": settings.workspaces}
    mine |= {"device_csv": str(settings.device_csv.resolve()) if settings.device_csv else None}
    if settings.store is not None:
        _external(settings.store, files, clock)
        server = str(settings.store_server) if settings.store_server else None
        url = settings.store
        access = StoreAccess(url=url, advertised_port=None, password_file=None, server=server, **mine)
        return None, None, access
    embedded = _embedded(settings, files, lock)
    store = Store(embedded.client("manager"))
    tell(preflight(store.client, clock.wall, embedded=True)[0])
    access = StoreAccess(
        url=embedded.local_url,
        advertised_port=embedded.port,
        password_file=str(files.password.resolve()),
        server=str(embedded.binary.path),
        **mine,
    )
    return embedded, snapshot.SnapshotKeeper(embedded, store, settings.db_path, clock), access


def _lock(files: Files, clock: SystemClock) -> Lock:
    lock = Lock(files.home / "lock")
    deadline = clock.now() + LOCK_WITHIN
    waiting = False
    while not lock.try_acquire():
        if clock.now() > deadline:
            raise StoreError(f"another manager, or its store, is using {files.home}")
        if not waiting:
            log.info("waiting for %s: the store of an earlier manager is still ending", files.home)
            waiting = True
        pause(0.1)
    lock.note(f"{os.getpid()}\n")
    return lock


def _embedded(settings: ManagerSettings, files: Files, lock: Lock) -> EmbeddedServer:
    """The embedded server, serving, with its cluster known and its epoch right."""
    port = settings.store_port
    if port is None and not settings.local:
        port = DEFAULT_STORE_PORT
    embedded = EmbeddedServer(
        files,
        listen=settings.listen,
        port=port or None,
        binary=settings.store_server,
        fsync=settings.fsync,
        pass_fds=(lock.fileno(),),
    )
    restoring = snapshot.replaced_by_hand(files, settings.db_path)
    if restoring:
        log.warning("%s is not the snapshot that was left here: it is taken as the data", settings.db_path)
        embedded.load(settings.db_path)
    embedded.start()
    store = Store(embedded.client("manager"))
    try:
        known = None if restoring else files.known_cluster()
        meta = bootstrap.begin(store, known)
        if restoring:
            meta = bootstrap.mint(store, above=highest.recorded(files))
            highest.record(files, meta)
            snapshot.accept(files, settings.db_path)
            log.warning("restored: epoch %s begins at revision %d", meta.epoch, meta.rev)
        write_whole(files.cluster, meta.cluster.encode())
    except StoreEmpty as error:
        log.error("%s. %s", error, EMPTY)
    except StoreError:
        embedded.stop()
        raise
    return embedded


def _external(url: str, files: Files, clock: SystemClock) -> None:
    """Wait for an external store, and check that it is one, and ours."""
    client = connect(url, name="manager")
    said = -EXTERNAL_SAID_EVERY
    try:
        while True:
            try:
                findings, _ = preflight(client, clock.wall, sentinel=is_sentinel(url))
                insist(findings)
                meta = bootstrap.begin(Store(client), files.known_cluster())
                write_whole(files.cluster, meta.cluster.encode())
                break
            except StoreEmpty as error:
                log.error("%s. %s", error, EMPTY)
                break
            except Unavailable as error:
                if clock.now() - said >= EXTERNAL_SAID_EVERY:
                    log.warning("waiting for the store at %s: %s", redacted(url), error)
                    said = clock.now()
                pause(0.5)
    finally:
        client.close()
    log.info("using the store at %s", redacted(url))
    tell(findings)


def _presence(url: str, files: Files) -> None:
    """Check a presence store. Without it agents beat on the main one, so its absence holds nothing up."""
    client = connect(url, name="manager", within=ANSWER_WITHIN)
    try:
        flavour = Server(client).flavour()
        own(client, Keys(), files.cluster.read_text())
    except Unavailable as error:
        log.warning(
            "presence store at %s: %s; until it is there agents beat on the main store", redacted(url), error
        )
        return
    finally:
        client.close()
    log.info("presence store: %s at %s", flavour, redacted(url))


def _holder(files: Files) -> str:
    """Who we are in elections: the same in every life of this manager, unlike any other."""
    path = files.home / "holder"
    if not path.exists():
        write_whole(path, f"{socket.gethostname()}-{secrets.token_hex(4)}".encode())
    return path.read_text()


if __name__ == "__main__":
    sys.exit(main())
