"""Serves logs to those who ask: in bounded chunks, on credit, on a thread of its own.

Costs nothing while nobody reads. A reader that does not renew its credit for 30 s is forgotten; so are
all of them when the store cannot be reached. They ask again from where they were.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agentd.logs import files
from agentd.logs.read import Reader
from agentd.logs.times import Times
from store.clock import Clock
from store.kv.asks import CHUNK, DROPPED_AFTER, RENEW_EVERY, Chunk

log = logging.getLogger("agent")

LOOK_EVERY = 0.1
"""Seconds between two looks at files whose reader has read them to their end."""
AT_ONCE = 4
"""Chunks of one file that are sent before the next file has its turn."""
OPENS_WITHIN, ENDS_WITHIN = 3.0, 10.0
"""Seconds that a truncation under way is waited for: before a log is opened (who asked gives up after five),
and where it seems to end. One that takes longer was cut off by a crash."""
REMEMBERED = 1000
FILES = 200

Ask = Mapping[str, Any]


class Out(Protocol):
    """Where answers go; see `agentd.link`. Both may raise StoreError."""

    def chunk(self, ask: str, chunks: Sequence[Chunk]) -> None:
        """Append to the answers of one ask."""

    def rest(self) -> None:
        """Nobody reads just now."""


@dataclass(slots=True)
class _File:
    """One log that a reader reads. Without `follow`, `stop` is where it ended when asked."""

    number: int
    alloc: str
    task: str
    reader: Reader
    at: int = 0
    stop: int | None = None
    over: bool = False
    generation: int = 0
    cut_since: float | None = None
    """Since when its end cannot be seen, because it is being truncated."""


@dataclass(slots=True)
class _Ask:
    """One reader. `credit` is granted in all, `spent` likewise."""

    id: str
    files: list[_File]
    credit: int
    heard: float
    said: float = 0.0
    spent: int = 0
    seq: int = 0
    over: bool = False
    follow: bool = False
    chunks: list[Chunk] = field(default_factory=list)


class LogServer:
    """`directory` holds the logs by allocation; `over` says whether a generation of a task writes no more."""

    def __init__(self, directory: Path, clock: Clock, over: Callable[[str, str, int], bool]) -> None:
        self._directory = directory
        self._clock = clock
        self._over = over
        self._life = secrets.token_hex(8)
        self._condition = threading.Condition()
        self._inbox: deque[Ask] = deque(maxlen=REMEMBERED)
        self._asks: dict[str, _Ask] = {}
        self._closed: deque[str] = deque(maxlen=REMEMBERED)
        self._put_off: list[tuple[Ask, float]] = []
        """Asks to open what is just being truncated, and until when."""
        self._stopping = False

    def start(self, out: Out) -> None:
        """Begin, on a thread of its own."""
        threading.Thread(target=self._run, args=(out,), name="logserver", daemon=True).start()

    def stop(self) -> None:
        """End soon; readers notice."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def take(self, asks: Sequence[Ask]) -> None:
        """What was heard from readers; perhaps not for the first time."""
        with self._condition:
            self._inbox.extend(asks)
            self._condition.notify()

    def _run(self, out: Out) -> None:
        while True:
            with self._condition:
                if not (self._inbox or self._stopping):
                    self._condition.wait(LOOK_EVERY if self._asks or self._put_off else None)
                if self._stopping:
                    return
            try:
                while self.turn(out):
                    pass
            except Exception as error:  # noqa: BLE001 - nothing that a reader asks may end this
                # The store is away, or worse: readers ask again from where they are.
                log.info("readers of logs are dropped: %s", error)
                self._asks.clear()
                self._put_off.clear()

    def turn(self, out: Out) -> bool:
        """Hear what was asked, and give each reader something; whether there may be more at once.

        Raises:
            StoreError: answers cannot be sent.
        """
        had = bool(self._asks)
        self._hear(out)
        more = False
        for ask in list(self._asks.values()):
            more |= self._serve(ask, out)
        if had and not self._asks:
            out.rest()
        return more

    # -- hearing

    def _hear(self, out: Out) -> None:
        with self._condition:
            heard = list(self._inbox)
            self._inbox.clear()
        # A new agent hears what the last one was asked, too: what is closed need not be opened.
        self._closed.extend(each["id"] for each in heard if each["verb"] == "close")
        until = self._clock.now() + OPENS_WITHIN
        put_off, self._put_off = self._put_off, []
        for each, at_last in [*put_off, *((each, until) for each in heard)]:
            if each["id"] in self._closed:
                self._drop(each["id"])
                continue
            try:
                if self._is_too_early(each, at_last):
                    self._put_off.append((each, at_last))
                else:
                    self._heard(each["id"], each, out)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                log.warning("ask %s cannot be understood: %r", each["id"], error)

    def _is_too_early(self, said: Ask, until: float) -> bool:
        """Whether something that is to be opened, or gone on with after that, is being truncated."""
        if any(each["id"] == said["id"] for each, _ in self._put_off):
            return True
        if said["verb"] != "open" or said["id"] in self._asks or self._clock.now() >= until:
            return False
        return any(self._file(0, each).reader.is_cut() for each in said["files"][:FILES])

    def _heard(self, name: str, said: Ask, out: Out) -> None:
        known = self._asks.get(name)
        if known is not None:
            known.heard = self._clock.now()
            known.credit = max(known.credit, int(said["credit"]))
            known.over = known.over or bool(said.get("over"))
        elif said["verb"] == "open":
            self._open(name, said)
        elif said["verb"] == "more":
            self._closed.append(name)
            out.chunk(name, [Chunk({"life": self._life, "seq": 0, "gone": True})])

    def _open(self, name: str, said: Ask) -> None:
        follow = bool(said["follow"])
        found = _Ask(name, [], int(said["credit"]), self._clock.now(), follow=follow)
        found.over = bool(said.get("over"))
        begins: list[int | None] = []
        for number, each in enumerate(said["files"][:FILES]):
            file = self._file(number, each)
            there = self._begin(file, each, follow=follow)
            begins.append(file.at if there else None)
            found.files.append(file)
        self._asks[name] = found
        self._put(found, begins=begins)

    def _file(self, number: int, said: Ask) -> _File:
        alloc, stream = str(said["alloc"]), said["stream"]
        if "/" in alloc or alloc in ("", ".", "..") or stream not in files.STREAMS:
            raise ValueError(f"{alloc!r} {stream!r}")
        name = f"{files.stem(said['task'], int(said['position']))}.{stream}"
        generation = int(said.get("generation") or 0)
        return _File(
            number, alloc, said["task"], Reader(self._directory / alloc / name), generation=generation
        )

    def _begin(self, file: _File, said: Ask, *, follow: bool) -> bool:
        """Find where to begin; whether there is such a log."""
        oldest, end = file.reader.extent()
        if said.get("cursor") is not None:
            file.at = min(int(said["cursor"]), end)
        else:
            file.at = max(oldest, self._since(file, said))
            if said.get("tail") is not None:
                file.at = max(file.at, file.reader.tail(int(said["tail"]), end))
        file.stop = None if follow else max(end, file.at)
        return end > 0 or file.reader.live.exists()

    def _since(self, file: _File, said: Ask) -> int:
        since = said.get("since")
        if said.get("ago") is not None:
            since = self._clock.wall() - float(said["ago"])
        if since is None:
            return 0
        offset = Times(file.reader.live).offset(float(since))
        return file.reader.line_at(offset)

    # -- answering

    def _put(self, ask: _Ask, data: bytes = b"", **head: Any) -> None:
        chunk = Chunk({"life": self._life, "seq": ask.seq, **head}, data)
        ask.seq += 1
        ask.spent += chunk.cost
        ask.chunks.append(chunk)

    def _serve(self, ask: _Ask, out: Out) -> bool:
        now = self._clock.now()
        if now - ask.heard > DROPPED_AFTER:
            log.info("a reader of logs is gone: it said nothing for %.0f s", DROPPED_AFTER)
            self._drop(ask.id)
            return False
        more = False
        for file in list(ask.files):
            ended = self._pump(ask, file)
            more |= not (ended or file.stop is None or file.cut_since is not None or ask.spent >= ask.credit)
            if ended:
                ask.files.remove(file)
                self._put(ask, ends=[[file.number, file.at]])
            elif not ask.follow:
                break  # one after the other: the next one when this one is at its end
        # A reader that is slow has unread chunks enough to know that we are here.
        if not ask.chunks and now - ask.said >= RENEW_EVERY and ask.spent < ask.credit:
            self._put(ask)
        busy = any(chunk.data for chunk in ask.chunks)
        self._flush(ask, out, now)
        if not ask.files:
            self._closed.append(ask.id)
            self._drop(ask.id)
        return (more or busy) and bool(ask.files)

    def _pump(self, ask: _Ask, file: _File) -> bool:
        """Send what there is, as far as credit goes; whether that was the end of it."""
        over = file.stop is not None or ask.over or self._over(file.alloc, file.task, file.generation)
        for _ in range(AT_ONCE):
            most = CHUNK if file.stop is None else min(CHUNK, file.stop - file.at)
            if most <= 0:
                return True
            if ask.spent >= ask.credit:
                return False
            piece = file.reader.read(file.at, most)
            if piece.data:
                self._put(ask, piece.data, file=file.number, start=piece.start)
            moved, file.at = piece.end > file.at, piece.end
            if not moved:  # whoever had the last word had it before we looked
                return over and not self._has_more(file)
            file.cut_since = None
        return False

    def _has_more(self, file: _File) -> bool:
        """Whether what seems to be the end of a log may not be it."""
        now, cut = self._clock.now(), file.reader.is_cut()
        file.cut_since = (now if file.cut_since is None else file.cut_since) if cut else None
        if file.cut_since is not None:
            return now - file.cut_since < ENDS_WITHIN
        return file.reader.extent()[1] > file.at

    def _flush(self, ask: _Ask, out: Out, now: float) -> None:
        chunks, ask.chunks = ask.chunks, []
        if chunks:
            out.chunk(ask.id, chunks)
            ask.said = now

    def _drop(self, name: str) -> None:
        ask = self._asks.pop(name, None)
        for file in ask.files if ask else ():
            file.reader.close()
