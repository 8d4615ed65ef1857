"""A downloading child's server: what lies there, as whom it is entered, the connection to it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.reader import Reader
from transfer.sources import open_reader
from transfer.urls import BASE, Source, is_relative, parse, under

Json = dict[str, Any]
LOCAL = ""
"""The pool of this machine's own files."""


class Pool:
    """One connection at most, made when it is first needed, and kept while it fits."""

    def __init__(self, begin: Json, opened: Json) -> None:
        """`begin` is the child's first word, `opened` what was sealed to it."""
        self.name = str(begin["pool"])
        self._files: Sequence[str] | None = begin.get("files")
        self._base = parse(opened["base"]) if opened.get("base") else None
        known = tuple(Path(each) for each in begin.get("known_hosts") or ())
        key_file = Path(begin["ssh_key"]) if begin.get("ssh_key") else None
        has_own = bool(opened.get("password") or opened.get("key"))
        self._login = Login(
            user=opened.get("user") or (self._base.user if self._base else None),
            password=opened.get("password"),
            key=opened.get("key"),
            key_file=None if has_own else key_file,
            fingerprints=tuple(opened.get("fingerprints") or ()),
            known_hosts=known,
        )
        self._stranger = Login(key_file=key_file, known_hosts=known)
        """For an account that the manager has no login for."""
        self._reader: Reader | None = None
        self._fits: tuple[str | None, str | None] = None, None

    def resolve(self, text: str) -> Source:
        """The source that a task names.

        Raises:
            TransferError: UNSUPPORTED: it is none, or none of this pool.
        """
        if is_relative(text):
            if self.name != BASE or self._base is None:
                raise TransferError(Kind.UNSUPPORTED, f"{text!r} needs the manager's --sftp-host")
            return replace(under(self._base, text), user=self._login.user)
        source = parse(text)
        mine = self._base.pool if self.name == BASE and self._base else self.name
        if source.pool != mine:
            raise TransferError(Kind.UNSUPPORTED, f"{source} does not lie on {mine or 'this machine'}")
        return source

    def reader(self, source: Source, fingerprint: str | None) -> Reader:
        """A connection for a source whose server must have this host key (None: by what is known).

        Raises:
            TransferError: as its kinds say.
        """
        fits = source.user, fingerprint
        if self._reader is not None and self._fits != fits:
            self.close()
        if self._reader is None:
            self._reader = self._open(source, fingerprint)
            self._fits = fits
        return self._reader

    def has_login_for(self, source: Source) -> bool:
        """Whether a source is read as the user that the manager has a login for, if it has one."""
        return source.user in (None, self._login.user)

    def close(self) -> None:
        """Let go of the connection."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def identity(self, text: str, source: Source) -> tuple[str, ...]:
        """What the parts of a source are named by; it may be secret."""
        if is_relative(text):
            return text, f"{source.user or self._login.user or ''}@{source.pool}", source.path
        return (text,)

    def _open(self, source: Source, fingerprint: str | None) -> Reader:
        if self.name == LOCAL:
            from transfer.local import LocalReader

            return LocalReader(self._files)
        own = self.has_login_for(source)
        login = self._login if own else self._stranger
        told = login.fingerprints
        if fingerprint and told and fingerprint not in told:
            # What the manager logs in with goes to nobody else than the manager knows, whoever wrote the pin.
            raise TransferError(
                Kind.HOST_KEY,
                f"{source}: the template pins {fingerprint}, and the manager {' or '.join(told)}",
            )
        return open_reader(
            source,
            Login(
                user=login.user if own else source.user,
                password=login.password,
                key=login.key,
                key_file=login.key_file,
                fingerprints=(fingerprint,) if fingerprint else self._login.fingerprints,
                known_hosts=login.known_hosts,
            ),
        )


def unsealed(text: str) -> Json:
    """What the leader sealed to a child.

    Raises:
        ValueError: that is not it.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not a login")
    return found
