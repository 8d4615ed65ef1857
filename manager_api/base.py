"""Where artifacts lie: the server of `--sftp-host`, and how to log in there.

The URL goes without its password from here on. What is secret reaches the API and the controller by
environment if it came that way or in the URL, else by the file that it lies in; it is written nowhere.
"""

import contextlib
import json
import logging
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from store.config import ConfigError
from transfer.hostkeys import is_fingerprint, known_hosts, trust
from transfer.login import Login
from transfer.urls import DEFAULT_PORTS, Source

log = logging.getLogger("manager")

PASSWORD = "MUSTER_SFTP_PASSWORD"  # noqa: S105 - the name of a variable
HOST, PASSWORD_FILE = "MUSTER_SFTP_HOST", "MUSTER_SFTP_PASSWORD_FILE"
KEY_FILE, FINGERPRINT = "MUSTER_SFTP_KEY_FILE", "MUSTER_SFTP_FINGERPRINT"
WANTED = "--sftp-host: expected sftp://user:password@host:port/path/ (in it @ is written %40, : %3A, / %2F)"
MOST_SECRET = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The server that holds artifacts, with all that it takes to log in."""

    source: Source
    login: Login

    def sealed_text(self, *, whole: bool) -> str:
        """What a node's downloading process is told, to be sealed to it; `whole`: where the base is, too."""
        login = self.login
        said = {
            "base": _told(self.source) if whole else None,
            "user": login.user,
            "password": login.password,
            "key": login.key,
            "fingerprints": list(login.fingerprints),
        }
        return json.dumps({key: value for key, value in said.items() if value})

    def tell(self) -> None:
        """Say where artifacts lie, and what keeps them from being fetched."""
        log.info("artifacts lie under %s", self.source)
        if not self.login.fingerprints:
            log.warning(
                "no host key of %s is known here: nodes fetch from it only if they know one themselves. Name "
                "one with --sftp-fingerprint, or put it into a known_hosts file: `ssh-keyscan` shows it; "
                "compare it with what that server's administrator says",
                self.source.pool,
            )


def _told(source: Source) -> str:
    """As a URL: one names a file, or a directory in which it is; so the root is written `//`."""
    return f"{source}/" if source.path == "/" else str(source)


def take_password(environ: MutableMapping[str, str]) -> str | None:
    """The password as it comes by environment: taken out, since not all that we start shall inherit it."""
    environ.pop(HOST, None)
    return environ.pop(PASSWORD, None) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """What is set of it; `open` gives it with the files read."""

    source: Source
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    key_file: Path | None = None
    fingerprints: tuple[str, ...] = ()

    def open(self) -> Base:
        """The server and the login, as the files have them now.

        Raises:
            ConfigError: one of the files cannot be read; it does not repeat what is in it.
        """
        password = self.password
        if self.password_file is not None:
            password = _secret(self.password_file, "--sftp-password-file").rstrip("\r\n")
            if not password:
                raise ConfigError(f"--sftp-password-file {self.password_file} is empty")
        login = Login(
            user=self.source.user,
            password=password,
            key=_key(self.key_file) if self.key_file is not None else None,
            fingerprints=self.fingerprints or self._known(),
        )
        return Base(source=self.source, login=login)

    def warn(self) -> None:
        """Say which of the files is open to everybody on this machine."""
        files = {"--sftp-password-file": self.password_file, "--sftp-key-file": self.key_file}
        for flag, path in files.items():
            with contextlib.suppress(OSError):
                if path is not None and path.expanduser().stat().st_mode & stat.S_IROTH:
                    log.warning(
                        "%s %s may be read by every user of this machine: chmod 600 %s", flag, path, path
                    )

    def _known(self) -> tuple[str, ...]:
        """The host keys by which this machine knows the server."""
        entries = trust(self.source, Login(known_hosts=known_hosts())).entries
        revoked = {entry.key for entry in entries if entry.revoked}
        return tuple(dict.fromkeys(entry.key.fingerprint for entry in entries if entry.key not in revoked))

    def environment(self) -> dict[str, str]:
        """For a child process of the manager."""
        values = {
            HOST: str(self.source),
            PASSWORD: self.password or "",
            PASSWORD_FILE: str(self.password_file.expanduser().resolve()) if self.password_file else "",
            KEY_FILE: str(self.key_file.expanduser().resolve()) if self.key_file else "",
            FINGERPRINT: ",".join(self.fingerprints),
        }
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "BaseSettings | None":
        """In that child."""
        if not environ.get(HOST):
            return None
        return base_settings(
            environ[HOST],
            password=environ.get(PASSWORD),
            password_file=Path(environ[PASSWORD_FILE]) if environ.get(PASSWORD_FILE) else None,
            key_file=Path(environ[KEY_FILE]) if environ.get(KEY_FILE) else None,
            fingerprint=environ.get(FINGERPRINT),
        )


def base_settings(
    url: str,
    *,
    password: str | None = None,
    password_file: Path | None = None,
    key_file: Path | None = None,
    fingerprint: str | None = None,
) -> BaseSettings:
    """What is set, checked.

    Raises:
        ConfigError: it does not go together, or is wrong; the text repeats nothing that may be secret.
    """
    source, in_url = _parsed(url)
    by_file = "by --sftp-password-file"
    given = {"in the URL of --sftp-host": in_url, f"in {PASSWORD}": password, by_file: password_file}
    ways = [way for way, each in given.items() if each]
    if len(ways) > 1:
        raise ConfigError(f"the password of --sftp-host is given {' and '.join(ways)}: once is enough")
    if not ways and key_file is None:
        raise ConfigError(
            "--sftp-host has no password: put it into the URL, into the file that --sftp-password-file "
            f"names, or into {PASSWORD}; or name a private key with --sftp-key-file"
        )
    return BaseSettings(
        source=source,
        password=in_url or password or None,
        password_file=password_file,
        key_file=key_file,
        fingerprints=_fingerprints(fingerprint or ""),
    )


def _parsed(url: str) -> tuple[Source, str | None]:
    """The server without its password, and that."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(WANTED) from None  # the text itself may hold a password
    odd = parts.query or parts.fragment or "@" in parts.path
    if parts.scheme != "sftp" or not parts.hostname or not parts.username or odd:
        raise ConfigError(WANTED)
    password = unquote(parts.password) if parts.password else None
    path = unquote(parts.path).rstrip("/") or "/"
    if "\0" in path or ".." in path.split("/"):
        raise ConfigError(WANTED)
    source = Source(
        scheme="sftp",
        host=parts.hostname,
        port=port or DEFAULT_PORTS["sftp"],
        user=unquote(parts.username),
        path=path,
    )
    return source, password


def _fingerprints(text: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in text.split(",") if each.strip())
    wrong = [each for each in found if not is_fingerprint(each)]
    if wrong:
        raise ConfigError(
            f"--sftp-fingerprint: {wrong[0][:100]!r} is not a fingerprint, SHA256: and 43 characters, as "
            "`ssh-keygen -lf` shows them; several are joined by commas"
        )
    return found


def _key(path: Path) -> str:
    text = _secret(path, "--sftp-key-file")
    if "PRIVATE KEY" not in text:
        raise ConfigError(f"--sftp-key-file {path} holds no private key (a public one, perhaps?)")
    return text


def _secret(path: Path, flag: str) -> str:
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(MOST_SECRET + 1)
        if len(raw) > MOST_SECRET:
            raise ConfigError(f"{flag} {path} is too long for one")
        return raw.decode()
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error.strerror or 'it is no file'}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{flag} {path} is not text in UTF-8") from None
