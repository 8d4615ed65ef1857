"""From what is asked for to the record of a deployment; checked against its template."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from marshmallow import ValidationError

from manager_api.core.layout import parts
from manager_api.http.frame.bodies import sentence
from manager_api.http.frame.errors import invalid
from manager_api.http.templates import templates
from manager_api.http.templates.schemas import MOST_ALLOCATIONS, parameters_of
from store.codec import Json, read_record
from store.keys import TEMPLATES, VERSIONS, version_field
from store.kv.api import Compare
from store.kv.store import Store
from store.model import quantity, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A deployment that is asked for; see `manager_api.http.deployments.instance_schema.CreateSchema`."""

    template: str
    version: int | None = None
    name: str | None = None
    parameters: Mapping[str, str | bool] = field(default_factory=dict)
    ttl: str | None = None
    wait: bool = False
    scale: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that may be written, as long as `compares` hold."""

    record: Json
    body: Json
    """Of its template's version."""
    compares: tuple[Compare, ...]


def compose(store: Store, wish: Wish, created: float) -> Draft:
    """The record of a new deployment; `created` is wall time in seconds.

    Raises:
        ApiError: 404 without the template or its version, 400 for parameters or counts it does not take.
    """
    number, body, compares = version_of(store, wish.template, wish.version)
    record: Json = {
        "v": 1,
        "template": wish.template,
        "version": number,
        "wanted": "running",
        "created": created,
    }
    checked = check_parameters(body, wish.parameters)
    ttl = wish.ttl or body.get("ttl")
    if wish.scale:
        check_counts(body, wish.scale)
    more: Json = {
        "name": wish.name,
        "parameters": checked,
        "ttl": None if ttl is None else quantity.duration(ttl),
        "wait": wish.wait,
        "scale": dict(wish.scale),
    }
    return Draft({**record, **{key: value for key, value in more.items() if value}}, body, compares)


def version_of(store: Store, template: str, number: int | None) -> tuple[int, Json, tuple[Compare, ...]]:
    """A version of a template (None: the newest): its number, its body, and what keeps it from going away.

    Raises:
        ApiError: 404.
    """
    if number is None:
        found = templates.find_record(store, template)
        newest = read_record(found.value, f"template {template}")
        return int(newest["version"]), newest["body"], (Compare(TEMPLATES, template, found.rev),)
    record = templates.version(store, template, number)
    body = read_record(record.value, f"version {number} of template {template}")["body"]
    return number, body, (Compare(VERSIONS, version_field(template, number), record.rev),)


def check_parameters(body: Json, given: Mapping[str, str | bool]) -> dict[str, str]:
    """The parameters that a version is run with.

    Raises:
        ApiError: 400 with a sentence for every one that is wrong or missing.
    """
    if not body.get("parameters") and not given:
        return {}
    try:
        return parameters_of(body, given)
    except ValidationError as error:
        raise invalid(sentence(error.messages)) from None


def check_counts(body: Json, counts: Mapping[str, int], others: Mapping[str, int] | None = None) -> None:
    """Whether groups of a version can be so many, beside the counts that others have already.

    Raises:
        ApiError: 400 for a group it lacks, one that is on every node, or more than fits.
    """
    groups = {group.name: group for group in spec.groups(body)}
    for name in counts:
        if name not in groups:
            raise invalid(f"groups.{name}: there is no such group; there are {', '.join(sorted(groups))}")
        if groups[name].everywhere:
            raise invalid(f"groups.{name}: it runs once on every node (count: all), so it has no number")
    total = allocations(groups.values(), {**(others or {}), **counts})
    if total > MOST_ALLOCATIONS:
        raise invalid(f"groups: {total} allocations in all, at most {MOST_ALLOCATIONS}")


def allocations(groups: Iterable[spec.GroupSpec], counts: Mapping[str, int]) -> int:
    """How many allocations groups have, with other counts for some of them; those on every node aside."""
    return sum(counts.get(group.name, group.count) * len(parts(group)) for group in groups)
