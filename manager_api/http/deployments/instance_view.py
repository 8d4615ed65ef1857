"""What the view of a deployment says beside its state and tasks: name, release, rollout, what is missing."""

from manager_api.http.deployments import views
from store.codec import Json, loads
from store.kv.projection import Projection

_OF_RECORD = ("name", "parameters", "ttl", "wait", "scale", "paused", "change")
_OF_STATUS = ("stable", "rollout", "groups", "missing", "expired")


def rows(projection: Projection, pairs: views.Pairs, *, rows: int = 0) -> list[Json]:
    """The deployments as answered by the API, whole; of a large one, the first `rows` tasks."""
    found = views.deployments(projection, pairs, rows=rows)
    return [{**view, **more(*_parsed(pairs[view["id"]]))} for view in found]


def _parsed(pair: tuple[bytes, bytes | None]) -> tuple[Json, Json]:
    record, status = pair
    return loads(record), loads(status) if status else {}


def more(record: Json, status: Json) -> Json:
    """What a record and its status hold of it; what they do not hold is left out.

    `version` is the one asked for; `release` is there when something else is run: before an update is
    seen to, and after it was reverted.
    """
    found: Json = {key: record[key] for key in _OF_RECORD if key in record}
    found |= {key: status[key] for key in _OF_STATUS if key in status}
    if "ttl" in record:
        found["ends"] = record["created"] + record["ttl"]
    release = status.get("release")
    if release and _content(release) != _content(record):
        found["release"] = release
    return found


def _content(said: Json) -> Json:
    return {"version": said.get("version"), "parameters": said.get("parameters") or {}}
