"""Deployments: asked for, decided by the controller, read, stopped."""

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from manager_api.http.deployments import naming, views
from manager_api.http.deployments.composing import Draft, Wish, compose
from manager_api.http.frame import idempotency, preconditions
from manager_api.http.frame.errors import NO_DEPLOYMENT, ApiError, invalid
from manager_api.http.services import Services
from store.codec import Json, dumps, loads, read_record
from store.errors import Conflict, EpochChanged, HistoryLost, TooLarge, Unavailable
from store.faults import fault
from store.keys import DEPLOYMENTS, NAMES, STATUS
from store.kv.api import Change, Compare, Record
from store.kv.store import Store
from store.model.lifecycle import Deployment

DECIDED_WITHIN = 2.0
"""Seconds that a deploy call waits for the controller."""
NO_NODE = "No node can take this deployment"


@dataclass(frozen=True, slots=True)
class Created:
    """A deployment that was asked for."""

    id: str
    status: Deployment
    created: bool
    """False: it was there already, under the name asked for."""


def create(services: Services, store: Store, wish: Wish, wanted_id: str | None = None) -> Created:
    """Ask for a deployment and wait for the decision.

    With `wanted_id` (see `idempotency`), one that has this id is what was asked for already, by a call
    whose answer nobody has.

    Raises:
        ApiError: 404 without such a template, 400 for what it does not take, 409 with a reason for every
            node, or when the name is taken by something else.
    """
    while True:
        earlier = _earlier(store, wanted_id, services.clock.wall()) if wanted_id else None
        if isinstance(earlier, naming.Holder):
            if (joined := join(services, store, earlier)) is not None:
                return joined
            continue
        draft = compose(store, wish, services.clock.wall())
        place = naming.look(store, wish.name) if wish.name else naming.Place(None, ())
        if place.holder is not None:
            naming.check_same(place.holder, draft.record)
            joined = join(services, store, place.holder)
            if joined is not None:
                return joined
            continue
        try:
            return _begin(services, store, draft, place, earlier or str(uuid.uuid4()))
        except Conflict:
            continue  # somebody took the name, or the template's version went, at the same moment
        except TooLarge as error:
            raise invalid(f"body: {error}") from None


def _earlier(store: Store, wanted_id: str, now: float) -> naming.Holder | str | None:
    """The deployment that has a wanted id; the id, if it is free; None if it is used up."""
    stored, status = store.get_many([(DEPLOYMENTS, wanted_id), (STATUS, wanted_id)])
    known = loads(status.value) if status else None
    if stored is None:
        return wanted_id if known is None else None
    record = read_record(stored.value, f"deployment {wanted_id}")
    if (known or {}).get("refused") or now - record["created"] > idempotency.KEPT:
        return None
    return naming.Holder(wanted_id, stored, record, known)


def _begin(services: Services, store: Store, draft: Draft, place: naming.Place, deployment: str) -> Created:
    """Write it, and wait for the decision.

    Raises:
        ApiError: 409. Conflict: what it was composed from has changed.
    """
    name = draft.record.get("name")
    changes = [Change(DEPLOYMENTS, deployment, dumps(draft.record))]
    changes += [naming.entry(name, deployment)] if name else []
    compares = [Compare(DEPLOYMENTS, deployment, 0), *place.compares, *draft.compares]
    epoch = store.epoch
    with services.decisions.expecting(deployment) as waiter:
        fault("api.deploy.before")
        rev = store.txn(compares, changes)
        fault("api.deploy.after")
        status = waiter.until(lambda: _decided(store, deployment), DECIDED_WITHIN)
    if status is None and store.epoch != epoch:  # another call of this worker attached to it
        _check_there(store, deployment)
    if status is not None and status.get("refused"):
        _withdraw(store, deployment, rev, name)
        raise ApiError(409, NO_NODE, status.get("reason"), nodes=status.get("nodes", []))
    return Created(deployment, views.state(draft.record, status), created=True)


def join(services: Services, store: Store, holder: naming.Holder) -> Created | None:
    """Answer a deployment that somebody else asked for; None: it is not what it was, look again."""
    status = holder.status
    if status is None:
        with services.decisions.expecting(holder.id) as waiter:
            status = waiter.until(lambda: _decided(store, holder.id), DECIDED_WITHIN)
        if status is not None and status.get("refused"):
            return None
    if status is None:
        # Whoever asked for it first may still withdraw it, but not once its record has moved: an id
        # that was answered stays.
        try:
            store.put(DEPLOYMENTS, holder.id, holder.stored.value, rev=holder.stored.rev)
        except Conflict:
            return None
    return Created(holder.id, views.state(holder.record, status), created=False)


def _decided(store: Store, deployment: str) -> Json | None:
    """The decision on a deployment that is stored, if there is one.

    Raises:
        EpochChanged: it was lost with an epoch that has ended, and may be asked for anew.
    """
    try:
        record = _status(store, deployment)
    except Unavailable:
        return None  # what was stored stays stored: the id is answered, and the decision shows later
    return loads(record.value) if record else None


def _status(store: Store, deployment: str) -> Record | None:
    try:
        return store.get(STATUS, deployment)
    except HistoryLost:
        raise
    except EpochChanged:
        store.attach()
        if store.get(DEPLOYMENTS, deployment) is None:
            raise
        return None  # asked for anew, it would run twice


def _check_there(store: Store, deployment: str) -> None:
    """Let what was stored be answered, decided or not; if the store is away, it is there for all we know.

    Raises:
        EpochChanged: it was lost with an epoch that has ended.
    """
    with contextlib.suppress(Unavailable):
        if store.get(DEPLOYMENTS, deployment) is None:
            raise EpochChanged("what was stored went with the last epoch")


def _withdraw(store: Store, deployment: str, rev: int, name: str | None) -> None:
    """Keep nothing of what was refused; its id was never answered. The leader drops the status."""
    fault("api.withdraw.before")
    record = Compare(DEPLOYMENTS, deployment, rev), Change(DEPLOYMENTS, deployment, None)
    named = (Compare(NAMES, name, rev), Change(NAMES, name, None)) if name else None
    # What is refused leaves its name free: the next one may have taken it already.
    for pairs in ([record, named], [record]) if named else ([record],):
        try:
            _in_any_epoch(store, [pair[0] for pair in pairs if pair], [pair[1] for pair in pairs if pair])
        except Conflict:
            continue
        except Unavailable:
            return  # it stays, as FAILED: refused all the same
        fault("api.withdraw.after")
        return
    # Somebody was quicker to stop it, or to be answered its id: it stays, as FAILED.


def _in_any_epoch(store: Store, compares: list[Compare], changes: list[Change]) -> None:
    """A call that was begun anew would store another deployment beside the one that is to go."""
    try:
        store.txn(compares, changes)
    except HistoryLost:
        raise
    except EpochChanged:
        store.attach()
        store.txn(compares, changes)


@dataclass(frozen=True, slots=True)
class Edit:
    """A deployment's new record, with what else is to hold and to be written in the same transaction."""

    record: Json
    compares: tuple[Compare, ...] = ()
    changes: tuple[Change, ...] = ()


def halt(store: Store, deployment: str) -> None:
    """Store the order to stop; again is the same.

    Raises:
        ApiError: 404.
    """

    def stopped(wanted: Json) -> Edit | None:
        return None if wanted["wanted"] == "stopped" else Edit({**wanted, "wanted": "stopped"})

    update(store, deployment, stopped)


def update(
    store: Store, deployment: str, change: Callable[[Json], Edit | None], *, rev: int | None = None
) -> None:
    """Change a deployment's record, by compare and swap; None changes nothing. `rev`: only if it is at that.

    Raises:
        ApiError: 404, 412, and what `change` raises.
    """
    while True:
        record = store.get(DEPLOYMENTS, deployment)
        if record is None:
            raise unknown(deployment)
        if rev not in (None, record.rev):
            raise preconditions.changed(f"deployment {deployment} is at revision {record.rev} by now")
        edit = change(read_record(record.value, f"deployment {deployment}"))
        if edit is None:
            return
        fault("api.change.before")
        try:
            store.txn(
                [Compare(DEPLOYMENTS, deployment, record.rev), *edit.compares],
                [Change(DEPLOYMENTS, deployment, dumps(edit.record)), *edit.changes],
            )
        except Conflict:
            continue
        except TooLarge as error:
            raise invalid(f"body: {error}") from None
        fault("api.change.after")
        return


def state(store: Store, deployment: str) -> Deployment:
    """The state of a deployment.

    Raises:
        ApiError: 404.
    """
    record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    if record is None:
        raise unknown(deployment)
    return views.state(loads(record.value), loads(status.value) if status else None)


def unknown(deployment: str) -> ApiError:
    """404: nobody knows that id."""
    return ApiError(404, NO_DEPLOYMENT, f"there is no deployment with id {deployment!r}")
