"""Actions and turns of the fleet as events. Pure.

What is written to single nodes (`Project`) is no decision of its own, and `Wake` is none at all.
"""

from collections.abc import Iterator, Mapping

from manager_api.core.actions import (
    Action,
    Adopt,
    Advance,
    Collect,
    Json,
    Place,
    Refuse,
    Reorder,
    SetControl,
    SetNodeStatus,
    SetStatus,
)
from store.keys import ALLOCATIONS, DEPLOYMENTS, STATUS
from store.model.event import Event

MOST_NAMED = 20
_OF_DEPLOYMENTS = {ALLOCATIONS, DEPLOYMENTS, STATUS}


def of(action: Action) -> list[Event]:
    """What to tell of an action that was carried out."""
    match action:
        case Place():
            puts = {key: (0, each) for key, each in action.allocations.items()}
            return [_deployment(action, "placed"), *_allocations(puts, {}, action.reason)]
        case Advance():
            return [_deployment(action, "advanced"), *_allocations(action.puts, action.why, action.reason)]
        case Adopt():
            puts = {key: (0, each) for key, each in action.allocations.items()}
            return [_deployment(action, "adopted"), *_allocations(puts, {}, action.reason)]
        case Refuse() | SetStatus():
            return [_deployment(action, "refused" if isinstance(action, Refuse) else "state")]
        case Reorder():
            return list(_allocations(action.allocations, {}, action.reason))
        case Collect() | SetControl(quiet=False):
            return [_collected(action) if isinstance(action, Collect) else _control(action)]
        case SetNodeStatus():
            return [node(f"drain.{(action.drain or {}).get('state', 'ended')}", action.node, action.reason)]
        case _:
            return []


def _control(action: SetControl) -> Event:
    engaged = action.record.get("engaged")
    named = {"nodes": list(engaged.get("nodes", ()))[:MOST_NAMED]} if engaged else {}
    what = "engaged" if engaged else "released"
    return Event(kind=f"{action.name}.{what}", reason=action.reason, data=named)


def _deployment(action: Place | Advance | Adopt | Refuse | SetStatus, what: str) -> Event:
    status = action.status
    data: Json = {"status": str(status.get("status", ""))}
    rollout = status.get("rollout")
    if rollout:
        data["rollout"] = {key: rollout[key] for key in ("state", "change", "reason") if key in rollout}
    if status.get("nodes"):
        data["nodes"] = status["nodes"][:MOST_NAMED]
    reason = action.reason
    more = str(status.get("reason") or "")
    if isinstance(action, SetStatus) and more and more not in reason:
        reason = f"{reason}: {more}"
    subject = {"deployment": action.deployment}
    return Event(kind=f"deployment.{what}", reason=reason, subject=subject, data=data)


def _allocations(
    puts: Mapping[str, tuple[int, Json]], why: Mapping[str, str], otherwise: str
) -> Iterator[Event]:
    for alloc_id, (rev, record) in puts.items():
        stopped = record.get("wanted") == "stopped"
        what = "stopped" if stopped else "changed" if rev else "placed"
        told = record.get("stopped") if stopped else record.get("why")
        deployment = str(record.get("deployment") or alloc_id.rpartition(".")[0])
        subject = {"deployment": deployment, "allocation": alloc_id, "node": str(record.get("node") or "")}
        data = {key: record[key] for key in ("generation", "change", "replaces") if record.get(key)}
        reason = str(why.get(alloc_id) or told or otherwise)
        yield Event(kind=f"allocation.{what}", reason=reason, subject=subject, data=data)


def _collected(action: Collect) -> Event:
    data = {"records": len(action.records)}
    if any(collection in _OF_DEPLOYMENTS for collection, _, _ in action.records):
        subject = {"deployment": action.subject}
        return Event(kind="deployment.collected", reason=action.reason, subject=subject, data=data)
    return Event(kind="records.collected", reason=f"{action.subject}: {action.reason}", data=data)


def node(what: str, node_id: str, reason: str) -> Event:
    """What became of a node: `online`, `offline`, `replaced`, `barred` and the like."""
    return Event(kind=f"node.{what}", reason=reason, subject={"node": node_id})


def leading(holder: str, token: int, epoch: str, rev: int) -> Event:
    """A controller leads from now on."""
    return Event(
        kind="leader", reason=f"{holder} leads", data={"token": token, "epoch": epoch, "revision": rev}
    )


def epoch(name: str, rev: int, reason: str) -> Event:
    """A new epoch began."""
    return Event(kind="epoch", reason=f"epoch {name} begins: {reason}", data={"revision": rev})
