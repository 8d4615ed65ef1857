"""Which nodes have work that needs files, and whether these lie on the manager's own server."""

from collections.abc import Iterator
from dataclasses import dataclass

from manager_api.core.fleet import Fleet, Json
from manager_api.core.release import part_of
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model.spec import TaskSpec
from store.model.turns import Ask
from transfer import urls
from transfer.errors import TransferError
from transfer.urls import BASE, Source


@dataclass(frozen=True, slots=True)
class Needs:
    """What the work that is to run on a node needs."""

    files: bool = False
    base: bool = False
    """Whether some of it lies on the manager's server, or may: who fetches it has to log in there."""


def needs(fleet: Fleet, node: str, base: Source | None) -> Needs:
    """What a node's living work needs; `base` is where artifacts lie."""
    files = False
    for task in _living(fleet, node):
        files = files or task.has_files
        if files and base is not None and _needs_base(task, base):
            return Needs(files=True, base=True)
    return Needs(files=files)


def _living(fleet: Fleet, node: str) -> Iterator[TaskSpec]:
    """The tasks that are to run on a node."""
    for alloc_id in fleet.on_node.get(node, ()):
        data = fleet.allocations[alloc_id].data
        if (ALLOCATIONS, alloc_id) not in fleet.unreadable and _lives(fleet, node, data):
            yield from _tasks(fleet, data)


def _lives(fleet: Fleet, node: str, allocation: Json) -> bool:
    wanted = allocation["wanted"] == "running" and not allocation.get("done")
    mine = allocation["uid"] == fleet.nodes[node].data["uid"]
    return bool(wanted and mine and not fleet.is_over(allocation["deployment"]))


def _tasks(fleet: Fleet, allocation: Json) -> tuple[TaskSpec, ...]:
    try:
        return part_of(fleet, allocation).tasks
    except (BadRecord, IndexError, KeyError, TypeError, ValueError):
        return ()


def _needs_base(task: TaskSpec, base: Source) -> bool:
    return task.fetch or any(_is_on(each.source, base) for each in task.artifacts)


def _is_on(source: str, base: Source) -> bool:
    """Whether a source lies on the manager's server; what only the node can fill in, may."""
    if urls.is_relative(source):
        return True
    if "${" in source:
        return _may_lead_to(source, base.pool)
    try:
        found = urls.parse(source)
    except TransferError:
        return False
    return found.pool == base.pool and found.user in (None, base.user)


def _may_lead_to(source: str, pool: str) -> bool:
    """Whether a source is one of a pool's that is not the base; what only the node can fill in, may be."""
    if "${" in source:
        scheme = source.partition("://")[0]
        return "${" in scheme or pool.startswith(f"{scheme.lower()}://")
    try:
        return not urls.is_relative(source) and urls.parse(source).pool == pool
    except TransferError:
        return False


def takes_login(ask: Ask, base: Source | None) -> bool:
    """Whether what a node asks for is a connection to the manager's server."""
    return base is not None and (ask.pool == BASE or ask.pool.lower() == base.pool)


def refusal(fleet: Fleet, node: str, ask: Ask, base: Source | None) -> str | None:
    """Why a node must not have a turn now; None: it may."""
    record, state = fleet.nodes.get(node), fleet.states.get(node)
    if record is None or state is None or not state.online:
        return "the node is not there"
    if state.beat.get("uid") != record.data["uid"]:
        return "another machine has joined with this node id"
    status = fleet.nodes_status.get(node)
    if status is not None and status.data.get("barred"):
        return "the node is barred from the store"
    found = needs(fleet, node, base)
    if not found.files:
        return "nothing that is to run on this node needs files"
    if ask.pool == BASE and not found.base:
        return "nothing that is to run on this node needs files from the manager's --sftp-host"
    if ask.pool != BASE and not any(
        _may_lead_to(each.source, ask.pool.lower())
        for task in _living(fleet, node)
        for each in task.artifacts
    ):
        return f"nothing that is to run on this node needs files from {ask.pool}"
    return None
