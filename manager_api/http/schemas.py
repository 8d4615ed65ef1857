"""What clients may write. Validated here, once; stored in canonical form; trusted afterwards."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load, validate, validates_schema

from manager_api.core.layout import parts
from manager_api.http import readers, template_checks
from manager_api.http.bodies import sentence
from manager_api.http.fields import Bool, Int, Name, Parsed, StrictSchema
from manager_api.http.group_schema import MOST_COUNT, GroupSchema
from manager_api.http.node_schema import Labels
from manager_api.http.parameter_schema import Parameters
from manager_api.http.task_schema import NewLimitsSchema
from store.errors import BadRecord
from store.keys import is_node_id
from store.model import parameters, spec

MOST_TASKS = 1000
"""Tasks in one template: they must fit one transaction, and one node's desired hash."""
MOST_ALLOCATIONS = MOST_COUNT
"""Allocations of one deployment, those of `count: "all"` aside: all of it is decided at once."""


class TemplateSchema(StrictSchema):
    """A template, as users post it."""

    name = Name(required=True)
    parameters = Parameters()
    ttl = Parsed(readers.positive_duration)
    priority = Int(1, 100)
    preempt = Bool()
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
    labels = Labels()

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
