"""A connection over SSH: the server is known before it is told anything, and nothing waits for ever."""

import contextlib
import io
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from transfer.errors import Kind, TransferError
from transfer.hostkeys import ALGORITHMS, HostKey, Trust, trust
from transfer.login import Login
from transfer.reader import CONNECT_WITHIN, SILENT_AT_MOST
from transfer.urls import Source

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Preferred over paramiko's first, AES-CTR with a MAC of its own: half the work, here and at the server."""
WINDOW = 8 * 1024 * 1024
"""Bytes that a server may send before they are taken: more than is ever asked for at once.
Larger packets would be of no use: OpenSSH sends none above 32 KiB, whatever it is told."""
KEY_CLASSES = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

_log = logging.getLogger("transfer.ssh")
_log.setLevel(logging.CRITICAL)  # what goes wrong is raised, as a sentence; paramiko's stacks help nobody


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    connect: float = CONNECT_WITHIN
    silence: float = SILENT_AT_MOST


class Socket(socket.socket):
    """Sends, or fails: what is not taken for `silence` seconds is an error. paramiko would try for ever."""

    def __init__(self, connection: socket.socket, silence: float) -> None:
        """Take over a connection."""
        super().__init__(connection.family, connection.type, connection.proto, connection.detach())
        self._silence = silence
        self._stuck_since: float | None = None

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send some.

        Raises:
            TimeoutError: nothing now, and paramiko tries again; OSError: nothing for too long.
        """
        try:
            sent = super().send(data, flags)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > self._silence:
                raise OSError("the other side takes nothing") from None
            raise
        self._stuck_since = None
        return sent


def connect(source: Source, login: Login, patience: Patience) -> paramiko.Transport:
    """A connection to the server of a source, logged in.

    Raises:
        TransferError: HOST_KEY or LOGIN. Everything else comes as paramiko and the system raise it.
    """
    transport = _known(source, trust(source, login), patience)
    try:
        _log_in(transport, source, login)
    except BaseException:
        transport.close()
        raise
    return transport


def _known(source: Source, known: Trust, patience: Patience) -> paramiko.Transport:
    """A connection to a server that is the one that it should be.

    Where a fingerprint is pinned nobody knows of which of its keys it is: they are asked for one by one.
    """
    kinds, seen = list(known.types), list[HostKey]()
    while kinds:
        try:
            transport = _shake_hands(source, kinds, patience)
        except IncompatiblePeer:
            if not seen:
                raise
            break
        key = transport.get_remote_server_key()
        seen.append(HostKey(key.get_name(), key.asbytes()))
        if known.takes(seen[-1]):
            return transport
        transport.close()
        if not known.pinned or seen[-1].type not in kinds:
            break
        kinds.remove(seen[-1].type)
    raise known.refusal(*seen)


def _shake_hands(source: Source, kinds: list[str], patience: Patience) -> paramiko.Transport:
    connection = socket.create_connection((source.host, source.port), patience.connect)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport = paramiko.Transport(Socket(connection, patience.silence))
    except BaseException:
        connection.close()
        raise
    try:
        transport.set_log_channel(_log.name)
        transport.banner_timeout = transport.handshake_timeout = patience.connect
        transport.auth_timeout = transport.channel_timeout = patience.connect
        transport.clear_to_send_timeout = patience.silence
        options = transport.get_security_options()
        options.key_types = [each for kind in kinds for each in ALGORITHMS[kind]]
        options.ciphers = [*CIPHERS, *(each for each in options.ciphers if each not in CIPHERS)]
        done = threading.Event()
        transport.start_client(event=done)
        if not done.wait(patience.connect):
            raise TimeoutError
        if not transport.is_active():
            raise _why(transport)
    except BaseException:
        transport.close()
        raise
    return transport


def _why(transport: paramiko.Transport) -> Exception:
    """What ended a handshake. Nonsense ends it with whatever paramiko's parsing of it raises."""
    error = transport.get_exception()
    if error is None or isinstance(error, paramiko.SSHException | OSError | EOFError):
        return error or EOFError()
    return paramiko.SSHException(f"what came is not SSH: {type(error).__name__}")


def _log_in(transport: paramiko.Transport, source: Source, login: Login) -> None:
    user = source.user or login.user
    if not user:
        raise TransferError(Kind.LOGIN, f"no user is named for {source.pool}")
    key = private_key(login)
    if key is None and login.password is None:
        raise TransferError(
            Kind.LOGIN,
            f"neither a password nor a key is given for {source.pool}: the agent's --ssh-key names one",
        )
    refused = ""
    if key is not None:
        refused = _offer(transport, user, key)
    if login.password is not None and (key is None or refused):
        refused = _offer(transport, user, login.password)
    if refused:
        what = "key" if login.password is None else "password" if key is None else "key and password"
        who = f"the {what} of user {user!r}"
        raise TransferError(Kind.LOGIN, f"{source.pool} does not take {who}{refused.rstrip()}")


def _offer(transport: paramiko.Transport, user: str, proof: paramiko.PKey | str) -> str:
    """Try to log in; the rest of a sentence when the server refuses, or nothing."""
    try:
        if isinstance(proof, str):
            more = transport.auth_password(user, proof)
        else:
            more = transport.auth_publickey(user, proof)
    except paramiko.BadAuthenticationType as error:
        return f": it takes {' or '.join(error.allowed_types) or 'nothing'}"
    except paramiko.AuthenticationException as error:
        # The same class, when nobody answered; only the text tells.
        if "timeout" in str(error).lower():
            raise TimeoutError from None
        if not transport.is_active():
            raise EOFError from None
        return " "
    return f" alone: it wants {' and '.join(more)} too" if more else ""


def private_key(login: Login) -> paramiko.PKey | None:
    """The key of a login; None: it has none.

    Raises:
        TransferError: LOGIN: it cannot be read; why, and never what is in it.
    """
    text, name = login.key, "the private key"
    if text is None and login.key_file is not None:
        name = f"the private key {login.key_file}"
        try:
            text = login.key_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise TransferError(Kind.LOGIN, f"{name} cannot be read: {why}") from None
    if text is None:
        return None
    locked = False
    for kind in KEY_CLASSES:
        try:
            return kind.from_private_key(io.StringIO(text), password=login.password)
        except paramiko.PasswordRequiredException:
            locked = True
        except (paramiko.SSHException, ValueError, TypeError):
            continue
    if locked:
        raise TransferError(Kind.LOGIN, f"{name} is protected: its passphrase is given as the password")
    with_it = "" if login.password is None else " (or the password is not its passphrase)"
    raise TransferError(
        Kind.LOGIN, f"{name} is none that can be read{with_it}: RSA, ECDSA or Ed25519"
    ) from None


@contextlib.contextmanager
def within(seconds: float, transport: paramiko.Transport) -> Iterator[None]:
    """Where paramiko would wait for ever: the connection is closed when it takes too long.

    Raises:
        TimeoutError: it did.
    """
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if timer.finished.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def open_sftp(transport: paramiko.Transport, patience: Patience) -> paramiko.Channel:
    """A channel on which the server speaks SFTP."""
    with within(patience.connect, transport):
        # paramiko's own limit must not come first: its error does not say that it was one.
        channel = transport.open_session(WINDOW, timeout=2 * patience.connect)
        channel.settimeout(patience.silence)
        channel.invoke_subsystem("sftp")
    return channel
