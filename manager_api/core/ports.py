"""Which ports of its node an allocation takes: fixed ones, those its containers publish, those given out."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from zlib import crc32

from manager_api.core.layout import Part
from store.model.spec import TaskSpec

FIRST, LAST = 20000, 31999
"""Given out are these: below what Linux takes for outgoing connections, above what services are known by."""
SIZE = LAST - FIRST + 1

Given = dict[str, dict[str, int]]
"""Task name, port name, number."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The ports of a part's tasks."""

    named: tuple[tuple[str, str, int], ...]
    """Task, port name, number; 0: any."""
    published: tuple[int, ...]
    """What its containers publish on the node; TCP."""
    fixed: tuple[int, ...]
    """All numbers that it must have."""
    free: int
    """How many any numbers it wants."""

    @classmethod
    def of(cls, part: Part) -> "Wanted":
        """The ports that the tasks of a part take together."""
        named = tuple((task.name, *each) for task in part.tasks for each in sorted(task.ports.items()))
        published = tuple(sorted({number for task in part.tasks for number in _published(task)}))
        fixed = {number for _, _, number in named if number}.union(published)
        return cls(named, published, tuple(sorted(fixed)), sum(not number for _, _, number in named))

    def __bool__(self) -> bool:
        return bool(self.fixed or self.free)


def _published(task: TaskSpec) -> list[int]:
    """The node's side of `8080:80`, `127.0.0.1:8080:80`, `8080:80/tcp`; UDP has numbers of its own."""
    texts = task.container.ports if task.container is not None else ()
    sides = [text.partition("/")[0].split(":") for text in texts if not text.endswith("/udp")]
    return [int(side[-2]) for side in sides if len(side) > 1 and side[-2].isdigit()]


def refusal(wanted: Wanted, taken: Collection[int], holder: Callable[[int], str]) -> str | None:
    """Why a node whose ports are taken cannot give these, or None; `holder` says who has a number."""
    for number in wanted.fixed:
        if number in taken:
            return f"cannot take it: port {number} is taken by {holder(number)}"
    if wanted.free and wanted.free > SIZE - len(taken) - len(wanted.fixed):  # else it need not be counted
        free = SIZE - sum(FIRST <= number <= LAST for number in {*taken, *wanted.fixed})
        return "has no free port left" if wanted.free > free else None
    return None


def give(
    wanted: Wanted, identity: str, taken: Collection[int], before: Mapping[str, Mapping[str, int]]
) -> Given:
    """Numbers for all named ports, none of them taken.

    One that a predecessor had (`before`) is given again; the others are the next free ones after a
    place that follows from the allocation's identity, so that a number just let go of is not at once
    another's.

    Raises:
        ValueError: there are not enough.
    """
    found: Given = {}
    gone = {*taken, *wanted.fixed}
    for task, name, number in wanted.named:
        mine = (
            number or _again(before.get(task, {}).get(name), gone) or _next(f"{identity}/{task}/{name}", gone)
        )
        gone.add(mine)
        found.setdefault(task, {})[name] = mine
    return found


def _again(number: int | None, taken: Collection[int]) -> int | None:
    return number if number is not None and FIRST <= number <= LAST and number not in taken else None


def _next(identity: str, taken: Collection[int]) -> int:
    start = crc32(identity.encode())
    for step in range(SIZE):
        number = FIRST + (start + step) % SIZE
        if number not in taken:
            return number
    raise ValueError("there is no free port left")
