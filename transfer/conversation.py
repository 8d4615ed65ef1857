"""Talking SFTP over a channel: many questions may be open at once, and their answers are taken in order.

paramiko's own file objects ask for 32 KiB at a time, answer by answer in a thread of their own, and either
wait for each or ask for a whole file at once; see `benchmarks/bench_artifacts.py`.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from transfer import messages
from transfer.messages import Attributes, Code, Garbled, Inbox, Message, Type

READ_AT_ONCE = 255 * 1024
"""Bytes of one question: what OpenSSH gives at most. From others it is learned that they give less."""
AT_LEAST = 4 * 1024
IN_FLIGHT = 4 * 1024 * 1024
"""Bytes that were asked for and are not yet taken: what a slow disk costs in memory at most, and 40 MB/s
over a line of 100 ms."""
TAKEN_AT_ONCE = 2 * IN_FLIGHT


class Stream(Protocol):
    """A channel."""

    def sendall(self, data: bytes) -> object:
        """Send everything."""
        ...

    def recv(self, size: int) -> bytes:
        """What is there, or b"" at the end."""
        ...


class Refused(Exception):
    """The server said no."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class Shorter(Exception):
    """A file ended before it should have."""


@dataclass(slots=True)
class _Course:
    """How far the reading of one file has come."""

    handle: bytes
    offset: int
    """Up to where its bytes were taken."""
    size: int | None
    """None: it is read to its end."""
    after: int
    """What is asked for next."""
    asked: deque[tuple[int, int, int]] = field(default_factory=deque)
    """Questions in the order of their bytes: number, length, what was got in place of more."""
    last: int | None = None
    """The question for what the file is after its last bytes."""


class Conversation:
    """One client's side of SFTP. Not for two threads at once."""

    def __init__(self, stream: Stream) -> None:
        """Begin to talk.

        Raises:
            Garbled: it is not SFTP that the server speaks.
        """
        self._stream, self._inbox = stream, Inbox()
        self._number = 0
        self._unsent = bytearray()
        self._open: set[int] = set()  # questions without an answer so far
        self._unwanted: set[int] = set()  # those of them whose answers nobody waits for
        self._answers: dict[int, Message] = {}  # what came before its turn
        self._at_once = READ_AT_ONCE
        self._unsent += messages.pack(Type.INIT, messages.VERSION)
        if self._next().type != Type.VERSION:
            raise Garbled("a server that does not begin with its version")

    def stat(self, path: str) -> Attributes:
        """What a path leads to, through links.

        Raises:
            Refused: there is nothing, or not for us.
        """
        number = self._new()
        self._unsent += messages.pack(Type.STAT, number, messages.path_field(path))
        return messages.attributes_of(self._answer(number, Type.ATTRS).body)

    def open(self, path: str) -> bytes:
        """A handle to read a file by.

        Raises:
            Refused: there is nothing, or not for us.
        """
        number = self._new()
        self._unsent += messages.open_for_reading(number, path)
        return messages.handle_of(self._answer(number, Type.HANDLE).body)

    def close(self, handle: bytes) -> None:
        """Let go of a handle. Nobody waits for the answer."""
        number = self._new()
        self._unsent += messages.pack(Type.CLOSE, number, messages.text(handle))
        self.forget(number)
        self._send()

    def begin(self, question: Type, *fields: bytes) -> int:
        """Send a question of any other kind, and wait for nothing; its number, for `end`."""
        number = self.ask(question, *fields)
        self._send()
        return number

    def ask(self, question: Type, *fields: bytes) -> int:
        """The same, which goes out with what is sent next."""
        number = self._new()
        self._unsent += messages.pack(question, number, *fields)
        return number

    def peek(self, number: int) -> Message | None:
        """The answer to a question, if it has come; it is still to be taken, or to be forgotten."""
        while (message := self._inbox.next()) is not None:
            self._hear(message)
        return self._answers.get(number)

    def end(self, number: int, kind: Type) -> bytes:
        """Wait for the answer to a question; STATUS as its kind: that it was done.

        Raises:
            Refused: it was not.
        """
        try:
            return self._answer(number, kind).body
        except Refused as refused:
            if kind == Type.STATUS and refused.code == Code.OK:
                return b""
            raise

    def read(
        self, handle: bytes, offset: int, size: int | None, begun: tuple[int, int] | None = None
    ) -> Iterator[bytes | Attributes]:
        """The bytes from `offset` to `size` (None: to the end), in order, and then what the file is by now.

        `begun`: the numbers of the questions for all of these bytes and for what the file is after them.

        Raises:
            Shorter: it ended before.
            Refused: the server cannot read it.
        """
        course = _Course(handle, offset, size, after=offset)
        if begun is not None and size is not None:
            number, course.last = begun
            course.asked.append((number, size - offset, 0))
            course.after = size
        try:
            while size is None or course.offset < size:
                self._ask_ahead(course)
                data = self._take(course)
                if data is None:
                    break
                yield data
            last = course.last = self._ask_attributes(handle) if course.last is None else course.last
            yield messages.attributes_of(self._answer(last, Type.ATTRS).body)
        finally:
            self.forget(*(number for number, *_ in course.asked), course.last)

    def _ask_ahead(self, course: _Course) -> None:
        """Ask for as much as may be on its way, and with the last bytes for what the file is by then."""
        size = course.size
        while (size is None or course.after < size) and course.after - course.offset < IN_FLIGHT:
            length = self._at_once if size is None else min(self._at_once, size - course.after)
            course.asked.append((self.ask_bytes(course.handle, course.after, length), length, 0))
            course.after += length
        if course.last is None and course.after == size:
            course.last = self._ask_attributes(course.handle)  # no time is lost

    def _take(self, course: _Course) -> bytes | None:
        """The next bytes; None: the file ends here, as it may.

        Raises:
            Shorter: it ended before it should have.
            Refused: the server cannot read it.
        """
        number, length, less = course.asked.popleft()
        try:
            data = self._answer(number, Type.DATA).body
        except Refused as refused:
            if refused.code != Code.EOF:
                raise
            if course.size is None:
                return None
            raise Shorter from None
        got = len(data)
        course.offset += got
        if got < length:
            if got == 0:
                raise Garbled("an answer with no data in it")
            # The rest comes before what was asked for after it.
            rest = self.ask_bytes(course.handle, course.offset, length - got)
            course.asked.appendleft((rest, length - got, got))
            self.forget(course.last)  # what it was before says nothing of these
            course.last = None
        if less:  # it was not the end of the file, but all that this server gives at once
            self._at_once = max(AT_LEAST, min(self._at_once, less))
        return data

    def ask_bytes(self, handle: bytes, offset: int, length: int) -> int:
        """Ask for bytes, with what is sent next."""
        number = self._new()
        self._unsent += messages.read(number, handle, offset, length)
        return number

    def _ask_attributes(self, handle: bytes) -> int:
        number = self._new()
        self._unsent += messages.pack(Type.FSTAT, number, messages.text(handle))
        return number

    def _new(self) -> int:
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._open.add(self._number)
        return self._number

    def forget(self, *numbers: int | None) -> None:
        """Nobody waits for these answers (any more)."""
        for number in numbers:
            if number in self._open:
                self._unwanted.add(number)
            elif number is not None:
                self._answers.pop(number, None)

    def _answer(self, number: int, kind: Type) -> Message:
        """The answer to a question, which is of this kind or a refusal."""
        while number not in self._answers:
            self._hear(self._next())
        answer = self._answers.pop(number)
        if answer.type == Type.STATUS:
            raise Refused(*messages.status_of(answer.body))
        if answer.type != kind:
            raise Garbled(f"an answer of type {answer.type} in place of {kind.name}")
        return answer

    def _hear(self, message: Message) -> None:
        if message.number not in self._open:
            raise Garbled("an answer to what nobody asked")
        self._open.remove(message.number)
        if message.number in self._unwanted:
            self._unwanted.remove(message.number)
        else:
            self._answers[message.number] = message

    def _next(self) -> Message:
        """The next message that the server sends, once ours are sent."""
        self._send()
        while (message := self._inbox.next()) is None:
            data = self._stream.recv(TAKEN_AT_ONCE)
            if not data:
                raise EOFError
            self._inbox.feed(data)
        return message

    def _send(self) -> None:
        if self._unsent:
            data, self._unsent = bytes(self._unsent), bytearray()
            self._stream.sendall(data)
