"""`GET /v1/doctor`: looks store and fleet over, now. It answers 200 whatever it finds: that is the answer."""

from pathlib import Path
from typing import Any

import falcon
import orjson

from manager_api.core import doctor
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.store_answers import A_REPORT, MENDED, MendedSchema, ReportSchema
from manager_api.http.inventory import device_mark
from manager_api.http.nodes.brake import look
from manager_api.http.services import Services
from manager_api.http.system.index_look import IndexLook
from manager_api.inventory import agreement
from store.codec import Json
from store.errors import Denied, StoreEmpty, StoreError, Unavailable
from store.keys import NODES, Keys
from store.kv.connection import Client, translated
from store.kv.projection import Projection
from store.kv.store import Store
from store.kv.url import is_sentinel
from store.model.durability import replicas_of, synced
from store.model.finding import Finding, healthy, worst_first
from store.model.server import ServerFacts
from store.preflight import preflight, refused
from store.version import VERSION


class Doctor:
    """`GET /v1/doctor`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._index = IndexLook(services.clock)

    @describe(
        "Look store and fleet over, now",
        id="run_doctor",
        tag="health",
        answers={200: Answer("What was found, good or bad.", ReportSchema(), A_REPORT)},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer what was found, as a report and as findings."""
        access = self._services.access
        embedded = access.advertised_port is not None
        report: Json = {
            "version": VERSION,
            "time": self._services.clock.wall(),
            "store": {"embedded": embedded, "sentinel": is_sentinel(access.url)},
        }
        if access.device_csv is not None:
            report["device_file"] = device_mark.state(Path(access.device_csv), report["time"])
        findings: list[Finding] = []
        try:
            self._look(report, findings)
        except StoreError as error:
            if isinstance(error, Denied):
                findings.append(refused(error))
            else:
                report["trouble"] = {"kind": _kind(error), "text": str(error)}
        findings = worst_first([*findings, *doctor.judge(report)])
        report["ok"] = healthy(findings)
        report["findings"] = [each.as_json() for each in findings]
        resp.data = orjson.dumps(report)

    def _look(self, report: Json, findings: list[Finding]) -> None:
        """Fill the report as far as the store lets us.

        Raises:
            StoreError: from here on it did not.
        """
        services, store = self._services, self._services.store
        shown = report["store"]
        found, facts = preflight(
            store.client, services.clock.wall, sentinel=shown["sentinel"], embedded=shown["embedded"]
        )
        findings += found
        if facts is None:
            return
        shown |= server(facts, embedded=shown["embedded"])
        report |= history(store)
        report["leader"] = leader(store.client, store.keys)
        report["nodes"] = nodes(store)
        report["brake"] = look(store)
        report["devices"] = self._index(store)


@writes
class Index:
    """`POST /v1/doctor/index`."""

    replayable = False  # again is the same: what is right by then stays as it is

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Put the index of devices right",
        id="mend_index",
        tag="health",
        description="Where the doctor finds that it does not say what the records do. Records stay as they "
        "are, and whoever changes one meanwhile is not disturbed.",
        answers={200: Answer("What was put right.", MendedSchema(), MENDED)},
    )
    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer how many lines were put and taken away."""
        done = agreement.Agreement()
        self._services.call(lambda store: agreement.mend(store, done))
        resp.data = orjson.dumps(
            {"records": done.records, "put": done.lacking.count, "taken": done.extra.count}
        )


def _kind(error: StoreError) -> str:
    if isinstance(error, StoreEmpty):
        return "empty"
    return "unavailable" if isinstance(error, Unavailable) else "other"


def server(facts: ServerFacts, *, embedded: bool) -> Json:
    """What is shown of the server."""
    info = facts.info
    return {
        "flavour": facts.name,
        "version": ".".join(map(str, facts.version)),
        "role": {"slave": "replica", "master": "primary"}.get(str(info.get("role")), "?"),
        "uptime": facts.number("uptime_in_seconds"),
        "connections": facts.number("connected_clients"),
        "maxclients": facts.maxclients,
        "memory": facts.number("used_memory"),
        "maxmemory": facts.number("maxmemory"),
        "appendonly": bool(facts.number("aof_enabled")),
        "appendfsync": synced(facts, embedded=embedded),
        "aof_size": facts.number("aof_current_size"),
        "save": facts.setting("save"),
        "last_save": facts.number("rdb_last_save_time"),
        "changes_since_save": facts.number("rdb_changes_since_last_save"),
        "replicas": replicas_of(facts),
        "clock_ahead": round(facts.clock_ahead, 3),
    }


def history(store: Store) -> Json:
    """Cluster, epoch, revision and change log.

    Raises:
        StoreEmpty: there is none.
    """
    seen_in, seen = store.epoch, store.seen  # before we ask: answers to other threads may overtake
    meta, keys = store.meta(), store.keys
    with translated():
        pipe = store.client.pipeline(transaction=False)
        pipe.hget(keys.meta, "fenced")
        pipe.hget(keys.epochs, meta.epoch)
        pipe.xlen(keys.log)
        pipe.get(keys.compacted)
        fenced, begun, entries, compacted = pipe.execute()
    return {
        "cluster": meta.cluster,
        "epoch": doctor.epoch_of(meta.epoch, begun),
        "revision": meta.rev,
        # What this process has seen counts only in the epoch in which it saw it.
        "seen": seen if seen_in == meta.epoch else 0,
        "lost": meta.lost or None,
        "fenced": _number(fenced),
        "log": {
            "entries": entries,
            "compacted": _number(compacted),
            "lag": max(0, meta.rev - _number(compacted)),
        },
    }


def leader(client: Client, keys: Keys) -> Json | None:
    """Who leads, by which token, for how many seconds more; None when nobody does."""
    with translated():
        pipe = client.pipeline(transaction=True)
        pipe.get(keys.lease("leader"))
        pipe.pttl(keys.lease("leader"))
        pipe.get(keys.fence("leader"))
        held, left, fence = pipe.execute()
    if not held:
        return None
    token, _, holder = _text(held).partition(":")
    return {"holder": holder, "token": token, "fence": _text(fence or b""), "seconds": max(0, left) / 1000}


def nodes(store: Store) -> Json:
    """What the fleet's heartbeats say; also of a store that is in another epoch than this process."""
    with translated():
        raw = store.client.hgetall(store.keys.collection(NODES))
    records = {_text(field): value for field, value in raw.items()}
    return doctor.fleet(records, Projection(store).beats(list(records)))


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)


def _number(raw: bytes | None) -> int:
    return int(raw) if raw and raw.isdigit() else 0
