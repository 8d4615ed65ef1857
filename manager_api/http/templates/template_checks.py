"""What is seen only when all of a template is read: names that lead nowhere, wishes that exclude others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manager_api.core.layout import Part, parts
from manager_api.http.frame.fields import is_open
from manager_api.http.templates import dependency_checks
from manager_api.http.templates.artifact_schema import has_password
from store.model import command, peers, texts
from store.model.beat import DEFAULT_TTL
from store.model.spec import GroupSpec, TaskSpec
from transfer.urls import NO_PASSWORDS

Problem = tuple[texts.Path, str]


def problems(body: Mapping[str, Any], groups: Sequence[GroupSpec]) -> dict[str | int, Any]:
    """All that is wrong with a template whose every field is right, as nested messages."""
    found: dict[str | int, Any] = {}
    layout = [parts(group) for group in groups]
    for path, sentence in (
        *dependency_checks.problems(groups, layout),
        *_group_problems(groups, layout),
        *_variable_problems(body, groups, layout),
        *_password_problems(body),
    ):
        inner = found
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                break  # something is wrong there as a whole: that is said already
        else:
            inner.setdefault(path[-1], [sentence])
    return found


def _group_problems(groups: Sequence[GroupSpec], layout: Sequence[list[Part]]) -> Iterator[Problem]:
    for number, (group, its) in enumerate(zip(groups, layout, strict=True)):
        path: texts.Path = ("task_groups", number)
        yield from ((path + where, said) for where, said in _duplicates(group))
        yield from ((path + where, said) for where, said in _update(group))
        yield from ((path + where, said) for where, said in _pins(group))
        yield from ((path + where, said) for where, said in _ports(group, its))


def _duplicates(group: GroupSpec) -> Iterator[Problem]:
    """That there are never two: the old node must have stopped before another one begins."""
    policy = group.policy
    if policy.duplicates != "never":
        return
    if policy.stop_after is None:
        yield (
            ("duplicates",),
            'never: needs on_disconnect {"stop_after": a duration}, or a lost node keeps its copy',
        )
        return
    longest = max(task.stop.timeout for task in group.tasks)
    least = policy.stop_after + longest + DEFAULT_TTL
    after = policy.reschedule_after
    if after is not None and after <= least:
        said = (
            f"never: reschedule.after ({after:g}s) must be longer than {least:g}s, which is stop_after "
            f"({policy.stop_after:g}s) + the longest stop.timeout ({longest:g}s) + {DEFAULT_TTL:g}s until "
            'a node counts as lost; or be "never"'
        )
        yield ("duplicates",), said


def _update(group: GroupSpec) -> Iterator[Problem]:
    update = group.policy.update
    if update.healthy_deadline <= update.min_healthy:
        said = f"{update.healthy_deadline:g}s, and must be longer than min_healthy ({update.min_healthy:g}s)"
        yield ("update", "healthy_deadline"), said


def _pins(group: GroupSpec) -> Iterator[Problem]:
    node, most = group.policy.placement.node, group.policy.placement.max_replicas_per_node
    pinned = [task for task in group.tasks if task.node is not None]
    if group.everywhere and pinned:
        yield (
            ("count",),
            f'"all" is one on each node, and task {pinned[0].name!r} is pinned to {pinned[0].node}',
        )
    for task in pinned:
        if node is not None and task.node != node and not is_open(node) and not is_open(task.node):
            yield ("placement", "node"), f"{node}, and task {task.name!r} is pinned to {task.node}"
            return
    if (node is not None or pinned) and most is not None and group.count > most:
        where = node if node is not None else pinned[0].node
        yield (
            ("placement", "max_replicas_per_node"),
            f"{most}, and {group.count} are wanted on the one node {where}",
        )


def _ports(group: GroupSpec, its: Sequence[Part]) -> Iterator[Problem]:
    """Fixed ports that would be wanted twice on one node, however the group is placed."""
    for part in its:
        taken: dict[int, str] = {}
        for task in part.tasks:
            for name, number in task.ports.items():
                if number and number in taken:
                    where = ("tasks", group.tasks.index(task), "ports", name)
                    yield where, f"{number} is taken by task {taken[number]!r}, which runs on the same node"
                taken.setdefault(number, task.name)
        fixed = next((number for number in taken if number), None)
        node = part.pin if part.pin is not None else group.policy.placement.node
        if fixed is None or node is None:
            continue
        if group.count > 1:
            yield (
                ("count",),
                f"{group.count} are wanted on the one node {node}, where port {fixed} is but once",
            )
        elif group.policy.update.canary:
            yield (
                ("update", "canary"),
                f"would need port {fixed} beside the old one, and both are wanted on the one node {node}",
            )


def _variable_problems(
    body: Mapping[str, Any], groups: Sequence[GroupSpec], layout: Sequence[list[Part]]
) -> list[Problem]:
    """Variables that this template gives no meaning."""
    found: list[Problem] = []
    declared = body.get("parameters", {})
    names = {group.name: [task.name for task in group.tasks] for group in groups}
    specs = {task.name: task for group in groups for task in group.tasks}
    beside = {task.name: part.tasks for its in layout for part in its for task in part.tasks}

    def problem(name: str, path: texts.Path, *, on_node: bool) -> str | None:
        if name.startswith("param."):
            known = (
                f"declared are {', '.join(sorted(declared))}" if declared else "the template declares none"
            )
            return None if name[6:] in declared else f"${{{name}}} is not known: {known}"
        if not on_node:
            return f"${{{name}}} is not known here, only ${{param.NAME}} is"
        task = groups[int(path[1])].tasks[int(path[3])]
        if name.startswith("port."):
            return _port_problem(name[5:], task, beside[task.name])
        return _address_problem(name[5:], task, names, specs) if name.startswith("addr.") else None

    def look(path: texts.Path, text: str, on_node: bool) -> str:  # noqa: FBT001 - as texts.Change is called
        for name in command.variables(text):
            said = problem(name, path, on_node=on_node)
            if said is not None:
                found.append((path, said))
        return text

    texts.rewrite(body, look)
    return found


def _password_problems(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Values that a template itself offers, by which a source would be one with a password."""
    declared = body.get("parameters", {})
    sources = {
        artifact["source"]
        for group in body["task_groups"]
        for task in group["tasks"]
        for artifact in task.get("artifacts", ())
    }
    for name, rule in declared.items():
        values = [*rule.get("enum", ()), *([rule["default"]] if "default" in rule else [])]
        using = [each for each in sources if f"param.{name}" in command.variables(each)]
        if any(has_password(command.fill(each, {f"param.{name}": value}))
               for each in using for value in values):  # fmt: skip
            yield ("parameters", name), NO_PASSWORDS


def _port_problem(name: str, task: TaskSpec, beside: Sequence[TaskSpec]) -> str | None:
    """A task's own port is meant first, else the one port of that name in its allocation."""
    if name in task.ports:
        return None
    having = [each.name for each in beside if name in each.ports]
    if not having:
        return f"${{port.{name}}} is not known: neither the task nor one beside it has such a port"
    if len(having) > 1:
        return f"${{port.{name}}} is not clear: {', '.join(having)} have a port of that name"
    return None


def _address_problem(
    name: str, task: TaskSpec, names: Mapping[str, Sequence[str]], specs: Mapping[str, TaskSpec]
) -> str | None:
    """Addresses are told of what the task depends on, for it may not be there otherwise."""
    meant = peers.address(name, task.abroad)
    if meant is None:
        known = ", ".join(sorted(task.abroad)) or "none in another group"
        return f"${{addr.{name}}} is not known: it needs a dependency in depends_on, which has {known}"
    key, port = meant
    peer = peers.resolve(key, task.depends_on[key], names)
    if peer is None or not port:
        return None  # a dependency that leads nowhere is told of by itself
    having = [each for each in names[peer.group] if peer.task in (None, each) and port in specs[each].ports]
    if not having:
        return f"${{addr.{name}}} is not known: {key} has no port {port!r}"
    if len(having) > 1:
        return f"${{addr.{name}}} is not clear: {', '.join(having)} have a port of that name"
    return None
