"""The API's description as a client would read it, of the code beside this; no server, no store."""

from typing import Any

import falcon.testing

from manager_api.http.app import create_app
from manager_api.http.services import Services
from manager_api.settings import StoreAccess
from store.clock import SystemClock

NOWHERE = StoreAccess(url="redis://127.0.0.1:1/0", advertised_port=None, password_file=None, holder="nobody")


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    app = create_app(Services(NOWHERE, SystemClock()))
    found: dict[str, Any] = falcon.testing.TestClient(app).simulate_get("/openapi.json").json
    return found
