"""What files are written, listed and removed by over SFTP: requests beside those that reading needs."""

import struct
from collections.abc import Iterator
from stat import S_ISDIR, S_ISLNK, S_ISREG

from transfer import messages
from transfer.conversation import Conversation, Refused
from transfer.messages import Attributes, Code, Garbled, Type, path_field, text

WRITE_NEW = 0x02 | 0x08 | 0x20
"""Flags of OPEN: for writing, made, and only if nothing is there."""
NO_ATTRIBUTES = bytes(4)


def is_directory(found: Attributes) -> bool:
    """Whether it is one."""
    return S_ISDIR(found.mode or 0)


def is_link(found: Attributes) -> bool:
    """Whether it is a symbolic one."""
    return S_ISLNK(found.mode or 0)


def is_file(found: Attributes) -> bool:
    """Whether it is a regular one; servers that say nothing have nothing else."""
    return S_ISREG(found.mode or 0) or not found.mode


class Wire:
    """Requests to one server, for one thread. All raise `Refused`, and what `transfer.sftp.errors` knows."""

    def __init__(self, conversation: Conversation) -> None:
        self._talk = conversation

    def _ask(self, wanted: Type, request: Type, *fields: bytes) -> bytes:
        return self._talk.end(self._talk.begin(request, *fields), wanted)

    def _do(self, request: Type, *fields: bytes) -> None:
        self._ask(Type.STATUS, request, *fields)

    def _extended(self, wanted: Type, name: bytes, *fields: bytes) -> bytes:
        return self._ask(wanted, Type.EXTENDED, text(name), *fields)

    # -- an open file

    def create(self, path: str, mode: int | None = None) -> bytes:
        """The handle of a new file."""
        wanted = NO_ATTRIBUTES if mode is None else struct.pack(">II", messages.HAS_MODE, mode)
        flags = struct.pack(">I", WRITE_NEW)
        return messages.handle_of(self._ask(Type.HANDLE, Type.OPEN, path_field(path), flags, wanted))

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        """Send some bytes, and wait for nothing: `wrote` is to be asked with the number that this gives."""
        return self._talk.begin(Type.WRITE, text(handle), struct.pack(">Q", offset), text(data))

    def wrote(self, number: int) -> None:
        """Wait until some bytes are written."""
        self._talk.end(number, Type.STATUS)

    def size(self, handle: bytes) -> int | None:
        """How long an open file is, if the server says."""
        return messages.attributes_of(self._ask(Type.ATTRS, Type.FSTAT, text(handle))).size

    def sync(self, handle: bytes) -> None:
        """Have the server put a file on its disk; an extension."""
        self._extended(Type.STATUS, b"fsync@openssh.com", text(handle))

    def close(self, handle: bytes) -> None:
        """Let go of a handle; some file systems say only now that a write failed."""
        self._do(Type.CLOSE, text(handle))

    # -- paths

    def stat(self, path: str) -> Attributes:
        """What a path leads to."""
        return self._talk.stat(path)

    def lstat(self, path: str) -> Attributes:
        """What lies at a path, be it a link."""
        return messages.attributes_of(self._ask(Type.ATTRS, Type.LSTAT, path_field(path)))

    def real(self, path: str) -> str:
        """Where a path leads, through all links."""
        return _first_name(self._ask(Type.NAME, Type.REALPATH, path_field(path)))

    def target(self, path: str) -> str:
        """What a link says."""
        return _first_name(self._ask(Type.NAME, Type.READLINK, path_field(path)))

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._do(Type.MKDIR, path_field(path), NO_ATTRIBUTES)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        self._do(Type.REMOVE, path_field(path))

    def rename(self, old: str, new: str) -> None:
        """Rename, where nothing has the new name yet."""
        self._do(Type.RENAME, path_field(old), path_field(new))

    def replace(self, old: str, new: str) -> None:
        """Rename, over what has the new name; an extension."""
        self._extended(Type.STATUS, b"posix-rename@openssh.com", path_field(old), path_field(new))

    def room(self, path: str) -> int:
        """Bytes that are free for us where a path lies; an extension."""
        body = self._extended(Type.EXTENDED_REPLY, b"statvfs@openssh.com", path_field(path))
        if len(body) < 40:
            raise Garbled("an answer that is too short")
        _, fragment, _, _, free = struct.unpack_from(">5Q", body)
        return int(fragment * free)

    def entries(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """What lies in a directory, as it comes, but names that are not UTF-8: nobody can ask for them."""
        handle = messages.handle_of(self._ask(Type.HANDLE, Type.OPENDIR, path_field(path)))
        try:
            while True:
                try:
                    body = self._ask(Type.NAME, Type.READDIR, text(handle))
                except Refused as refused:
                    if refused.code == Code.EOF:
                        return
                    raise
                names = list(messages.names_of(body))
                if not names:
                    raise Garbled("a list that goes on with nothing")
                for raw, found in names:
                    try:
                        name = raw.decode()
                    except UnicodeDecodeError:
                        continue
                    if name not in (".", ".."):
                        yield name, found
        finally:
            self._talk.close(handle)


def _first_name(body: bytes) -> str:
    for name, _ in messages.names_of(body):
        return name.decode(errors="replace")
    raise Garbled("no name where one was asked for")
