"""Asking a node for pieces of files, and its answers: the API's side, and the words of both.

An ask is one entry of the node's `ask` stream, JSON with `id` and `verb`:

    open   `files`, `follow`, `credit`; each file: `alloc`, `task`, `position`, `stream`, and where to
           begin: `cursor` (an offset), or `tail` (lines, null for all) with `ago` or `since` (seconds)
    more   `credit`, in all so far; `over`: nothing will be written any more. Also says "still here"
    close  nobody reads on

Answers are chunks in a stream of their own, numbered from 0 by the agent's `life`. Each costs credit, at
least `LEAST_COST`, so that the stream stays short; it expires by itself when either side is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from store.codec import Json, dumps, loads
from store.errors import BadRecord
from store.keys import Keys
from store.kv.connection import Client, translated

CHUNK = 64 * 1024
WINDOW = 1024 * 1024
LEAST_COST = 4096
RENEW_EVERY = 5.0
"""Seconds between two words of a reader that it is still there, and of an agent likewise."""
DROPPED_AFTER = 30.0
"""Seconds without such a word after which an agent forgets a reader."""
MOST_CHUNKS = 512
"""More than a window's worth of the smallest ones: a stream is never cut unless its reader is broken."""
MOST_ASKS = 1000
ASKS_LIVE_S = 60
ANSWERS_LIVE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of an answer.

    `head` has `life` and `seq`, and one of `begins` (offsets by file, null for one that is not there),
    `file` and `start` (with data), `ends` (pairs of a file that is read to its end, and where that is),
    `gone` (the agent knows no such ask), or nothing: the agent is still there.
    """

    head: Mapping[str, Any]
    data: bytes = b""

    @property
    def cost(self) -> int:
        """What it costs of the credit."""
        return max(len(self.data), LEAST_COST)

    def fields(self) -> dict[str, bytes]:
        """As it lies in the stream."""
        return {"h": dumps(self.head), "d": self.data}

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> "Chunk":
        """From the stream.

        Raises:
            BadRecord: it is none.
        """
        try:
            return cls(loads(fields[b"h"], "chunk"), fields[b"d"])
        except KeyError as error:
            raise BadRecord(f"chunk without {error}") from None


def ask_of(fields: Mapping[bytes, bytes]) -> Json | None:
    """An ask as it lies in the stream; None for what is none."""
    try:
        found = loads(fields.get(b"a", b""), "ask")
    except BadRecord:
        return None
    return found if isinstance(found.get("id"), str) and isinstance(found.get("verb"), str) else None


@dataclass(slots=True)
class Answers:
    """The answers to one ask, and how far they are read."""

    node: str
    ask: str
    cursor: str = "0-0"


@dataclass(frozen=True, slots=True)
class Asks:
    """The API's side."""

    client: Client
    keys: Keys = field(default_factory=Keys)

    def send(self, node: str, ask: str, verb: str, **more: Any) -> None:
        """Say something to a node."""
        key = self.keys.node(node).ask
        with translated():
            pipe = self.client.pipeline(transaction=False)
            record = {"a": dumps({"id": ask, "verb": verb, **more})}
            pipe.xadd(key, record, maxlen=MOST_ASKS, approximate=False)
            pipe.expire(key, ASKS_LIVE_S)
            pipe.execute()

    def read(
        self, wanted: Sequence[Answers], wait_ms: int, most: int = WINDOW // CHUNK
    ) -> list[tuple[Answers, Chunk]]:
        """The next chunks of some answers, about `most` in all; none if none come within `wait_ms`.

        Raises:
            BadRecord: an agent talks nonsense.
        """
        by_key = {self.keys.node(each.node).answer(each.ask): each for each in wanted}
        with translated():
            found = self.client.xread(
                {key: each.cursor for key, each in by_key.items()},
                count=max(1, most // len(by_key)),
                block=wait_ms or None,
            )
        chunks = []
        for key, entries in found or ():
            answers = by_key[key.decode()]
            for entry, fields in entries:
                answers.cursor = entry.decode()
                chunks.append((answers, Chunk.of(fields)))
        return chunks

    def trim(self, answers: Answers) -> None:
        """Remove what was read. The last one stays: a stream keeps its numbers as long as it is there."""
        with translated():
            self.client.xtrim(
                self.keys.node(answers.node).answer(answers.ask), minid=answers.cursor, approximate=False
            )

    def close(self, answers: Answers) -> None:
        """Nobody reads on."""
        self.send(answers.node, answers.ask, "close")
        with translated():
            self.client.delete(self.keys.node(answers.node).answer(answers.ask))
