"""What the parts of a merge share: what is staged, and how one that says something else here is met."""

from collections.abc import Callable, Iterator
from typing import Literal

from manager_api.http.frame.errors import ApiError
from manager_api.http.system.merge_report import Report
from store.codec import Json, loads
from store.errors import Conflict
from store.kv.api import Change, Compare
from store.kv.store import Store
from store.kv.swap import Swap

Choice = Literal["refuse", "skip", "replace"]


class Part:
    """Some kinds of records of what a swap has staged. A dry one only says what it would do."""

    def __init__(self, store: Store, staged: Swap, choice: Choice, report: Report) -> None:
        self._store = store
        self._staged = staged
        self._choice = choice
        self._report = report

    def _each(self, collection: str, act: Callable[[str, Json], None]) -> None:
        for key, record in self._records(collection):
            act(key, record)
            self._staged.renew()

    def _records(self, collection: str) -> Iterator[tuple[str, Json]]:
        seen: set[str] = set()
        for key, raw in self._staged.staged(collection):
            if key not in seen:  # a scan may give a record twice
                seen.add(key)
                yield key, loads(raw, f"{collection}/{key}")

    def _differs(self, kind: str, name: str, why: str, *, replaceable: bool = True) -> bool:
        """Note what is here and different, and what comes of it; whether it is to be replaced."""
        if self._choice == "skip":
            word = "skipped"
        else:
            word = "replaced" if self._choice == "replace" and replaceable else "conflicts"
        self._report.note(kind, word, name, why)
        return word == "replaced"

    def _do(self, write: Callable[[], object]) -> None:
        if not self._report.dry_run:
            write()

    def _write(self, compares: list[Compare], changes: list[Change]) -> None:
        try:
            self._store.txn(compares, changes)
        except Conflict as error:
            raise ApiError(409, "The system has moved on", f"{error}: import again") from None
