"""What clients may write. Validated here, once; stored in canonical form; trusted afterwards."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load, validate, validates_schema

from manager_api.core.layout import parts
from manager_api.http.fields import Int, Name, StrictSchema
from manager_api.http.task_schema import NewLimitsSchema, TaskSchema
from store.errors import BadRecord
from store.keys import is_node_id
from store.model import spec

MOST_TASKS = 1000
"""Tasks in one template: they must fit one transaction, and one node's desired hash."""
MOST_ALLOCATIONS = 400
"""Allocations of one deployment: they are placed in one transaction."""


class GroupSchema(StrictSchema):
    """Tasks that belong together."""

    not_yet = frozenset({"placement", "reschedule", "on_disconnect", "duplicates", "update", "priority"})
    name = Name()
    count = Int(1, 1000)
    tasks = fields.List(fields.Nested(TaskSchema), required=True)


class TemplateSchema(StrictSchema):
    """A template, as users post it."""

    not_yet = frozenset({"parameters", "ttl"})
    name = Name(required=True)
    version = fields.Raw(load_only=True)  # an answer of ours, posted back: the number is not theirs to say
    task_groups = fields.List(fields.Nested(GroupSchema), required=True)

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
        for g, group_spec in enumerate(groups):
            problem_of = dependency_problem(group_spec)
            if problem_of:
                raise ValidationError({"task_groups": {g: [problem_of]}})


def _size(group: Any) -> int:
    tasks = group.get("tasks") if isinstance(group, Mapping) else None
    return len(tasks) if isinstance(tasks, list) else 1


def dependency_problem(group: spec.GroupSpec) -> str | None:
    """Why the dependencies inside a group cannot work, or None."""
    home = {task.name: part for part in parts(group) for task in part.tasks}
    checked = {task.name: task.health is not None for task in group.tasks}
    for task in group.tasks:
        for name, condition in task.depends_on.items():
            if name not in home:
                return f"task {task.name!r} depends on {name!r}, which is not in its group"
            if condition == "healthy" and not checked[name]:
                return f"task {task.name!r} waits for {name!r} to be healthy, which has no healthcheck"
            if home[name] is not home[task.name]:
                return f"task {task.name!r} depends on {name!r}, which is pinned to another node"
    left = {task.name: set(task.depends_on) for task in group.tasks}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    return f"tasks {', '.join(sorted(left))} depend on each other in a circle" if left else None


class NameSchema(StrictSchema):
    """`{"name": …}`."""

    name = Name(required=True)


class IdSchema(StrictSchema):
    """`{"id": …}`."""

    id = Name(required=True)


class EmptySchema(StrictSchema):
    """`{}`."""


class LimitSchema(StrictSchema):
    """Other limits for a task that runs."""

    task = Name(required=True)
    limits = fields.Nested(NewLimitsSchema, required=True)


class JoinSchema(StrictSchema):
    """What an agent says of itself when it joins. Newer agents may say more."""

    class Meta:
        """marshmallow's options."""

        unknown = "exclude"

    id = Name(required=True)
    uid = Name(required=True)
    hostname = Name(required=True)
    addresses = fields.List(Name(), required=True, validate=validate.Length(max=64))
    secret_sha256 = fields.Str(required=True)
    version = Name(required=True)
    features = fields.List(Name(), required=True, validate=validate.Length(max=64))

    @validates_schema
    def check(self, data: dict[str, Any], **_: Any) -> None:
        """Ids become keys; the digest becomes part of an ACL rule."""
        if not is_node_id(data["id"]):
            raise ValidationError("1 to 128 of A-Z a-z 0-9 . _ - are taken", "id")
        digest = data["secret_sha256"]
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValidationError("not a SHA-256 digest in lower-case hexadecimal", "secret_sha256")


class RecoverSchema(StrictSchema):
    """What `recover` is told."""

    cluster = fields.String(
        validate=validate.Regexp(r"[0-9a-f]{32}\Z", error="not a cluster id: 32 hex digits")
    )
    dry_run = fields.Boolean()
