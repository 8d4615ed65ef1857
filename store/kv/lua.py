"""Runs the named Lua files by their digest, loading them when the server does not have them."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from time import monotonic
from typing import Any

from store.errors import EpochChanged, Fenced, HistoryLost, StoreEmpty, StoreError
from store.kv.connection import Client, translated
from store.kv.durability import asked, run_and_wait
from store.kv.sentinel import doubt
from store.schema import Range
from store.version import SCHEMA

SHARED = {"guard": ("guard(", "leads("), "epoch": ("begun(",)}
"""Files with functions for other scripts, and what calls them."""


@cache
def source(name: str) -> str:
    """The text of one script, after the shared functions that it calls.

    Each knows the highest schema that we read, to refuse once a later release writes a higher one.
    """
    scripts = files("store.kv.scripts")
    text = (scripts / f"{name}.lua").read_text()
    needed = [shared for shared, calls in SHARED.items() if any(call in text for call in calls)]
    before = "".join((scripts / f"{shared}.lua").read_text() for shared in needed)
    return f"local SCHEMA = {SCHEMA}\n{before}{text}"


class Scripts:
    """The scripts, bound to a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._registered: dict[str, Any] = {}

    def run_many(
        self, name: str, calls: Sequence[tuple[Sequence[str | bytes], list[str | bytes | int]]]
    ) -> list[Any]:
        """Run one script many times, each time a transaction of its own, in one round trip.

        Returns:
            The answers in their order; an error of the server in the place of its answer.
        """
        if not calls:
            return []
        script, began = self._script(name), monotonic()
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for keys, args in calls:
                script(keys=keys, args=args, client=pipe)
            answers: list[Any] = pipe.execute(raise_on_error=False)
            doubt(self._client, began)
        return [_error(each) if isinstance(each, Exception) else each for each in answers]

    def _script(self, name: str) -> Any:
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(source(name))
        return script

    def run(self, name: str, keys: Sequence[str | bytes], args: list[str | bytes | int]) -> Any:
        """Run one script as one transaction, as durably as `store.kv.durability` is asked to."""
        script = self._script(name)
        durable, began = asked(), monotonic()
        with translated():
            if durable is None:
                answer = script(keys=keys, args=args)
            else:
                answer = run_and_wait(self._client, durable, script, keys, args)
            doubt(self._client, began)
        return answer


def _error(error: Exception) -> Exception:
    """The same error, in our words."""
    try:
        with translated():
            raise error
    except StoreError as ours:
        return ours


def verdict(answer: list[Any], epoch: str) -> None:
    """Raise what a script's refusal means; return when it said ok or conflict.

    Raises:
        StoreEmpty, EpochChanged, HistoryLost, Fenced, WrongRelease: see `store.errors`.
    """
    word = answer[0].decode()
    if word == "epoch":
        check_epoch(answer[1], epoch)
    if word == "schema":
        Range.of(answer[1], answer[1], answer[2]).check()
    if word == "lost":
        raise lost_history(epoch, answer[3].decode())
    if word == "fenced":
        raise Fenced("another leader has taken over")


def fell_back(scripts: Scripts, meta: str, epoch: str, rev: int, seen: int) -> HistoryLost:
    """Say for all to see that history fell back; the leader begins the next epoch. What to raise then."""
    text = f"it fell back to revision {rev} from {seen}"
    scripts.run("lost", [meta], [epoch, text])
    return lost_history(epoch, text)


def lost_history(epoch: str, what: str) -> HistoryLost:
    """The error that says so."""
    return HistoryLost(f"the store lost history in epoch {epoch}: {what}")


def check_history(found: Sequence[bytes | None], expected: str) -> None:
    """Raise unless `epoch` and `lost` of meta say that history is the expected one, and whole."""
    epoch, lost = found
    check_epoch(epoch, expected)
    if lost is not None:
        raise lost_history(expected, lost.decode())


def check_epoch(found: bytes | None, expected: str) -> None:
    """Raise unless the store's epoch is the expected one."""
    if not found:
        raise StoreEmpty("the store holds no Muster data")
    if found.decode() != expected:
        raise EpochChanged(f"the store is in epoch {found.decode()}, not {expected}")
