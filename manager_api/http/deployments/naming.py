"""Names of deployments: one living deployment each; a name whose deployment is over is free."""

from dataclasses import dataclass

from manager_api.http.deployments import views
from manager_api.http.frame.errors import ApiError
from store.codec import Json, dumps, loads, read_record
from store.keys import DEPLOYMENTS, NAMES, STATUS
from store.kv.api import Change, Compare, Record
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED

TAKEN = "This name is taken"
_COMPARED = ("template", "version", "parameters", "ttl")


@dataclass(frozen=True, slots=True)
class Holder:
    """The living deployment that has a name."""

    id: str
    stored: Record
    record: Json
    status: Json | None


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at a name. While `compares` hold, that is so."""

    holder: Holder | None
    compares: tuple[Compare, ...]


def look(store: Store, name: str) -> Place:
    """Who has a name."""
    entry = store.get(NAMES, name)
    if entry is None:
        return Place(None, (Compare(NAMES, name, 0),))
    deployment = read_record(entry.value, f"name {name}")["deployment"]
    mark = Compare(NAMES, name, entry.rev)
    stored, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    if stored is None:
        return Place(None, (mark,))
    record = read_record(stored.value, f"deployment {deployment}")
    known = loads(status.value) if status else None
    compares = (mark, Compare(DEPLOYMENTS, deployment, stored.rev))
    return Place(None if over(record, known) else Holder(deployment, stored, record, known), compares)


def over(record: Json, status: Json | None) -> bool:
    """Whether a deployment has ended or is to end, for whatever reason."""
    if record["wanted"] == "stopped" or (status or {}).get("expired"):
        return True
    return views.state(record, status) in DEPLOYMENT_ENDED


def check_same(holder: Holder, record: Json, *, only: tuple[str, ...] = _COMPARED) -> None:
    """A name asked for again must mean the same.

    Raises:
        ApiError: 409 that says what differs, with the id of the living one.
    """
    problems = [
        f"{key} {_text(holder.record.get(key))}, not {_text(record.get(key))}"
        for key in only
        if (holder.record.get(key) or None) != (record.get(key) or None)
    ]
    if problems:
        detail = (
            f"{record['name']!r} is deployment {holder.id}, which has {'; '.join(problems)}: "
            "update it, stop it first, or take another name"
        )
        raise ApiError(409, TAKEN, detail, id=holder.id)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in sorted(value.items())) or "none"
    return "none" if value is None else repr(value) if isinstance(value, str) else f"{value:g}"


def entry(name: str, deployment: str) -> Change:
    """The change that gives a name to a deployment."""
    return Change(NAMES, name, dumps({"v": 1, "deployment": deployment}))


def retake(store: Store, deployment: str, record: Json) -> tuple[tuple[Compare, ...], tuple[Change, ...]]:
    """What a deployment that was over must write to live again under its name.

    Raises:
        ApiError: 409 when another one has it by now.
    """
    name = record.get("name")
    if name is None:
        return (), ()
    place = look(store, name)
    if place.holder is not None and place.holder.id != deployment:
        detail = f"{name!r} is deployment {place.holder.id} by now: stop that one first"
        raise ApiError(409, TAKEN, detail, id=place.holder.id)
    others = tuple(each for each in place.compares if each.field != deployment)
    return others, (entry(name, deployment),)
