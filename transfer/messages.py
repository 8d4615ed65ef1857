"""SFTP's messages (version 3), as far as we need them: made, cut out of a stream, and understood."""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Type(IntEnum):
    """What a message is."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(IntEnum):
    """What a STATUS says."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    UNSUPPORTED = 8


VERSION = 3
FOR_READING = 1
TO_READ = struct.pack(">II", FOR_READING, 0)
"""What an OPEN for reading ends with."""
LONGEST = 1024 * 1024
"""Bytes of a message that is still believed: what we ask for is at most a quarter of it."""
HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_MORE = 1, 2, 4, 8, 0x80000000


class Garbled(Exception):
    """What came is not SFTP."""


@dataclass(frozen=True, slots=True)
class Message:
    """An answer, without its length; of VERSION, `number` is the version."""

    type: int
    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says of a file; None: it does not."""

    size: int | None = None
    mode: int | None = None
    mtime: int | None = None


def pack(kind: Type, number: int, *fields: bytes) -> bytes:
    """A request: its number comes back with its answer (INIT: the version)."""
    body = b"".join(fields)
    return struct.pack(">IBI", len(body) + 5, kind, number) + body


def text(value: bytes) -> bytes:
    """A field of any length."""
    return struct.pack(">I", len(value)) + value


def path_field(path: str) -> bytes:
    """A path as a field: UTF-8; what was none on a disk comes through as it was."""
    return text(path.encode(errors="surrogateescape"))


def open_for_reading(number: int, path: str) -> bytes:
    """Give a handle of a file."""
    return pack(Type.OPEN, number, path_field(path), TO_READ)


def read(number: int, handle: bytes, offset: int, length: int) -> bytes:
    """Give bytes of a file, or as many as you like to."""
    return pack(Type.READ, number, text(handle), struct.pack(">QI", offset, length))


class Inbox:
    """Messages out of bytes that come as they like. What is not taken yet is kept, and copied once."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self._have = 0
        self._length: int | None = None

    def feed(self, data: bytes) -> None:
        """More bytes came."""
        if data:
            self._pieces.append(memoryview(data))
            self._have += len(data)

    def next(self) -> Message | None:
        """The next message, once all of it is there.

        Raises:
            Garbled: it cannot be one.
        """
        if self._length is None:
            if self._have < 4:
                return None
            self._length = int.from_bytes(self._take(4), "big")
            if not 5 <= self._length <= LONGEST:
                raise Garbled(f"a message of {self._length} bytes")
        if self._have < self._length:
            return None
        kind, number = struct.unpack(">BI", self._take(5))
        left, self._length = self._length - 5, None
        if kind == Type.DATA:
            # Without its length, so that the bytes of a file are copied no more than this once.
            if left < 4 or int.from_bytes(self._take(4), "big") != left - 4:
                raise Garbled("data of another length than it says")
            left -= 4
        return Message(kind, number, self._take(left))

    def _take(self, count: int) -> bytes:
        taken = []
        self._have -= count
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            taken.append(piece)
            count -= len(piece)
        return b"".join(taken)


def _field(body: bytes, start: int = 0) -> tuple[bytes, int]:
    """A field of any length, and where the next begins."""
    if len(body) < start + 4:
        raise Garbled("an answer that is too short")
    end = start + 4 + int.from_bytes(body[start : start + 4], "big")
    if len(body) < end:
        raise Garbled("an answer that is too short")
    return body[start + 4 : end], end


def handle_of(body: bytes) -> bytes:
    """What an OPEN gave."""
    return _field(body)[0]


def status_of(body: bytes) -> tuple[int, str]:
    """The code of a STATUS, and the server's own words for it (maybe none)."""
    if len(body) < 4:
        raise Garbled("an answer that is too short")
    words = _field(body, 4)[0] if len(body) >= 8 else b""
    return int.from_bytes(body[:4], "big"), words.decode(errors="replace")


def attributes_of(body: bytes) -> Attributes:
    """What a STAT or FSTAT gave."""
    return _attributes(body, 0)[0]


def _attributes(body: bytes, at: int) -> tuple[Attributes, int]:
    """The attributes from there on, and what comes after them."""
    size = mode = mtime = None
    try:
        (flags,), at = struct.unpack_from(">I", body, at), at + 4
        if flags & HAS_SIZE:
            (size,), at = struct.unpack_from(">Q", body, at), at + 8
        if flags & HAS_OWNER:
            at += 8
        if flags & HAS_MODE:
            (mode,), at = struct.unpack_from(">I", body, at), at + 4
        if flags & HAS_TIMES:
            (_, mtime), at = struct.unpack_from(">II", body, at), at + 8
        if flags & HAS_MORE:
            (count,), at = struct.unpack_from(">I", body, at), at + 4
            for _ in range(2 * count):
                _, at = _field(body, at)
    except struct.error:
        raise Garbled("an answer that is too short") from None
    return Attributes(size, mode, mtime), at


def names_of(body: bytes) -> Iterator[tuple[bytes, Attributes]]:
    """The names in a NAME, and what it says of each."""
    if len(body) < 4:
        raise Garbled("an answer that is too short")
    at = 4
    for _ in range(int.from_bytes(body[:4], "big")):
        name, at = _field(body, at)
        _, at = _field(body, at)  # the line that `ls -l` would show
        found, at = _attributes(body, at)
        yield name, found
