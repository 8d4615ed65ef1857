"""`/healthz`: this process answers. `/readyz`: the whole manager can do its work, or why not."""

import falcon
import orjson

from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.store_answers import HealthSchema, ReadinessSchema
from manager_api.http.services import Services
from store.errors import EpochChanged, HistoryLost, StoreEmpty, StoreError, WrongRelease
from store.kv.connection import translated
from store.kv.store import Store
from store.version import VERSION

_READINESS = {
    200: Answer(
        "It can.",
        ReadinessSchema(),
        {"status": "ok", "version": VERSION, "checks": {"store": "ok", "controller": "ok"}},
    ),
    503: Answer(
        "It cannot: `checks` says what is missing.",
        ReadinessSchema(),
        {
            "status": "not ready",
            "version": VERSION,
            "checks": {"store": "unreachable", "controller": "unknown"},
        },
    ),
}


class Healthz:
    """`GET /healthz`."""

    @describe(
        "Does this process answer?",
        id="get_health",
        tag="health",
        answers={200: Answer("It does.", HealthSchema(), {"status": "ok", "version": "0.3.0"})},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 as long as anything is answered."""
        resp.data = orjson.dumps({"status": "ok", "version": VERSION})


class Readyz:
    """`GET /readyz`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Can the whole manager do its work?",
        id="get_readiness",
        tag="health",
        answers=_READINESS,
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 when store and controller are there, else 503 and what is missing."""
        checks = self._checks()
        ready = all(text == "ok" for text in checks.values())
        resp.status = 200 if ready else 503
        resp.data = orjson.dumps(
            {"status": "ok" if ready else "not ready", "version": VERSION, "checks": checks}
        )

    def _checks(self) -> dict[str, str]:
        try:
            leads = self._services.call(_leader)
        except StoreEmpty as error:
            cure = "put a backup back, or `muster recover`; tasks run on meanwhile"
            return {"store": f"data lost: {error}: {cure}", "controller": "unknown"}
        except HistoryLost as error:
            return {"store": f"data lost: {error}", "controller": "unknown"}
        except (EpochChanged, WrongRelease) as error:
            return {"store": str(error), "controller": "unknown"}
        except StoreError as error:
            return {"store": f"unreachable: {error}", "controller": "unknown"}
        return {"store": "ok", "controller": "ok" if leads else "no controller leads: nothing is decided"}


def _leader(store: Store) -> bool:
    store.get_many([])  # checks epoch and revision
    with translated():
        return bool(store.client.exists(store.keys.lease("leader")))
