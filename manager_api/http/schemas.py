"""What clients may write. Validated here, once; stored in canonical form; trusted afterwards."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load, validate, validates_schema

from manager_api.core.layout import parts
from manager_api.http import fields as f
from manager_api.http.fields import Env, Int, Name, Number, OneOf, Parsed, Read, StrictSchema, Text
from store.errors import BadRecord
from store.keys import is_node_id
from store.model import command, spec

MOST_TASKS = 1000
"""Tasks in one template: they must fit one transaction, and one node's desired hash."""
MOST_ALLOCATIONS = 400
"""Allocations of one deployment: they are placed in one transaction."""
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


class Command(Read[Any]):
    """A list of words, or a text split as a shell would."""

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            for word in value:
                f.text(word)
        else:
            f.text(value)
        _, bare = split_pin(value)
        command.argv(bare)
        return value


def split_pin(value: Any) -> tuple[str | None, Any]:
    """The pin at the start of a command, and the command without it."""
    if isinstance(value, str):
        return command.split_pin(value)
    if value and isinstance(value[0], str):
        pin, first = command.split_pin(value[0])
        return pin, [first, *value[1:]]
    return None, value


class ConfigSchema(StrictSchema):
    """What a task runs."""

    command = Command(required=True)
    args = fields.List(Text())
    env = Env()
    cwd = Parsed(f.absolute_path, allow_none=True)
    user = Parsed(f.user, allow_none=True)
    driver = OneOf("process")
    node = Name(allow_none=True)

    @post_load
    def take_pin(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`HOST:/path` becomes the pin and the path."""
        pin, bare = split_pin(data["command"])
        if pin is not None:
            if data.get("node") not in (None, pin):
                raise ValidationError(f"command says {pin}, node says {data['node']}", "node")
            data["command"], data["node"] = bare, pin
        return {key: value for key, value in data.items() if value is not None}


class AmountSchema(StrictSchema):
    """An amount of a node's resources."""

    not_yet = frozenset({"pids"})
    memory = Parsed(f.size)
    cpus = Parsed(f.cpus)


class ResourcesSchema(StrictSchema):
    """Reservations count in placement."""

    not_yet = frozenset({"limits"})
    reservations = fields.Nested(AmountSchema)


class RestartSchema(StrictSchema):
    """When a task that ended runs again."""

    condition = OneOf(*spec.CONDITIONS)
    delay = Parsed(f.duration)
    factor = Number(1, 100)
    max_delay = Parsed(f.duration)
    max_attempts = Int(0, 1_000_000)
    window = Parsed(f.duration)


class StopSchema(StrictSchema):
    """How a task is asked to end."""

    signal = Parsed(f.signal_name)
    timeout = Parsed(f.duration)


class Ulimits(Read[dict[str, Any]]):
    """Compose's ulimits: a number, or soft and hard; -1 is unlimited."""

    def _read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of limits")
        for name, limit in value.items():
            if name not in ULIMITS:
                raise ValidationError({name: [f"not one of {', '.join(ULIMITS)}"]})
            if not all(_is_limit(each) for each in _both(limit)):
                raise ValidationError({name: ["not a whole number, nor soft and hard of it"]})
        return value


def _both(limit: Any) -> list[Any]:
    if isinstance(limit, dict) and set(limit) == {"soft", "hard"}:
        return list(limit.values())
    return [limit]


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**63


class DependsOn(Read[dict[str, str]]):
    """Task names with conditions; a list of names means started."""

    def _read(self, value: Any) -> dict[str, str]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return dict.fromkeys(value, "started")
        if not isinstance(value, dict):
            raise ValidationError("neither a list of task names nor an object of conditions")
        for name, condition in value.items():
            if condition == "healthy":
                raise ValidationError({name: ["healthy is not offered by this release of Muster"]})
            if condition not in spec.DEPENDENCIES:
                raise ValidationError({name: [f"not one of {', '.join(spec.DEPENDENCIES)}"]})
        return value


class TaskSchema(StrictSchema):
    """One task."""

    not_yet = frozenset({"artifacts", "healthcheck", "logs", "ports", "duration", "hooks", "secrets"})
    name = Name(required=True)
    config = fields.Nested(ConfigSchema, required=True)
    resources = fields.Nested(ResourcesSchema)
    ulimits = Ulimits()
    restart = fields.Nested(RestartSchema)
    stop = fields.Nested(StopSchema)
    depends_on = DependsOn()

    @pre_load
    def take_compose_forms(self, data: Any, **_: Any) -> Any:
        """Compose's `deploy.resources` and task-level `user` go where we keep them."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        deploy = data.pop("deploy", None)
        if deploy is not None:
            if not isinstance(deploy, Mapping) or set(deploy) != {"resources"} or "resources" in data:
                raise ValidationError({"deploy": ["only `resources` is taken here, and only once"]})
            data["resources"] = deploy["resources"]
        if data.get("user") is not None and isinstance(data.get("config"), Mapping):
            data["config"] = {"user": data.pop("user"), **data["config"]}
        return data


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
    for task in group.tasks:
        for name in task.depends_on:
            if name not in home:
                return f"task {task.name!r} depends on {name!r}, which is not in its group"
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
