"""Releases of a deployment: which template version, with which parameters, its allocations are of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.fleet import Fleet, Json
from manager_api.core.layout import Part, parts
from store.keys import version_field
from store.model import parameters, spec
from store.model.spec import GroupSpec

SAME = "same"
LIMITS = "limits"
DIFFERENT = "different"
MOST_FILLED = 2000
"""Kept of the bodies with parameters: as many as are used at a time, about."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release; `change` numbers the releases of a deployment."""

    change: int
    version: int
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Release":
        """The release that a deployment's record, its status' `release` or an allocation names."""
        given = record.get("parameters") or {}
        return cls(int(record.get("change", 0)), int(record["version"]), tuple(sorted(given.items())))

    def as_record(self) -> Json:
        """As it lies in a status."""
        return {"change": self.change, "version": self.version, "parameters": dict(self.parameters)}

    def runs_as(self, other: "Release") -> bool:
        """Whether both are of the same version and parameters."""
        return (self.version, self.parameters) == (other.version, other.parameters)


def target(fleet: Fleet, deployment: str) -> Release:
    """What the allocations of a deployment are to be brought to.

    What the status says, if it is about the change asked for last (a revert stays a revert); else what is
    asked for.
    """
    asked = Release.of(fleet.deployments[deployment].data)
    status = fleet.status.get(deployment)
    said = status.data.get("release") if status is not None else None
    return Release.of(said) if said and int(said.get("change", 0)) == asked.change else asked


def groups(fleet: Fleet, template: str, release: Release) -> tuple[GroupSpec, ...]:
    """The groups of a release, its parameters filled in.

    Raises:
        KeyError: there is no such version.
        BadRecord: it cannot be read.
    """
    field = version_field(template, release.version)
    if not release.parameters:
        return fleet.groups(field)
    key = field, release.parameters
    found = fleet.memory.filled.get(key)
    if found is None:
        found = fleet.memory.filled[key] = spec.groups(_body(fleet, field, release))
    return found


def _body(fleet: Fleet, field: str, release: Release) -> Mapping[str, Any]:
    body: Mapping[str, Any] = fleet.versions[field].data["body"]
    if not release.parameters:
        return body
    memory, key = fleet.memory, (field, release.parameters)
    found = memory.bodies.get(key)
    if found is None:
        if len(memory.bodies) >= MOST_FILLED:
            memory.bodies.clear()
            memory.filled.clear()
        found = memory.bodies[key] = parameters.fill(dict(body), dict(release.parameters))
    return found


def group_of(fleet: Fleet, allocation: Mapping[str, Any]) -> GroupSpec:
    """The group that an allocation runs, as its own release has it.

    Raises:
        KeyError: there is no such version, or group in it.
    """
    for group in groups(fleet, allocation["template"], Release.of(allocation)):
        if group.name == allocation["group"]:
            return group
    raise KeyError(allocation["group"])


def part_of(fleet: Fleet, allocation: Mapping[str, Any]) -> Part:
    """The part of its group that an allocation runs."""
    return parts(group_of(fleet, allocation))[int(allocation["part"])]


def task_names(fleet: Fleet, allocation: Mapping[str, Any]) -> list[str]:
    """The tasks of an allocation, in the template's order."""
    return [task.name for task in part_of(fleet, allocation).tasks]


def raw_group(fleet: Fleet, template: str, release: Release, name: str) -> Mapping[str, Any]:
    """A group of a release as its template has it, parameters filled in.

    Raises:
        KeyError: there is no such version, or group in it.
    """
    body = _body(fleet, version_field(template, release.version), release)
    for position, group in enumerate(body["task_groups"]):
        if group.get("name", spec.default_group_name(position)) == name:
            found: Mapping[str, Any] = group
            return found
    raise KeyError(name)


def raw_tasks(fleet: Fleet, allocation: Mapping[str, Any]) -> list[Json]:
    """The tasks of an allocation as their node is sent them."""
    names = {task.name for task in part_of(fleet, allocation).tasks}
    group = raw_group(fleet, allocation["template"], Release.of(allocation), allocation["group"])
    return [limited(task, allocation.get("limits", {})) for task in group["tasks"] if task["name"] in names]


def limited(task: Json, limits: Mapping[str, Any]) -> Json:
    """A task of a template, with the limits that were asked for since."""
    override = limits.get(task["name"])
    if override is None:
        return task
    return {**task, "resources": {**task.get("resources", {}), "limits": override}}


def same(fleet: Fleet, template: str, old: Release, new: Release, group_name: str) -> str:
    """What going from one release to the other asks of an allocation of a group.

    `same`: nothing, or nothing that a task would notice; `limits`: other limits while it runs;
    `different`: to begin anew.
    """
    if old.runs_as(new):
        return SAME
    try:
        before = raw_group(fleet, template, old, group_name)["tasks"]
        after = raw_group(fleet, template, new, group_name)["tasks"]
    except KeyError:
        return DIFFERENT
    if before == after:
        return SAME
    return LIMITS if _unlimited(before) == _unlimited(after) else DIFFERENT


def _unlimited(tasks: list[Json]) -> list[Json]:
    return [
        {
            **task,
            "resources": {
                key: value for key, value in task.get("resources", {}).items() if key != "limits" and value
            },
        }
        for task in tasks
    ]
