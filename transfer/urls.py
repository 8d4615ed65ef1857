"""Where a file lies: URLs of sources, and relative paths under a base."""

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from transfer.errors import Kind, TransferError

SCHEMES = ("sftp", "http", "https", "file")
DEFAULT_PORTS = {"sftp": 22, "http": 80, "https": 443}
NO_PASSWORDS = "a password has no place in a template: see --sftp-host and --sftp-password-file"
BASE = "~"
"""The pool of what lies under the manager's `--sftp-host`, whichever server that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A URL in its parts, unquoted (HTTP's path and query stay as they are written)."""

    scheme: str
    host: str = ""
    port: int = 0
    user: str | None = None
    path: str

    @property
    def pool(self) -> str:
        """Which server it is, for everybody who counts connections: `sftp://host:22`; none for files."""
        if self.scheme == "file":
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        """For people: without a password, there is none in it, and without a query, which may be a secret."""
        if self.scheme == "file":
            return f"file://{quote(self.path)}"
        user = f"{quote(self.user)}@" if self.user else ""
        scheme, _, where = self.pool.partition("://")
        where = where.removesuffix(f":{DEFAULT_PORTS[scheme]}")
        if scheme == "sftp":
            return f"{scheme}://{user}{where}{quote(self.path)}"
        path, asked, _ = self.path.partition("?")
        return f"{scheme}://{user}{where}{path}{asked and '?…'}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        path = self.path.partition("?")[0] if self.scheme.startswith("http") else self.path
        last = path.rstrip("/").rpartition("/")[2]
        return unquote(last) if self.scheme.startswith("http") else last


def is_relative(text: str) -> bool:
    """Whether it is no URL: a path under `--sftp-host`."""
    return "://" not in text


def parse(text: str) -> Source:
    """A URL that a template names.

    Raises:
        TransferError: UNSUPPORTED, with the reason; the message does not repeat a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise TransferError(Kind.UNSUPPORTED, "not a URL: its host or port cannot be read") from None
    if parts.scheme not in SCHEMES:
        raise TransferError(Kind.UNSUPPORTED, f"{parts.scheme}:// is not one of {', '.join(SCHEMES)}")
    if parts.password is not None:
        raise TransferError(Kind.UNSUPPORTED, NO_PASSWORDS)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise TransferError(
                Kind.UNSUPPORTED, "file:// is followed by an absolute path: file:///srv/app.tgz"
            )
        return Source(scheme="file", path=unquote(parts.path))
    if not parts.hostname or len(parts.path) < 2:
        raise TransferError(Kind.UNSUPPORTED, f"not a URL such as {parts.scheme}://host/path/file")
    path = unquote(parts.path) if parts.scheme == "sftp" else parts.path
    if parts.query and parts.scheme != "sftp":
        path += f"?{parts.query}"
    user = unquote(parts.username) if parts.username else None
    return Source(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        user=user,
        path=path,
    )


def shown(text: str) -> str:
    """The source of a template, checked before, for people: a URL without its query."""
    return text if is_relative(text) else str(parse(text))


def under(base: Source, relative: str) -> Source:
    """A relative path under a base, which it must not leave.

    Raises:
        TransferError: UNSUPPORTED: it would.
    """
    parts = relative.split("/")
    if not relative or relative.startswith("/") or ".." in parts or "\0" in relative:
        raise TransferError(Kind.UNSUPPORTED, f"{relative!r} is not a path under --sftp-host")
    clean = "/".join(part for part in parts if part not in ("", "."))
    if not clean:
        raise TransferError(Kind.UNSUPPORTED, f"{relative!r} names no file")
    return Source(
        scheme=base.scheme, host=base.host, port=base.port, user=base.user,
        path=f"{base.path.rstrip('/')}/{clean}",
    )  # fmt: skip
