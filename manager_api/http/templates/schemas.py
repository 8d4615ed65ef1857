"""What clients may write. Validated here, once; stored in canonical form; trusted afterwards."""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, pre_load, validates_schema

from manager_api.core.layout import parts
from manager_api.http.frame import readers
from manager_api.http.frame.bodies import sentence
from manager_api.http.frame.fields import Bool, Int, Name, Parsed, StrictSchema
from manager_api.http.templates import template_checks
from manager_api.http.templates.group_schema import MOST_COUNT, TaskGroupSchema
from manager_api.http.templates.parameter_schema import Parameters
from store.errors import BadRecord
from store.model import parameters, spec

MOST_TASKS = 1000
"""Tasks in one template: they must fit one transaction, and one node's desired hash."""
MOST_ALLOCATIONS = MOST_COUNT
"""Allocations of one deployment, those of `count: "all"` aside: all of it is decided at once."""


class TemplateSchema(StrictSchema):
    """A template, as users post it."""

    about: ClassVar[dict[str, str]] = {
        "name": "Unique; posting it again makes a new version.",
        "parameters": "What deployments fill in: `${param.NAME}`.",
        "ttl": "After this time its deployments are stopped.",
        "priority": "1 to 100; who is more important is placed first.",
        "preempt": "Whether its work may take the place of less important work.",
        "version": "Given out here; one that is sent is ignored.",
        "task_groups": "What runs; each group's tasks run together.",
    }

    name = Name(required=True)
    parameters = Parameters()
    ttl = Parsed(readers.positive_duration)
    priority = Int(1, 100)
    preempt = Bool()
    version = fields.Raw(load_only=True)  # an answer of ours, posted back: the number is not theirs to say
    task_groups = fields.List(fields.Nested(TaskGroupSchema), required=True)

    @pre_load
    def count_tasks(self, data: Any, **_: Any) -> Any:
        """Before the costly part: a template of a million tasks is refused in microseconds."""
        groups = data.get("task_groups") if isinstance(data, Mapping) else None
        if not isinstance(groups, list):
            return data
        if not groups:
            raise ValidationError({"task_groups": ["empty: nothing to run"]})
        sizes = [_size(group) for group in groups]
        if 0 in sizes:
            raise ValidationError({"task_groups": {sizes.index(0): {"tasks": ["empty: nothing to run"]}}})
        if sum(sizes) > MOST_TASKS:
            raise ValidationError({"task_groups": [f"{sum(sizes)} tasks in all, at most {MOST_TASKS}"]})
        return data

    @post_load
    def drop_version(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Versions are given out here."""
        data.pop("version", None)
        return data

    @validates_schema
    def check_names(self, data: dict[str, Any], **_: Any) -> None:
        """Tasks and groups are told apart by name; dependencies must lead somewhere, and end."""
        seen: dict[str, str] = {}
        group_names: set[str] = set()
        for g, group in enumerate(data["task_groups"]):
            name = group.get("name", spec.default_group_name(g))
            if name in group_names:
                raise ValidationError({"task_groups": {g: {"name": [f"{name!r} is taken by another group"]}}})
            group_names.add(name)
            for t, task in enumerate(group["tasks"]):
                where = f"task_groups.{g}.tasks.{t}"
                if task["name"] in seen:
                    problem = f"{task['name']!r} is taken by {seen[task['name']]}"
                    raise ValidationError({where: {"name": [problem]}})
                seen[task["name"]] = where
        try:
            groups = spec.groups(data)
        except BadRecord as error:
            raise ValidationError(str(error)) from None
        count = sum(group.count * len(parts(group)) for group in groups)
        if count > MOST_ALLOCATIONS:
            raise ValidationError(
                {"task_groups": [f"{count} allocations in all, at most {MOST_ALLOCATIONS}"]}
            )
        problems = template_checks.problems(data, groups)
        if problems:
            raise ValidationError(problems)


def _size(group: Any) -> int:
    tasks = group.get("tasks") if isinstance(group, Mapping) else None
    return len(tasks) if isinstance(tasks, list) else 1


def parameters_of(body: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a new deployment, or of a change of one: complete, and fit for the template.

    A value may be what its declaration asks and still make no image, mount or URL of the text that it is
    filled into: so the template is read again with the values in it.

    Raises:
        ValidationError: with a sentence for each of what cannot be.
    """
    try:
        values = parameters.check(body.get("parameters", {}), given)
    except ValueError as error:
        raise ValidationError({"parameters": [str(error)]}) from None
    if values:
        filled = parameters.fill(body, values)
        del filled["parameters"]
        try:
            _FILLED.load(filled)
        except ValidationError as error:
            raise ValidationError({"parameters": [f"filled in: {sentence(error.messages)}"]}) from None
    return values


_FILLED = TemplateSchema()
