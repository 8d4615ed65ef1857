"""Bytes of an archive as they come out of gzip, bzip2 or xz: a bounded piece at a time, to their very end."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from agentd.artifacts.entries import hostile
from store.model.quantity import size_text

PIECE = 1024**2
PACKED = 64 * 1024
"""Bytes read at once of what is packed: what is left of them is carried along, and copied, for each piece."""
MOST_MEMORY = 256 * 1024**2
"""Bytes that xz may take to unpack; `xz -9` needs 65 MiB."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """One member of a gzip file, in the manner of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._one = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._one.decompress(self._one.unconsumed_tail + data, max_length)
        self.needs_input = not self._one.unconsumed_tail and len(piece) < max_length
        return piece


def _xz() -> _Unpacker:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY)


PACKINGS: dict[bytes, Callable[[], _Unpacker]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}
"""By the first bytes."""


def pieces(file: BinaryIO, make: Callable[[], _Unpacker] | None) -> Iterator[bytes]:
    """What a file holds, unpacked; the members of one that has several, one after the other.

    Raises:
        TransferError: HOSTILE, it is damaged, cut short, or something else follows.
    """
    if make is None:
        while piece := file.read(PIECE):
            yield piece
        return
    raw = file.read(PACKED)
    while raw:
        one = make()
        while not one.eof:
            if not raw and one.needs_input:
                raw = file.read(PACKED)
                if not raw:
                    raise hostile(None, "the archive is cut short")
            try:
                piece = one.decompress(raw, PIECE)
            except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
                raise hostile(
                    None, f"its packed data are damaged, or something follows them ({error})"
                ) from None
            raw = b""
            if piece:
                yield piece
        raw = one.unused_data.lstrip(b"\0")
        while not raw and (further := file.read(PACKED)):  # padding is fine
            raw = further.lstrip(b"\0")


class Stream:
    """Reads so many bytes at a time, and never more than `most` altogether."""

    def __init__(self, source: Iterator[bytes], most: int) -> None:
        self._source = source
        self._most = most
        self._held = b""
        self._read = 0

    def some(self, count: int) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._held:
            self._held = next(self._source, b"")
            self._read += len(self._held)
            if self._read > self._most:
                raise hostile(None, f"more than {size_text(self._most)} come out of it")
        piece, self._held = self._held[:count], self._held[count:]
        return piece

    def exactly(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            TransferError: HOSTILE, there are less.
        """
        found = bytearray()
        while len(found) < count:
            piece = self.some(count - len(found))
            if not piece:
                raise hostile(None, "the archive is cut short")
            found += piece
        return bytes(found)
