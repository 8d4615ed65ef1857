"""Which servers are known: by pinned fingerprints, or by known_hosts files. Nobody is taken on trust."""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.urls import DEFAULT_PORTS, Source

ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""Types of keys, the best first, and the algorithms by which a server is asked for one."""
REVOKED = "@revoked"
KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
"""Where a machine says by itself which servers it knows."""
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key: its type, as known_hosts files have it, and its bytes."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As OpenSSH writes it: `SHA256:…`."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def line(self, source: Source) -> str:
        """What would make it known, in a known_hosts file."""
        return f"{_name(source)} {self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a known_hosts file that is about a server."""

    key: HostKey
    revoked: bool
    where: str


@dataclass(frozen=True, slots=True)
class Trust:
    """By what a server is known; see `trust`."""

    source: Source
    pinned: frozenset[str]
    entries: tuple[Entry, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """All types of keys, those that the server is known by first."""
        known = {entry.key.type for entry in self.entries if not entry.revoked}
        return tuple(sorted(ALGORITHMS, key=lambda kind: (kind not in known, list(ALGORITHMS).index(kind))))

    def takes(self, key: HostKey) -> bool:
        """Whether the server is the one that is known."""
        if any(entry.revoked and entry.key == key for entry in self.entries):
            return False
        if self.pinned:
            return key.fingerprint in self.pinned
        return any(entry.key == key for entry in self.entries)

    def refusal(self, *keys: HostKey) -> TransferError:
        """Why no key that the server has is taken, and what to do about it."""
        has = " and ".join(f"{key.fingerprint} ({key.type})" for key in keys)
        if any(entry.revoked and entry.key in keys for entry in self.entries):
            where = next(entry.where for entry in self.entries if entry.revoked and entry.key in keys)
            text = f"has the host key {has}, which is revoked by {where}"
        elif self.pinned:
            pinned = " or ".join(sorted(self.pinned))
            text = f"has the host key {has}, which is not the pinned {pinned}. {WARNING}"
        elif known := [entry for entry in self.entries if not entry.revoked]:
            was = " and ".join(f"{entry.key.fingerprint} ({entry.where})" for entry in known)
            text = f"has ANOTHER HOST KEY THAN BEFORE: {has}; known is {was}. {WARNING}"
        else:
            text = (
                f"is not known: its host key is {has}. If that is right: --sftp-fingerprint "
                f"{keys[0].fingerprint}, or in a known_hosts file the line: {keys[0].line(self.source)}"
            )
        return TransferError(Kind.HOST_KEY, f"{self.source.pool} {text}")


WARNING = "It was set up anew, or somebody stands between: nothing was sent to it. Ask who runs it"


def is_fingerprint(text: str) -> bool:
    """Whether it is one, as OpenSSH writes them."""
    return _FINGERPRINT.fullmatch(text) is not None


def known_hosts(own: Path | None = None) -> tuple[Path, ...]:
    """The files by which servers are known here; `own` is one that was named beside the machine's."""
    usual = tuple(Path(os.path.expanduser(each)) for each in KNOWN_HOSTS)  # noqa: PTH111 - without a home: no error
    return usual if own is None else (own, *usual)


def trust(source: Source, login: Login) -> Trust:
    """By what the server of a source is known."""
    pinned = frozenset(_fingerprint(text) for text in login.fingerprints)
    return Trust(source, pinned, tuple(_entries(source, login.known_hosts)))


def _fingerprint(text: str) -> str:
    digest = text.strip().removeprefix("SHA256:").rstrip("=")
    return f"SHA256:{digest}"


def _name(source: Source) -> str:
    """A server as known_hosts files name it."""
    host = source.host.lower()
    return host if source.port == DEFAULT_PORTS["sftp"] else f"[{host}]:{source.port}"


def _entries(source: Source, files: Iterable[Path]) -> Iterator[Entry]:
    for path in files:
        try:
            text = path.read_text(errors="replace")
        except OSError:  # not there, or not for us: then nobody is known by it
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if (entry := _entry(line, _name(source), f"{path}:{number}")) is not None:
                yield entry


def _entry(line: str, name: str, where: str) -> Entry | None:
    """What a line says of a server; None: nothing, or it cannot be read. Authorities are not obeyed."""
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", REVOKED):
        return None
    names, kind, text = fields[:3]
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if not _is_about(names.split(","), name):
        return None
    return Entry(HostKey(kind, blob), marker == REVOKED, where)


def _is_about(patterns: list[str], name: str) -> bool:
    if any(each.startswith("!") and _matches(each[1:], name) for each in patterns):
        return False
    return any(_matches(each, name) for each in patterns if not each.startswith("!"))


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _is_hash_of(pattern, name)
    # Brackets are part of a name here (`[host]:port`), not a set of characters.
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _is_hash_of(hashed: str, name: str) -> bool:
    """Names may be hidden: `|1|salt|HMAC-SHA1 of the name`."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed[3:].split("|"))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
