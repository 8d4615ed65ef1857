"""A manager's own history of events, outside the store's memory: one SQLite file.

Each row has a number of its own, `seq`, which rises whatever the clocks do; (stream id, epoch) is
unique, so that what is heard twice is kept once. To the outside an event is known by its stream id, because
that means the same on every manager: after a restart of this one, or on another one, a reader resumes after
the row with that id, or, where that is unknown, after the last one from before its time. So ids serve both as
`id:` of server-sent events and as cursors of pages; `seq` never leaves this file.

Readers open the file for each look: it may have been set aside and begun anew since the last one.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from store.codec import Json
from store.kv.events import Entry
from store.model.event import BEGINNING, GAP, Id, Wanted, as_text, just_before

FILE = "events.db"
MOST_KEPT = 1_000_000
KEPT_FOR = 30 * 86400.0
TRIMMED_AT_ONCE = 2_000
BUSY_WITHIN = 2.0

_TABLE = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, ms INTEGER NOT NULL, n INTEGER NOT NULL, epoch TEXT NOT NULL,
    time REAL NOT NULL, kind TEXT NOT NULL, deployment TEXT, node TEXT, body BLOB NOT NULL,
    UNIQUE (ms, n, epoch));
CREATE INDEX IF NOT EXISTS by_deployment ON events (deployment, seq) WHERE deployment IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_node ON events (node, seq) WHERE node IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_kind ON events (kind, seq);
"""
_INSERT = (
    "INSERT OR IGNORE INTO events (ms, n, epoch, time, kind, deployment, node, body) VALUES (?,?,?,?,?,?,?,?)"
)


class Damaged(Exception):
    """The file is no database, or not a whole one."""


class Chronicle:
    """The writer's side; for one thread of one process.

    Raises, in every call:
        Damaged: set the file aside.
        OSError: the disk is full, or does not let us write; nothing was kept of this call.
    """

    def __init__(self, path: Path, most: int = MOST_KEPT, kept_for: float = KEPT_FOR) -> None:
        self._path = path
        self._most, self._kept_for = most, kept_for
        with _in_our_words():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._db = sqlite3.connect(
                path, timeout=BUSY_WITHIN, isolation_level=None, check_same_thread=False
            )
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute(
                    "PRAGMA synchronous = NORMAL"
                )  # a power cut may cost the last events, no more
                self._db.executescript(_TABLE)
            except sqlite3.Error:
                self._db.close()
                raise

    def last(self) -> Id:
        """The id that was recorded last; `BEGINNING` when there is none."""
        with _in_our_words():
            row = self._db.execute("SELECT ms, n FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return (row[0], row[1]) if row else BEGINNING

    def record(self, entries: Sequence[Entry], now: float, gap: str = "") -> None:
        """Keep events; `gap` says why some before them may be missing. Some old ones go."""
        rows = [_row(entry) for entry in entries]
        if gap:
            before = just_before(entries[0].id) if entries else self.last()
            rows.insert(0, _row(Entry(before, gap_event(gap, now))))
        with _in_our_words(), self._transaction():
            self._db.executemany(_INSERT, rows)
            self._trim(now)

    def _trim(self, now: float) -> None:
        """Incrementally: twice what usually comes in one go, so that it catches up whatever happens."""
        self._db.execute(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?) AND "
            "(seq <= (SELECT max(seq) FROM events) - ? OR ms < ?)",
            (TRIMMED_AT_ONCE, self._most, int((now - self._kept_for) * 1000)),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()


def gap_event(reason: str, now: float) -> Json:
    """An event that says that others may be missing."""
    return {"time": now, "kind": GAP, "subject": {}, "reason": reason, "actor": "recorder", "epoch": ""}


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, over an earlier one; where it lies now.

    Raises:
        OSError: it cannot be moved.
    """
    aside = path.with_name(path.name + ".corrupt")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
    return aside


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # full, read-only, locked
        raise OSError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error


def _row(entry: Entry) -> tuple[Any, ...]:
    event = entry.event
    subject = event["subject"]
    about = (event["time"], event["kind"], subject.get("deployment"), subject.get("node"))
    return (*entry.id, event["epoch"], *about, orjson.dumps({"id": as_text(entry.id), **event}))


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, in order, and where to go on."""

    events: list[Json]
    more: bool
    """Whether others follow."""
    position: int
    """The number up to which all was looked at: for `Reader.after`."""
    last: Id
    """The id of the newest row in the file."""


class Reader:
    """The readers' side; any thread.

    Raises, in every call:
        OSError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_WITHIN,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
        try:
            db.execute("BEGIN")  # all of one look is from one moment
            yield db
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
        finally:
            db.close()

    def locate(self, number: Id) -> tuple[int, bool]:
        """The row after which a reader goes on who knows all up to an id; whether that id is known here."""
        with self._open() as db:
            return _locate(db, number)

    def after(self, position: int, wanted: Wanted, most: int) -> Page:
        """The next rows after one, the oldest first."""
        with self._open() as db:
            rows = _select(db, wanted, f"seq > {position} ORDER BY seq", most + 1)
            newest = db.execute("SELECT seq, ms, n FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        more = len(rows) > most
        reached, ms, n = newest or (position, *BEGINNING)
        upto = rows[most - 1][0] if more else reached
        return Page([orjson.loads(body) for _, body in rows[:most]], more, upto, (ms, n))

    def page(
        self, wanted: Wanted, cursor: Id | None, most: int, *, newest_first: bool
    ) -> tuple[list[Json], bool]:
        """Some rows beyond a cursor, and whether others follow."""
        with self._open() as db:
            where = "seq > 0"
            if cursor is not None:
                position, known = _locate(db, cursor)
                edge = position if known else position + 1
                where = f"seq < {edge}" if newest_first else f"seq > {position}"
            order = "DESC" if newest_first else "ASC"
            rows = _select(db, wanted, f"{where} ORDER BY seq {order}", most + 1)
        return [orjson.loads(body) for _, body in rows[:most]], len(rows) > most


def _locate(db: sqlite3.Connection, number: Id) -> tuple[int, bool]:
    same = f"SELECT seq FROM events WHERE ms = ? AND n = ? ORDER BY kind = '{GAP}', seq DESC LIMIT 1"  # noqa: S608
    exact = db.execute(same, number).fetchone()
    if exact is not None:
        return int(exact[0]), True
    ms, n = number
    below = (
        "SELECT seq FROM events WHERE ms < ? OR (ms = ? AND n < ?) ORDER BY ms DESC, n DESC, seq DESC LIMIT 1"
    )
    found = db.execute(below, (ms, ms, n)).fetchone()
    return (int(found[0]) if found else 0), False


def _select(db: sqlite3.Connection, wanted: Wanted, rest: str, most: int) -> list[tuple[int, bytes]]:
    """Rows that are wanted; a gap is for everybody who looks at its place."""
    terms: list[str] = []
    values: list[Any] = []
    named = (("deployment", wanted.deployment), ("node", wanted.node))
    for column, value in named:
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(value)
    if wanted.kind is not None:
        terms.append("(kind = ? OR (kind > ? AND kind < ?))")
        values += [wanted.kind, f"{wanted.kind}.", f"{wanted.kind}/"]
    about = f"({' AND '.join(terms)} OR kind = '{GAP}')" if terms else "1"
    for sign, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            about += f" AND time {sign} ?"
            values.append(moment)
    query = f"SELECT seq, body FROM events WHERE {about} AND {rest} LIMIT {most}"  # noqa: S608 - ours throughout
    return list(db.execute(query, values))
