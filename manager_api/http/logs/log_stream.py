"""One reader of logs: asks the nodes, grants them credit, and turns their chunks into an answer."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from manager_api.http.logs.log_lines import Line, Lines, Lost, Source
from manager_api.http.logs.log_query import Query
from store.codec import Json
from store.errors import BadRecord, StoreError
from store.kv.asks import RENEW_EVERY, WINDOW, Answers, Asks, Chunk

WAIT_MS = 1000
BEGUN_WITHIN = 5.0
"""Seconds that a node has for its first word."""
ASKED_AGAIN_AFTER = 12.0
"""Seconds of silence after which a node is asked anew: its agent was restarted, say."""
ASKED_ANEW_AFTER = 0.5
"""Seconds between two asks, when chunks show that one of them was lost."""
SILENT_FOR = 60.0
"""Seconds of silence after which we give up."""
WORD_EVERY = 10.0
"""Seconds after which a quiet answer says that it is still there."""


@dataclass(slots=True)
class Session:
    """What one node is asked."""

    node: str
    sources: list[Source]
    answers: Answers
    life: str = ""
    seq: int = 0
    granted: int = WINDOW
    consumed: int = 0
    renewed: float = 0.0
    asked: float = 0.0
    heard: float = 0.0
    broken: bool = False
    """Whether the numbers of its chunks do not fit: it must be asked anew."""
    open: list[Source] = field(default_factory=list)
    """The sources of the present ask, by their numbers in it."""


class LogStream:
    """Bytes of an answer. Iterate it once; `close` it in any case.

    `over` tells whether the deployment has ended; `stopping` whether this process shall.
    """

    def __init__(
        self,
        asks: Asks,
        sources: Sequence[Source],
        asked: Query,
        *,
        over: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> None:
        self.form = asked.form(sources)
        self._asks = asks
        self._follow = asked.follow
        self._where = asked.where
        self._over = over
        self._stopping = stopping
        self._is_over = False
        self._lines = {source: Lines(asked.cursors.get(source.key)) for source in sources}
        self._sessions: list[Session] = []
        for node in dict.fromkeys(source.node for source in sources):
            mine = [source for source in sources if source.node == node]
            self._sessions.append(Session(node, mine, Answers(node, "")))

    # -- the beginning, before anything is answered

    def begin(self) -> tuple[list[bytes], list[str]]:
        """Ask all nodes; the first words of the answer, and the nodes that gave none.

        Raises:
            StoreError: the store is away.
        """
        self._is_over = self._over()
        for session in self._sessions:
            self._ask(session)
        deadline, words = monotonic() + BEGUN_WITHIN, []
        while (waiting := [each for each in self._sessions if not each.life]) and monotonic() < deadline:
            for answers, chunk in self._read(waiting, 100, most=len(waiting)):
                words += self._take(answers, chunk)
        for session in waiting:
            self._asks.close(session.answers)
            self._sessions.remove(session)
        return words, [session.node for session in waiting]

    def _ask(self, session: Session) -> None:
        if session.answers.ask:
            self._asks.close(session.answers)
        session.answers = Answers(session.node, str(uuid.uuid4()))
        session.life, session.seq, session.consumed, session.granted = "", 0, 0, WINDOW
        session.broken = False
        session.asked = session.renewed = monotonic()
        session.open = list(session.sources)
        files = [self._file(source) for source in session.open]
        self._asks.send(
            session.node, session.answers.ask, "open", files=files, follow=self._follow, credit=WINDOW,
            over=self._is_over,
        )  # fmt: skip

    def _file(self, source: Source) -> Json:
        at = self._lines[source].next
        where = self._where if at is None else {"cursor": at}
        named = {"alloc": source.alloc, "task": source.task, "position": source.position}
        return {**named, "stream": source.stream, "generation": source.generation, **where}

    @property
    def busy(self) -> bool:
        """Whether there is anybody to hear from."""
        return bool(self._sessions)

    # -- the answer

    def run(self) -> Iterator[bytes]:
        """The rest of the answer, in pieces that were read together. An empty one: nothing came just now."""
        now = monotonic()
        for session in self._sessions:
            session.heard = now
        try:
            while self._sessions and not self._stopping():
                found = self._read(self._sessions, WAIT_MS)
                said = b"".join(word for each in found for word in self._take(*each))
                before = monotonic()
                yield said
                self._tend({answers.ask for answers, _ in found}, monotonic() - before)
        except BadRecord as error:
            yield self.form.error(f"a node's answer cannot be read: {error}", self.cursor())
        except StoreError as error:
            yield self.form.error(f"the store is not available: {error}", self.cursor())
        except Silent as error:
            yield self.form.error(str(error), self.cursor())
        else:
            if self._sessions:
                yield self.form.error("this manager is stopping", self.cursor())
            else:
                yield self.form.end()

    def cursor(self) -> str:
        """Where a client can go on that has read all of this."""
        ats = [(source, lines.at) for source, lines in self._lines.items()]
        return ",".join(source.cursor(at) for source, at in ats if at is not None)

    def _read(self, sessions: Sequence[Session], wait_ms: int, most: int = 16) -> list[tuple[Answers, Chunk]]:
        return self._asks.read([session.answers for session in sessions], wait_ms, most)

    def _take(self, answers: Answers, chunk: Chunk) -> list[bytes]:
        """What one chunk adds to the answer; nothing, if its number shows that some are missing."""
        session = next((each for each in self._sessions if each.answers is answers), None)
        if session is None:
            return []  # what was left of an ask that another one has replaced
        head = chunk.head
        fresh = not session.life and head.get("seq") == 0 and not head.get("gone")
        if not fresh and (head.get("life"), head.get("seq")) != (session.life, session.seq):
            session.broken = True  # another life of the agent, or it had dropped us
            return []
        session.life, session.seq = str(head["life"]), session.seq + 1
        session.consumed += chunk.cost
        try:
            return list(self._words(session, head, chunk.data))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BadRecord(f"node {session.node}: {error!r}") from error

    def _words(self, session: Session, head: Mapping[str, Any], data: bytes) -> Iterator[bytes]:
        for source, offset in zip(session.open, head.get("begins", ()), strict=False):
            lines = self._lines[source]
            if offset is None and self._is_over:
                yield self.form.note(f"node {source.node} has no {source} any more, or never had")
            if lines.at is None:
                lines.at = int(offset or 0)
                yield self.form.begin(source, lines.at)
        if "file" in head:
            source = session.open[int(head["file"])]
            yield from self._told(source, self._lines[source].feed(int(head["start"]), data))
            if self.form.eager:
                yield from self._told(source, self._lines[source].flush())
        for number, end in head.get("ends", ()):
            source = session.open[number]
            lines = self._lines[source]
            yield from self._told(source, lines.feed(max(end, lines.next or 0), b""))
            yield from self._told(source, lines.flush())
            session.sources.remove(source)

    def _told(self, source: Source, found: Iterator[Line | Lost]) -> Iterator[bytes]:
        for each in found:
            if isinstance(each, Lost):
                yield self.form.lost(source, each)
            else:
                yield self.form.line(source, each)

    # -- between two reads

    def _tend(self, heard: set[str], blocked: float) -> None:
        """Grant credit for what was consumed; ask again who fell silent; let go who is done.

        `blocked`: seconds in which our own client took nothing, and we heard nothing either.
        """
        now = monotonic()
        if self._follow and not self._is_over and any(now - s.renewed >= RENEW_EVERY for s in self._sessions):
            self._is_over = self._over()
        for session in list(self._sessions):
            session.heard = now if session.answers.ask in heard else session.heard + blocked
            if not session.sources:
                self._asks.close(session.answers)
                self._sessions.remove(session)
            elif now - session.heard > SILENT_FOR:
                raise Silent(f"node {session.node} has not answered for {SILENT_FOR:.0f} s")
            elif self._must_ask(session, now):
                self._ask(session)
            elif not session.broken:
                self._renew(session, now)

    @staticmethod
    def _must_ask(session: Session, now: float) -> bool:
        if session.broken:
            return now - session.asked > ASKED_ANEW_AFTER
        return now - max(session.heard, session.asked) > ASKED_AGAIN_AFTER

    def _renew(self, session: Session, now: float) -> None:
        wanted = session.consumed + WINDOW
        if wanted - session.granted < WINDOW // 4 and now - session.renewed < RENEW_EVERY:
            return
        session.granted, session.renewed = wanted, now
        self._asks.trim(session.answers)
        self._asks.send(session.node, session.answers.ask, "more", credit=session.granted, over=self._is_over)

    def close(self) -> None:
        """Tell the nodes that nobody reads on.

        Raises:
            StoreError: they find out by themselves.
        """
        for session in self._sessions:
            self._asks.close(session.answers)
        self._sessions = []


class Silent(Exception):
    """A node does not answer any more."""
