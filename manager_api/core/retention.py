"""What is kept for a while only: ended deployments, old versions of templates."""

from collections import defaultdict
from collections.abc import Iterator

from manager_api.core.actions import Action, Collect
from manager_api.core.fleet import Fleet
from store.batches import batches
from store.keys import VERSIONS
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
"""Seconds that nothing must have named an older version: a deploy may just be on its way."""
COLLECTED_AT_ONCE = 200


class Retention:
    """One leader's memory of since when things could go.

    Wall time is in the records, and may have been stepped since they were written. So what goes by
    age must be old by both: by its own date, and by how long this leader has watched it.
    """

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._superseded: dict[str, float] = {}

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
            if place < surplus or min(wall - ended[name], now - self._ended[name]) > KEPT
        ]
        return going | set(due[:RETIRED_AT_ONCE])

    def collect(self, fleet: Fleet, now: float) -> list[Action]:
        """Versions of templates that are neither among the newest nor used, by fields in parts."""
        old = _superseded(fleet)
        self._superseded = {field: self._superseded.get(field, now) for field in old}
        due = [field for field in sorted(old) if now - self._superseded[field] > SUPERSEDED_FOR]
        return [
            Collect(
                f"{len(part)} versions of templates",
                tuple((VERSIONS, field, fleet.versions[field].rev) for field in part),
                f"nothing uses them, and each template has {MOST_VERSIONS} newer ones",
            )
            for part in batches(due, COLLECTED_AT_ONCE)
        ]


def _ended(fleet: Fleet) -> Iterator[tuple[str, float]]:
    for name, stored in fleet.deployments.items():
        status = fleet.status.get(name)
        if status is None or status.data.get("status") not in DEPLOYMENT_ENDED:
            continue
        since = status.data.get("ended") or stored.data.get("created")
        yield name, float(since) if isinstance(since, int | float) else 0.0


def _superseded(fleet: Fleet) -> set[str]:
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for field in fleet.versions:
        number, _, name = field.partition(":")
        if number.isdigit():
            versions[name].append(int(number))
    old = {
        f"{number}:{name}"
        for name, numbers in versions.items()
        if len(numbers) > MOST_VERSIONS
        for number in sorted(numbers)[:-MOST_VERSIONS]
    }
    for records in (fleet.deployments, fleet.allocations) if old else ():
        old -= {f"{each.data.get('version')}:{each.data.get('template')}" for each in records.values()}
    return old
