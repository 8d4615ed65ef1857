"""The allocations of a deployment, as its status names them; those of a large one have to be read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from manager_api.core.layout import parts
from store.batches import batches
from store.codec import Json, loads
from store.errors import BadRecord
from store.keys import ALLOCATIONS, VERSIONS, version_field
from store.kv.store import Store
from store.model import spec
from store.model.placed import MOST_BRIEFS, count, numbers

READ_AT_ONCE = 1000
KEPT = ("node", "group", "index", "version", "generation", "ports", "canary")
"""What a row may say of its allocation's record."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Briefs that are shown as rows, and how many allocations are not."""

    briefs: Sequence[Json] = field(default_factory=list)
    left_out: int = 0


def size(status: Json) -> int:
    """How many allocations a status is about."""
    return len(status.get("allocations", ())) or count(status.get("placed", ()))


def named(status: Json) -> Shown:
    """What can be shown of a status without reading more: nothing of a large deployment."""
    there = size(status)
    return Shown(left_out=there) if there > MOST_BRIEFS else Shown(status.get("allocations", ()))


def detailed(store: Store, deployments: Mapping[str, Json], most: int) -> dict[str, Shown]:
    """The first `most` allocations of some deployments, by id and status, with what their records say."""
    ids = {key: list(islice(_ids(key, status), most)) for key, status in deployments.items()}
    records = _records(store, [each for some in ids.values() for each in some])
    known = {key: {each["id"]: each for each in status.get("allocations", ())}
             for key, status in deployments.items()}  # fmt: skip
    named_there = {each for some in known.values() for each in some}
    tasks = _task_names(store, [record for each, record in records.items() if each not in named_there])
    found = {}
    for key, status in deployments.items():
        briefs = [_brief(each, records.get(each), known[key].get(each), tasks) for each in ids[key]]
        there = [brief for brief in briefs if brief is not None]
        found[key] = Shown(there, size(status) - len(ids[key]))
    return found


def briefs(store: Store, deployment: str, status: Json) -> Sequence[Json]:
    """All allocations of a deployment: by their records, if they are too many for its status to name them."""
    if status.get("allocations"):
        named_there: Sequence[Json] = status["allocations"]
        return named_there
    return detailed(store, {deployment: status}, count(status.get("placed", ())))[deployment].briefs


def _ids(deployment: str, status: Json) -> list[str]:
    named_there = [each["id"] for each in status.get("allocations", ())]
    return named_there or [f"{deployment}.{number}" for number in numbers(status.get("placed", ()))]


def _records(store: Store, ids: Sequence[str]) -> dict[str, Json]:
    """Those that are there and can be read."""
    found: dict[str, Json] = {}
    for batch in batches(ids, READ_AT_ONCE):
        for alloc_id, raw in zip(batch, store.values_of(ALLOCATIONS, batch), strict=True):
            try:
                if raw is not None:
                    found[alloc_id] = loads(raw, f"allocation {alloc_id}")
            except BadRecord:
                continue
    return found


def _brief(alloc_id: str, record: Json | None, known: Json | None, tasks: "_Tasks") -> Json | None:
    """What its status says of it, brought up to date by its record; None: neither says anything."""
    if record is None:
        return known
    said = {key: record[key] for key in KEPT if key in record}
    names = known["tasks"] if known is not None else tasks.get(_place(record), [])
    return {**(known or {}), **said, "id": alloc_id, "tasks": names}


_Place = tuple[str, str, int]
_Tasks = Mapping[_Place, list[str]]


def _place(record: Json) -> _Place:
    return version_field(record["template"], record["version"]), record["group"], int(record.get("part", 0))


def _task_names(store: Store, records: Iterable[Json]) -> _Tasks:
    """The tasks of each part of each group, by version, of the versions that some allocations are of."""
    fields = sorted({_place(each)[0] for each in records})
    found: dict[_Place, list[str]] = {}
    for version, raw in zip(fields, store.values_of(VERSIONS, fields), strict=True):
        try:
            groups = spec.groups(loads(raw, f"template version {version}")["body"]) if raw else ()
        except (BadRecord, KeyError):
            continue
        for group in groups:
            for number, part in enumerate(parts(group)):
                found[version, group.name, number] = [task.name for task in part.tasks]
    return found
