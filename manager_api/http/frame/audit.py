"""Who asked for what, and got it: an event for each call that wrote. No bodies: they may hold secrets.

Best effort, and after the write: a call does not fail because nobody could be told of it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import falcon
import orjson

from manager_api.http.frame import request_id
from manager_api.http.services import Services
from store.errors import StoreError
from store.kv.events import Events
from store.model.event import Event

log = logging.getLogger("api")

READ = ("GET", "HEAD", "OPTIONS")
MOST_READ = 64 * 1024
MOST_REMOTE = 100
MOST_NAME = 200
_NAMED = {"deployment": "deployment", "node": "node", "node_id": "node", "template": "template"}
"""Words in paths that name a subject."""
_ABOUT = ("artifact", "device", "group")
_INVENTORY = ("devices", "groups", "memberships")
"""Calls whose answers are about none of the subjects."""


class Audit:
    """Middleware over resources that are marked with `durability.writes`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Remember what is called, and on what."""
        if req.method not in READ and getattr(resource, "writes", False):
            req.context.audited = dict(params)

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Tell of it, if it succeeded."""
        params: dict[str, Any] | None = getattr(req.context, "audited", None)
        if params is None or not succeeded or resp.status_code >= 300:
            return
        answer = _answer(resp)
        if _is_dry(req, answer):
            return
        path = req.uri_template or req.path
        event = Event(
            kind="api",
            reason=f"{req.method} {path}",
            subject=subject(path, params, answer),
            data=_call(req, path, resp.status_code) | _about(params),
        )
        store = self._services.store
        try:
            record = event.as_record(time=self._services.clock.wall(), actor="api", epoch=store.epoch)
            Events(store.client, store.keys).add([record])
        except StoreError as error:
            log.info("an event is not told: %s", error)


def forgo(req: falcon.Request) -> None:
    """For calls that turn out to write nothing: they are not told of."""
    req.context.audited = None


def _call(req: falcon.Request, path: str, status: int) -> dict[str, Any]:
    """The call, and who made it, as far as the server knows: headers can say anything."""
    data: dict[str, Any] = {"method": req.method, "path": path, "status": status}
    data["request"] = request_id.of(req)
    remote = req.env.get("REMOTE_ADDR")
    return data | ({"remote": remote[:MOST_REMOTE]} if isinstance(remote, str) and remote else {})


def _about(params: Mapping[str, Any]) -> dict[str, str]:
    """What is no subject of events, and is worth to be told."""
    return {key: params[key][:MOST_NAME] for key in _ABOUT if isinstance(params.get(key), str)}


def _answer(resp: falcon.Response) -> Mapping[str, Any]:
    if not resp.data or len(resp.data) > MOST_READ:
        return {}
    try:
        found = orjson.loads(resp.data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_dry(req: falcon.Request, answer: Mapping[str, Any]) -> bool:
    asked = req.params.get("dry_run")
    return bool(answer.get("dry_run")) or (
        isinstance(asked, str) and asked.lower() in ("", "1", "true", "yes")
    )


def subject(path: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, str]:
    """Whom a call was about: what its path names, else what its answer does."""
    found = {_NAMED[key]: str(value) for key, value in params.items() if key in _NAMED}
    words = path.strip("/").split("/")
    if words[:1] == ["v1"] and words[1:2] and words[1] in _INVENTORY:
        return found
    about_nodes = "nodes" in words
    for key, name in (("node", "node"), ("id", "node" if about_nodes else "deployment")):
        if isinstance(answer.get(key), str) and name not in found:
            found[name] = answer[key]
    if words[-1] in ("task_group", "templates") and isinstance(answer.get("name"), str):
        found["template"] = answer["name"]
    elif isinstance(answer.get("template"), str):
        found.setdefault("template", answer["template"])
    return found
