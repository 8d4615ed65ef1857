"""One file sent to an SFTP server: whole, in place of what was there, or not at all."""

import hashlib
import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from transfer.conversation import Refused
from transfer.errors import Kind, TransferError
from transfer.messages import Attributes, Code
from transfer.sftp import errors
from transfer.urls import Source
from transfer.wire import Wire, is_directory, is_link

HIDDEN = ".muster-"
"""How names begin that are ours."""
PART = ".part"
REQUEST = 31 << 10
"""Bytes in one write: with its head it fills one packet of SSH, which any server takes."""
UNDER_WAY = 128
"""Writes that are sent before the first of them is answered: 4 MB, enough for 300 Mbit/s over 100 ms."""
SYNC_EVERY = 128 << 20
"""Bytes after which they go to the disk: with gigabytes at the end it would be silent for too long."""
WITHOUT = (Code.UNSUPPORTED, Code.PERMISSION_DENIED)
"""How servers refuse an extension that they have not, or that they were told not to have."""


@contextmanager
def explained(source: Source, doing: str, wire: Wire | None = None) -> Iterator[None]:
    """Turn what a server refuses into a sentence; with `wire` it is asked whether its disk is full.

    Raises:
        TransferError: as named.
    """
    with errors(source):
        try:
            yield
        except Refused as error:
            raise _sentence(source, doing, error, wire) from None


def _sentence(source: Source, doing: str, error: Refused, wire: Wire | None) -> TransferError:
    if error.code == Code.NO_SUCH_FILE:
        return TransferError(Kind.MISSING, f"no such file {source}")
    if error.code == Code.PERMISSION_DENIED:
        return TransferError(Kind.DENIED, f"permission denied: the server does not let us {doing} {source}")
    if wire is not None:
        parent = source.path.rpartition("/")[0]
        with suppress(Refused):
            if wire.room(parent or "/") < 2 * REQUEST:
                return TransferError(Kind.FULL, f"the server's disk is full: {source} was not written")
        text = f"the server could not {doing} {source} ({error}): a quota, a limit on its files, or its disk"
        return TransferError(Kind.FULL, text)
    return TransferError(Kind.FAULT, f"the server could not {doing} {source}: {error}")


def beside(path: str) -> str:
    """A hidden temporary name in the directory of a path, like no other."""
    return f"{path.rpartition('/')[0]}/{HIDDEN}{secrets.token_hex(8)}{PART}"


class Writer:
    """Writes files over one connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def put(self, target: Source, pieces: Iterable[bytes], size: int, sha256: str | None = None) -> str:
        """Send a file of `size` bytes into a directory that is there; its SHA-256.

        What `pieces` raises is passed on; an OSError would be taken for the server's. Whatever is raised:
        nothing was replaced, and nothing is left as long as the connection holds.

        Raises:
            TransferError: as its kinds say; MISMATCH: it is not `sha256`; CHANGED: not `size` bytes came.
        """
        wire, part = self._wire, beside(target.path)
        old = self._old(target)
        with explained(target, "write", wire):
            handle = wire.create(part, old.mode & 0o777 if old and old.mode and not is_link(old) else None)
        try:
            with explained(target, "write", wire):
                digest, sent = self._send(handle, pieces)
                self._sync(handle)
                found = wire.size(handle)
                wire.close(handle)
            if found not in (size, None) or sent != size:
                raise TransferError(
                    Kind.CHANGED, f"{min(sent, found or sent)} bytes arrived at {target}, not {size}"
                )
            if sha256 is not None and digest != sha256:
                raise TransferError(
                    Kind.MISMATCH, f"what was sent has sha256 {digest}, not {sha256}: nothing was replaced"
                )
            with explained(target, "replace"):
                self._take_place(part, target.path, there=old is not None)
        except BaseException:
            self._forget(handle, part, target)
            raise
        return digest

    def _old(self, target: Source) -> Attributes | None:
        """What is there now.

        Raises:
            TransferError: a directory, or we may not look.
        """
        try:
            with explained(target, "look at"):
                found = self._wire.lstat(target.path)
        except TransferError as error:
            if error.kind == Kind.MISSING:
                return None
            raise
        if is_directory(found):
            raise TransferError(Kind.UNSUPPORTED, f"{target} is a directory")
        return found

    def _send(self, handle: bytes, pieces: Iterable[bytes]) -> tuple[str, int]:
        """The SHA-256 and the number of bytes, once all of them are written."""
        wire, digest, offset, synced = self._wire, hashlib.sha256(), 0, 0
        waiting: deque[int] = deque()
        for piece in pieces:
            digest.update(piece)
            view = memoryview(piece)
            for start in range(0, len(piece), REQUEST):
                data = bytes(view[start : start + REQUEST])
                waiting.append(wire.write(handle, offset, data))
                offset += len(data)
                if len(waiting) >= UNDER_WAY:
                    wire.wrote(waiting.popleft())
            if offset - synced >= SYNC_EVERY:
                self._sync(handle)
                synced = offset
        while waiting:
            wire.wrote(waiting.popleft())
        return digest.hexdigest(), offset

    def _sync(self, handle: bytes) -> None:
        try:
            self._wire.sync(handle)
        except Refused as error:
            if error.code not in WITHOUT:
                raise

    def _take_place(self, part: str, path: str, *, there: bool) -> None:
        """Rename; in one step on servers that can, else there is no such file for a moment."""
        try:
            self._wire.replace(part, path)
            return
        except Refused as error:
            if error.code not in WITHOUT:
                raise
        if there:
            self._wire.remove(path)
        self._wire.rename(part, path)

    def _forget(self, handle: bytes, part: str, target: Source) -> None:
        """The part of a broken upload goes, unless the connection broke: then a later upload removes it."""
        with suppress(TransferError), errors(target):
            with suppress(Refused):  # it may be closed already
                self._wire.close(handle)
            with suppress(Refused):
                self._wire.remove(part)
