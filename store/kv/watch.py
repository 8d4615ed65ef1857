"""Every change after a revision, in order, exactly once; or an error that says why not."""

from store.errors import Compacted
from store.keys import Keys
from store.kv.api import Event
from store.kv.connection import Client, translated
from store.kv.lua import Scripts, check_history, fell_back


class Watch:
    """A cursor in the change log. One thread, one connection of its own (reads block)."""

    def __init__(self, client: Client, keys: Keys, *, epoch: str, after: int) -> None:
        self._client = client
        self._keys = keys
        self._epoch = epoch
        self._rev = after
        self._heard = self._known = after
        self._cursor = f"{after}-{2**63 - 1}"

    @property
    def rev(self) -> int:
        """The last revision whose events were all handed out, as far as is known."""
        return self._rev

    @property
    def known(self) -> int:
        """The store's own revision at the last poll; not all of its events need have been handed out."""
        return self._known

    def poll(self, wait_ms: int, most: int = 1024) -> list[Event]:
        """The next events; an empty list when none came within `wait_ms` (0: do not wait).

        The server skips silently when the log was trimmed past the cursor, and blocks silently
        when the log fell back behind it; both are looked for after every read.

        Raises:
            Compacted: list again, then watch from there.
            StoreEmpty, EpochChanged, HistoryLost: another history.
            Unavailable: poll again later; nothing is skipped.
        """
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.xread({self._keys.log: self._cursor}, count=most, block=wait_ms or None)
            pipe.get(self._keys.compacted)
            pipe.hmget(self._keys.meta, ["epoch", "lost"])
            pipe.get(self._keys.rev)
            answer, compacted, history, rev = pipe.execute()
        check_history(history, self._epoch)
        if int(compacted or 0) > self._rev:
            raise Compacted(int(compacted))
        if int(rev or 0) < self._heard:
            scripts = Scripts(self._client)
            raise fell_back(scripts, self._keys.meta, self._epoch, int(rev or 0), self._heard)
        self._known = max(self._known, int(rev or 0))
        entries = answer[0][1] if answer else []
        events = [_event(entry_id, fields) for entry_id, fields in entries]
        if entries:
            self._cursor = entries[-1][0].decode()
            self._heard = events[-1].rev
        # A full batch may end within a revision, whose rest may yet be compacted away.
        self._rev = self._heard if len(entries) < most else self._heard - 1
        return events


def _event(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    return Event(
        rev=int(entry_id.split(b"-")[0]),
        collection=fields[b"c"].decode(),
        field=fields[b"f"].decode(),
        op="put" if fields[b"op"] == b"put" else "del",
    )
