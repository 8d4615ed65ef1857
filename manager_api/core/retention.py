"""What is kept for a while only: ended deployments, their names, old versions of templates."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from manager_api.core.actions import Action, Collect
from manager_api.core.fleet import Fleet, Stored
from store.batches import batches
from store.keys import DEPLOYMENTS, NAMES, VERSIONS
from store.model.lifecycle import DEPLOYMENT_ENDED

KEPT = 24 * 3600.0
"""Seconds that an ended deployment stays readable."""
MOST_ENDED = 10_000
"""Ended deployments that stay readable, however young."""
RETIRED_AT_ONCE = 500
"""Ended deployments that one round lets go: a clock gone wrong must not cost them all."""
MOST_VERSIONS = 20
"""Newest versions of a template that stay, whoever uses them."""
SUPERSEDED_FOR = 600.0
"""Seconds that nothing must have named an older version, or had a name: a deploy may just be on its way."""
COLLECTED_AT_ONCE = 200
FORGET = "forget"
"""Of a deployment's record: it may go at once if that is when it ended; one that lived on meanwhile stays."""


class Retention:
    """One leader's memory of since when things could go.

    Wall time is in the records, and may have been stepped since they were written. So what goes by
    age must be old by both: by its own date, and by how long this leader has watched it.
    """

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._superseded: dict[str, float] = {}
        self._nameless: dict[str, float] = {}

    def retire(self, fleet: Fleet, wall: float, now: float) -> set[str]:
        """The ended deployments that shall go: those of earlier rounds that are not gone yet, and more.

        `wall` is wall time, `now` monotonic, both in seconds.
        """
        ended = dict(_ended(fleet))
        self._ended = {name: self._ended.get(name, now) for name in ended}
        going = fleet.retiring & ended.keys()
        staying = sorted(ended.keys() - going, key=lambda name: (ended[name], name))
        surplus = max(0, len(staying) - MOST_ENDED)
        due = [
            name
            for place, name in enumerate(staying)
            if place < surplus
            or min(wall - ended[name], now - self._ended[name]) > KEPT
            or fleet.deployments[name].data.get(FORGET) == ended[name]
        ]
        return going | set(due[:RETIRED_AT_ONCE])

    def collect(self, fleet: Fleet, now: float, templates: Container[str] | None = None) -> list[Action]:
        """What nothing uses any more, in parts: versions of templates, names whose deployment is gone.

        `templates` are the names of those that there are: of others, all versions go. None: it is not known.
        """
        self._superseded = _since(_superseded(fleet, templates), self._superseded, now)
        self._nameless = _since(_nameless(fleet), self._nameless, now)
        why = f"nothing uses them, and their template is gone or has {MOST_VERSIONS} newer ones"
        return [
            *_collect(VERSIONS, fleet.versions, _due(self._superseded, now), "versions of templates", why),
            *_collect(NAMES, fleet.names, _due(self._nameless, now), "names", "their deployments are gone"),
        ]


def _since(found: set[str], known: dict[str, float], now: float) -> dict[str, float]:
    """Since when each of them could go."""
    return {field: known.get(field, now) for field in found}


def _due(since: dict[str, float], now: float) -> list[str]:
    return [field for field in sorted(since) if now - since[field] > SUPERSEDED_FOR]


def _collect(
    collection: str, records: Mapping[str, Stored], due: Sequence[str], what: str, why: str
) -> list[Action]:
    return [
        Collect(f"{len(part)} {what}", tuple((collection, field, records[field].rev) for field in part), why)
        for part in batches(due, COLLECTED_AT_ONCE)
    ]


def _nameless(fleet: Fleet) -> set[str]:
    """Names whose deployment is gone; one that cannot be read is not gone."""
    gone = {
        name: each.data.get("deployment")
        for name, each in fleet.names.items()
        if each.data.get("deployment") not in fleet.deployments
    }
    return {name for name, deployment in gone.items() if (DEPLOYMENTS, deployment) not in fleet.unreadable}


def _ended(fleet: Fleet) -> Iterator[tuple[str, float]]:
    for name, stored in fleet.deployments.items():
        status = fleet.status.get(name)
        if status is None or status.data.get("status") not in DEPLOYMENT_ENDED:
            continue
        yield name, ended_at(stored.data, status.data)


def ended_at(record: Mapping[str, Any], status: Mapping[str, Any]) -> float:
    """When a deployment that is over ended, in seconds of wall time."""
    since = status.get("ended") or record.get("created")
    return float(since) if isinstance(since, int | float) else 0.0


def _superseded(fleet: Fleet, templates: Container[str] | None) -> set[str]:
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for field in fleet.versions:
        number, _, name = field.partition(":")
        if number.isdigit():
            versions[name].append(int(number))
    old = {
        f"{number}:{name}"
        for name, numbers in versions.items()
        for number in (
            numbers if templates is not None and name not in templates else sorted(numbers)[:-MOST_VERSIONS]
        )
    }
    for records in (fleet.deployments, fleet.allocations) if old else ():
        old -= {f"{each.data.get('version')}:{each.data.get('template')}" for each in records.values()}
    return old - set(_ways_back(fleet))


def _ways_back(fleet: Fleet) -> Iterator[str]:
    """The versions that a deployment may be reverted to, or is being brought to."""
    for name, stored in fleet.deployments.items():
        status = fleet.status[name].data if name in fleet.status else {}
        for release in (stored.data.get("before"), status.get("stable"), status.get("release")):
            if isinstance(release, dict):
                yield f"{release.get('version')}:{stored.data.get('template')}"
