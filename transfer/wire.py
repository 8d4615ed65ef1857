"""SFTP's requests and answers, over paramiko's connection: many under way, every answer looked at.

paramiko's own file objects forget the answers to the last hundred writes that were sent ahead, so that a disk
which is full at the end of a file goes unnoticed; they lose the numbers of errors, and cannot read
names that are not UTF-8. What is below them has no public door: hence two of its private methods.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from paramiko.sftp import (
    CMD_CLOSE,
    CMD_EXTENDED,
    CMD_FSTAT,
    CMD_LSTAT,
    CMD_MKDIR,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READDIR,
    CMD_READLINK,
    CMD_REALPATH,
    CMD_REMOVE,
    CMD_RENAME,
    CMD_STAT,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_EOF,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_WRITE,
    SFTP_OK,
    int64,
)

HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES = 1, 2, 4, 8
NEW = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL


class Refusal(Exception):
    """The server answered a request with an error; `code` is the protocol's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says of a file; zero is what it does not say."""

    size: int = 0
    mode: int = 0
    modified: int = 0
    """Seconds since 1970, by the server's clock."""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular one; servers that say nothing have nothing else."""
        return S_ISREG(self.mode) or self.mode == 0

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic one."""
        return S_ISLNK(self.mode)


class Wire:
    """Requests to one server, for one thread. All raise `Refusal`, and paramiko's errors."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._answers: dict[int, tuple[int, Any]] = {}

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer; paramiko calls it by this name."""
        self._answers[number] = (kind, message)

    def send(self, request: int, *args: Any) -> int:
        """Send a request; its number, by which `answer` knows it."""
        number: int = self._client._async_request(self, request, *args)  # noqa: SLF001 - see above
        return number

    def answer(self, number: int) -> Any:
        """Wait for the answer to a request; its message, behind what kind it is."""
        while number not in self._answers:
            self._client._read_response()  # noqa: SLF001 - see above
        kind, message = self._answers.pop(number)
        if kind == CMD_STATUS:
            code = message.get_int()
            if code != SFTP_OK:
                raise Refusal(code, message.get_binary().decode(errors="replace"))
        return message

    def ask(self, request: int, *args: Any) -> Any:
        """Send a request and wait for its answer."""
        return self.answer(self.send(request, *args))

    def create(self, path: str, mode: int | None = None) -> bytes:
        """The handle of a new file."""
        attributes = (0,) if mode is None else (HAS_MODE, mode)
        handle: bytes = self.ask(CMD_OPEN, path, NEW, *attributes).get_binary()
        return handle

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        """Send a write; its number."""
        return self.send(CMD_WRITE, handle, int64(offset), data)

    def close(self, handle: bytes) -> None:
        """Let go of a handle; some file systems say only now that a write failed."""
        self.ask(CMD_CLOSE, handle)

    def fstat(self, handle: bytes) -> Attributes:
        """What the server says of an open file."""
        return _attributes(self.ask(CMD_FSTAT, handle))

    def stat(self, path: str) -> Attributes:
        """What a path leads to."""
        return _attributes(self.ask(CMD_STAT, path))

    def lstat(self, path: str) -> Attributes:
        """What lies at a path, be it a link."""
        return _attributes(self.ask(CMD_LSTAT, path))

    def real(self, path: str) -> str:
        """Where a path leads, through all links."""
        return self._name(self.ask(CMD_REALPATH, path))

    def target(self, path: str) -> str:
        """What a link says."""
        return self._name(self.ask(CMD_READLINK, path))

    @staticmethod
    def _name(message: Any) -> str:
        message.get_int()
        name: bytes = message.get_binary()
        return name.decode(errors="surrogateescape")

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self.ask(CMD_MKDIR, path, 0)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        self.ask(CMD_REMOVE, path)

    def rename(self, old: str, new: str) -> None:
        """Rename, where nothing has the new name yet."""
        self.ask(CMD_RENAME, old, new)

    def replace(self, old: str, new: str) -> None:
        """Rename, over what has the new name; an extension."""
        self.ask(CMD_EXTENDED, "posix-rename@openssh.com", old, new)

    def sync(self, handle: bytes) -> None:
        """Have the server put a file on its disk; an extension."""
        self.ask(CMD_EXTENDED, "fsync@openssh.com", handle)

    def room(self, path: str) -> int:
        """Bytes that are free for us where a path lies; an extension."""
        message = self.ask(CMD_EXTENDED, "statvfs@openssh.com", path)
        message.get_int64()
        fragment, _, _, free = (message.get_int64() for _ in range(4))
        return int(fragment * free)

    def entries(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """What lies in a directory, as it comes, but names that are not UTF-8: nobody can ask for them."""
        handle = self.ask(CMD_OPENDIR, path).get_binary()
        try:
            while True:
                try:
                    message = self.ask(CMD_READDIR, handle)
                except Refusal as error:
                    if error.code == SFTP_EOF:
                        return
                    raise
                for _ in range(message.get_int()):
                    raw = message.get_binary()
                    message.get_binary()  # the line that `ls -l` would show
                    attributes = _attributes(message)
                    try:
                        name = raw.decode()
                    except UnicodeDecodeError:
                        continue
                    if name not in (".", ".."):
                        yield name, attributes
        finally:
            # Nobody waits for this answer.
            self._client._async_request(type(None), CMD_CLOSE, handle)  # noqa: SLF001 - see above


def _attributes(message: Any) -> Attributes:
    flags = message.get_int()
    size = message.get_int64() if flags & HAS_SIZE else 0
    if flags & HAS_OWNER:
        message.get_int(), message.get_int()
    mode = message.get_int() if flags & HAS_MODE else 0
    modified = 0
    if flags & HAS_TIMES:
        message.get_int()
        modified = message.get_int()
    if flags & 0x80000000:
        for _ in range(2 * message.get_int()):
            message.get_binary()
    return Attributes(size, mode, modified)
