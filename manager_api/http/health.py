"""`/healthz`: this process answers. `/readyz`: the whole manager can do its work, or why not."""

import falcon
import orjson

from manager_api.http.services import Services
from store.errors import EpochChanged, HistoryLost, StoreEmpty, StoreError
from store.kv.connection import translated
from store.kv.store import Store
from store.version import VERSION


class Healthz:
    """`GET /healthz`."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 as long as anything is answered."""
        resp.data = orjson.dumps({"status": "ok", "version": VERSION})


class Readyz:
    """`GET /readyz`."""

    def __init__(self, services: Services) -> None:
        self._services = services

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
        except EpochChanged as error:
            return {"store": str(error), "controller": "unknown"}
        except StoreError as error:
            return {"store": f"unreachable: {error}", "controller": "unknown"}
        return {"store": "ok", "controller": "ok" if leads else "no controller leads: nothing is decided"}


def _leader(store: Store) -> bool:
    store.get_many([])  # checks epoch and revision
    with translated():
        return bool(store.client.exists(store.keys.lease("leader")))
