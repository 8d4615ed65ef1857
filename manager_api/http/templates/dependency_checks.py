"""Dependencies that cannot come true: on nobody, on what is never healthy, in a circle."""

from collections.abc import Iterator, Mapping, Sequence

from manager_api.core.layout import Part
from store.model import peers, texts
from store.model.spec import GroupSpec, TaskSpec

Problem = tuple[texts.Path, str]


def problems(groups: Sequence[GroupSpec], layout: Sequence[list[Part]]) -> list[Problem]:
    """Why dependencies of tasks cannot work, each with where it stands."""
    found = [
        (("task_groups", g, "tasks", t, "depends_on"), said)
        for g, group in enumerate(groups)
        for t, task in enumerate(group.tasks)
        for said in (*_inside(group, task, layout[g]), *_outside(groups, group, task))
    ]
    if found:
        return [(path, said) for path, said in found]
    circle = _circle(_needs(groups))
    return (
        [(("task_groups",), f"tasks {', '.join(circle)} depend on each other in a circle")] if circle else []
    )


def _inside(group: GroupSpec, task: TaskSpec, its: Sequence[Part]) -> Iterator[str]:
    here = {each.name: each for each in group.tasks}
    for name in task.depends_on.keys() - task.abroad:
        quorum, condition = peers.split(task.depends_on[name])
        if quorum is not None:
            yield f"task {task.name!r} depends on {quorum} of {name!r}, which is in its own group, once"
        if condition == "healthy" and here[name].health is None:
            yield f"task {task.name!r} waits for {name!r} to be healthy, which has no healthcheck"
        if _part_of(name, its) is not _part_of(task.name, its):
            yield f"task {task.name!r} depends on {name!r}, which is pinned to another node"


def _part_of(name: str, its: Sequence[Part]) -> Part | None:
    if len(its) == 1:
        return its[0]
    return next((part for part in its if any(each.name == name for each in part.tasks)), None)


def _outside(groups: Sequence[GroupSpec], group: GroupSpec, task: TaskSpec) -> Iterator[str]:
    if not task.abroad:
        return
    names = {each.name: [every.name for every in each.tasks] for each in groups}
    of_name = {each.name: each for each in groups}
    for key in sorted(task.abroad):
        peer = peers.resolve(key, task.depends_on[key], names)
        if peer is None:
            yield f"task {task.name!r} depends on {key!r}, which is not in its group{_hint(key, groups)}"
        elif peer.group == group.name:
            yield f"task {task.name!r} depends on {key!r}, its own group; its tasks are named alone"
        else:
            yield from _peer(task, peer, of_name[peer.group])


def _hint(key: str, groups: Sequence[GroupSpec]) -> str:
    home = next((each.name for each in groups if any(task.name == key for task in each.tasks)), None)
    return (
        f"; {home}.{key} is meant?"
        if home is not None
        else ", nor is there a group or group.task of that name"
    )


def _peer(task: TaskSpec, peer: peers.Peer, group: GroupSpec) -> Iterator[str]:
    if peer.condition == "healthy":
        blind = [each.name for each in group.tasks if peer.task in (None, each.name) and each.health is None]
        if blind:
            alone = "" if peer.task else f"; {peer.group}.TASK waits for one of its tasks"
            who = f"task {task.name!r} waits for {peer.key!r} to be healthy"
            yield f"{who}, and {blind[0]!r} has no healthcheck{alone}"
    if peer.quorum is not None and not group.everywhere and peer.quorum > group.count:
        yield f"task {task.name!r} waits for {peer.quorum} of {peer.key!r}, of which there are {group.count}"


def _needs(groups: Sequence[GroupSpec]) -> dict[str, set[str]]:
    """Whom each task waits for, over all groups; task names are unique in a template."""
    names = {each.name: [task.name for task in each.tasks] for each in groups}
    needs: dict[str, set[str]] = {}
    for group in groups:
        for task in group.tasks:
            mine = needs.setdefault(task.name, set(task.depends_on) - task.abroad)
            for key in task.abroad:
                peer = peers.resolve(key, task.depends_on[key], names)
                if peer is not None:
                    mine.update([peer.task] if peer.task is not None else names[peer.group])
    return needs


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """The tasks that no order of starting could begin with, nor those between whom they stand."""
    left = {name: set(each) for name, each in needs.items()}
    while ready := [name for name, each in left.items() if not each & left.keys()]:
        for name in ready:
            del left[name]
    while left:  # those who only wait for the circle are none of it
        waited_for = set[str]().union(*left.values())
        outside = [name for name in left if name not in waited_for]
        if not outside:
            break
        for name in outside:
            del left[name]
    return sorted(left)
