"""Groups of devices that are targets: what their change would stop needs to be meant."""

from collections.abc import Iterable, Iterator
from functools import partial

from manager_api.core import confirm
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.questions import ask
from manager_api.http.services import Services
from manager_api.inventory import memberships
from manager_api.inventory.targets import targeted
from store.codec import Json, loads
from store.keys import GROUPS

ID_LENGTH = 10
NEEDED = "This needs confirmation"


def check_group(services: Services, old: Json | None, new: Json, *, confirmed: bool) -> None:
    """Let another name or rule of a group of devices pass, or a new group: it stops little or is meant.

    Raises:
        ApiError: 409 with `confirm`, nothing was changed; 503 if nobody leads.
    """
    if not confirmed:
        _meant([each for _, said in stopped(services, [(old, new)]) for each in said])


def stopped(
    services: Services, regrouped: Iterable[tuple[Json | None, Json]]
) -> Iterator[tuple[str, list[str]]]:
    """What groups of devices would stop much of if they were made (None before) or changed: names, sentences.

    The leader is asked only where deployments are placed on such a name.

    Raises:
        ApiError: 503 if nobody leads.
    """
    moved = [(names, new) for old, new in regrouped if (names := _moved(old, new))]
    used = services.call(lambda store: targeted(store, set().union(*(names for names, _ in moved))))
    for names, new in moved:
        if names & used:
            yield new["name"], _problems(ask(services, "group", {"group": new["id"], "record": new}))


def _moved(old: Json | None, new: Json) -> set[str]:
    """The names that mean other nodes by a change; none, if it is about neither name nor rule."""
    before, after = ((each or {}).get("name") for each in (old, new))
    if before == after and (old or {}).get("rule") == new.get("rule"):
        return set()
    return {name for name in (before, after) if name is not None}


def check_leaving(services: Services, ids: Iterable[str], *, confirmed: bool) -> None:
    """Let memberships be taken away if that stops little, or is confirmed.

    Raises:
        ApiError: as `check_group`.
    """
    leaving: dict[str, set[str]] = {}
    for device, group in filter(None, map(memberships.parts, ids)):
        if len(device) == ID_LENGTH:  # others are nobody's
            leaving.setdefault(group, set()).add(device)
    many = sorted(group for group, those in leaving.items() if 2 * len(those) > confirm.LEAST)
    if confirmed or not many:
        return
    for group, raw in zip(many, services.call(lambda store: store.values_of(GROUPS, many)), strict=True):
        name = loads(raw, "group")["name"] if raw is not None else None
        if name is not None and services.call(partial(targeted, names={name})):
            _meant(_problems(ask(services, "group", {"group": group, "leaving": sorted(leaving[group])})))


def _problems(plan: Json) -> list[str]:
    """What a leader's plan stops too much of to be done without a word."""
    found = []
    for row in plan.get("groups", []):
        name, of = str(row["group"]), int(row["of"])
        problem = confirm.problem("this stops", {name: int(row["here"])}, {name: of})
        found += [f"{problem} of deployment {row['deployment']}"] if problem else []
    return found


def _meant(problems: list[str]) -> None:
    if problems:
        raise ApiError(
            409, NEEDED, f'{"; ".join(problems)}; say "confirm": true if that is meant', confirm=True
        )
