"""Which tasks of a group go together: one allocation for each distinct pin."""

from dataclasses import dataclass

from store.model.spec import GroupSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks of one group that must share a node; `pin` is an id, host name or IP, or None."""

    pin: str | None
    tasks: tuple[TaskSpec, ...]


def parts(group: GroupSpec) -> list[Part]:
    """The group by pins, in order of first mention; unpinned tasks join the first pinned one."""
    pins = list(dict.fromkeys(task.node for task in group.tasks if task.node is not None))
    if not pins:
        return [Part(None, group.tasks)]
    return [Part(pin, tuple(task for task in group.tasks if (task.node or pins[0]) == pin)) for pin in pins]
