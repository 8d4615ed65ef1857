"""Files over SFTP: a session at a server, its errors as sentences, and files read from it."""

import contextlib
import dataclasses
import socket
import stat as modes
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from transfer import messages, ssh
from transfer.ahead import Ahead
from transfer.conversation import Conversation, Refused, Shorter
from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.messages import Attributes, Code, Garbled, Type
from transfer.reader import Stat
from transfer.ssh import Patience
from transfer.urls import Source

PATIENCE = Patience()


class Session:
    """A connection to a server, logged in.

    Raises:
        TransferError: there is none to be had.
    """

    def __init__(self, source: Source, login: Login, patience: Patience = PATIENCE) -> None:
        self._source, self._patience = source, patience
        with errors(source):
            self._transport = ssh.connect(source, login, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def conversation(self) -> Conversation:
        """What files are read (and written) by.

        Raises:
            TransferError: the server does not speak SFTP with us.
        """
        with errors(self._source):
            try:
                return Conversation(ssh.open_sftp(self._transport, self._patience))
            except (EOFError, Garbled, OSError, paramiko.SSHException) as error:
                # A channel that is closed already is an OSError without a number; others are the network's.
                of_network = isinstance(error, TimeoutError) or getattr(error, "errno", None) is not None
                if of_network or not self._transport.is_active():
                    raise
                text = f"{self._source.pool} lets us in, but does not speak SFTP with this user"
                raise TransferError(Kind.LOGIN, text) from None

    def close(self) -> None:
        """Let go of the connection; more than once is fine."""
        self._transport.close()


class SftpReader:
    """Files of one server; see `transfer.reader.Reader`."""

    def __init__(self, source: Source, login: Login, patience: Patience = PATIENCE) -> None:
        self._source = source
        self._session = Session(source, login, patience)

    def stat(self, path: str) -> Stat:
        """What is there."""
        where = self._at(path)
        with errors(where):
            talk = self._session.conversation
            number = self._ahead.stat(path)
            if number is None:
                found = talk.stat(path)
            else:
                self._ahead.go_on()
                found = messages.attributes_of(talk.end(number, Type.ATTRS))
        if found.mode is not None and modes.S_IFMT(found.mode) not in (0, modes.S_IFREG):
            what = "a directory" if modes.S_ISDIR(found.mode) else "no file to be read (a pipe, a device)"
            raise TransferError(Kind.UNSUPPORTED, f"{where} is {what}")
        return Stat(found.size, _stamp(found))

    def read(self, path: str, offset: int, stat: Stat) -> Iterator[bytes]:
        """The bytes from `offset` to the end, in pieces of at most 255 KiB."""
        where = self._at(path)
        talk = self._session.conversation
        with errors(where):
            handle, begun = self._open(path, offset, stat.size)
            try:
                for piece in talk.read(handle, offset, stat.size, begun):
                    if isinstance(piece, Attributes):
                        _check(where, stat, piece)
                    else:
                        yield piece
            finally:
                talk.close(handle)

    def close(self) -> None:
        """Let go of the connection; more than once is fine."""
        self._session.close()

    def expect(self, files: Sequence[tuple[str, bool]]) -> None:
        """See `transfer.reader.Foresighted`."""
        with errors(self._source):
            self._ahead.expect(files)

    @cached_property
    def _ahead(self) -> Ahead:
        return Ahead(self._session.conversation)

    def _open(self, path: str, offset: int, size: int | None) -> tuple[bytes, tuple[int, int] | None]:
        """A handle, and what was asked of it already."""
        talk = self._session.conversation
        step = self._ahead.take(path)
        if step is None or step.opened is None:
            return talk.open(path), None
        handle = messages.handle_of(talk.end(step.opened, Type.HANDLE))
        if step.bytes is not None and step.after is not None:
            if offset == 0 and size == step.size:
                return handle, (step.bytes, step.after)
            talk.forget(step.bytes, step.after)
        return handle, None

    def _at(self, path: str) -> Source:
        return dataclasses.replace(self._source, path=path)


def _stamp(found: Attributes) -> str:
    if found.size is None or found.mtime is None:
        return ""
    return f"{found.size}-{found.mtime}"


def _check(where: Source, stat: Stat, now: Attributes) -> None:
    if _stamp(now) != stat.stamp:
        raise TransferError(Kind.CHANGED, f"{where} changed while it was read")


@contextlib.contextmanager
def errors(source: Source) -> Iterator[None]:
    """What paramiko and the system raise, as what it means for whoever wants this source.

    Raises:
        TransferError: in place of it.
    """
    try:
        yield
    except (
        paramiko.SSHException,
        paramiko.SFTPError,
        OSError,
        EOFError,
        Refused,
        Shorter,
        Garbled,
    ) as error:
        raise _meaning(source, error) from error


def _meaning(source: Source, error: Exception) -> TransferError:
    pool = source.pool
    match error:
        case Shorter():
            return TransferError(Kind.CHANGED, f"{source} became shorter while it was read")
        case Refused():
            return _refusal(source, error.code, str(error))
        case Garbled():
            text = f"{pool} does not speak SFTP as it should: {error}"
        case TimeoutError():
            text = f"{pool} is silent: no answer in time"
        case socket.gaierror():
            text = f"{pool}: the host's name is not known: {error.strerror}"
        case IncompatiblePeer():
            text = f"{pool} has no algorithm in common with us: {error}"
        case OSError() if error.strerror:
            text = f"no connection to {pool}: {error.strerror}"
        case _:
            text = f"the connection to {pool} broke" + (f" ({error})" if str(error) else "")
    return TransferError(Kind.UNREACHABLE, text)


def _refusal(source: Source, code: int, words: str) -> TransferError:
    if code == Code.NO_SUCH_FILE:
        return TransferError(Kind.MISSING, f"no such file {source}")
    if code == Code.PERMISSION_DENIED:
        return TransferError(Kind.DENIED, f"{source} is not for this user: permission denied")
    return TransferError(Kind.DENIED, f"the server refuses {source}: {words or f'code {code}'}")
