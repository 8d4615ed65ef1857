"""Store URLs taken apart: of one server, or of the Sentinels that know which server is the primary.

    sentinel://[user:password@]host:port[,host:port...]/master-name[/db]
        [?sentinel_user=..&sentinel_password=..]

`user` and `password` are the store's, not the Sentinels'; special characters are percent-encoded.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from store.errors import Unsupported

SENTINEL = "sentinel://"
SENTINEL_PORT = 26379
SENTINEL_FORM = "sentinel://user:password@host:port,host:port/master-name/0"
SERVER_FORM = "redis://user:password@host:port/0"
_SENTINEL_KEYS = ("sentinel_user", "sentinel_password")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelUrl:
    """A Sentinel URL, understood. `sentinels` are pairs of host and port."""

    sentinels: tuple[tuple[str, int], ...]
    name: str
    db: int
    sentinel_user: str | None
    sentinel_password: str | None


def is_sentinel(url: str) -> bool:
    """Whether a URL names Sentinels instead of a server."""
    return url.startswith(SENTINEL)


def check(url: str) -> None:
    """See that a manager can use it.

    Raises:
        Unsupported: it cannot; the text says what is wrong, without any part that may be secret.
    """
    if is_sentinel(url):
        sentinel_url(url)
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
        good = parts.scheme in ("redis", "rediss") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise Unsupported(f"expected {SERVER_FORM} or {SENTINEL_FORM}; special characters percent-encoded")


def sentinel_url(url: str) -> SentinelUrl:
    """A Sentinel URL, understood.

    Raises:
        Unsupported: it is none, and what is wrong with it.
    """
    authority, path, query = _split(url)
    hosts = authority.rpartition("@")[2].split(",")
    name, _, db = path.partition("/")
    if not name:
        raise _wrong("the name by which the Sentinels know the primary is missing after the last host")
    if not (db or "0").isascii() or not (db or "0").isdigit():
        raise _wrong("the number of the database, after the name, is not a number")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(asked.keys() - set(_SENTINEL_KEYS)):
        raise _wrong(f"{unknown[0]!r} is no option; there are {' and '.join(_SENTINEL_KEYS)}")
    return SentinelUrl(
        sentinels=tuple(_address(host) for host in hosts),
        name=unquote(name),
        db=int(db or 0),
        sentinel_user=asked.get("sentinel_user") or None,
        sentinel_password=asked.get("sentinel_password") or None,
    )


def credentials(url: str) -> tuple[str | None, str | None]:
    """The user and the password at the store, as far as the URL has them."""
    given, found, _ = _split(url)[0].rpartition("@")
    user, _, password = given.partition(":")
    return (unquote(user) or None, unquote(password) or None) if found else (None, None)


def without_credentials(url: str) -> str:
    """The URL without user and password at the store; what the Sentinels ask for stays."""
    scheme, _, rest = url.partition("://")
    authority = _split(url)[0]
    return f"{scheme}://{rest.replace(authority, authority.rpartition('@')[2], 1)}"


def redacted(url: str) -> str:
    """The URL without its passwords."""
    authority, _, query = _split(url)
    given, found, hosts = authority.rpartition("@")
    user, colon, _ = given.partition(":")
    if found and colon:
        url = url.replace(authority, f"{user}:***@{hosts}", 1)
    for key, _, value in (pair.partition("=") for pair in query.split("&")):
        if key == "sentinel_password" and value:
            url = url.replace(f"{key}={value}", f"{key}=***")
    return url


def _split(url: str) -> tuple[str, str, str]:
    """Authority, path and query. By hand: to the library, several hosts are a bad port."""
    rest, _, query = url.partition("://")[2].partition("?")
    authority, _, path = rest.partition("/")
    return authority, path, query


def _address(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        good = bool(bracket) and tail[:1] in ("", ":")
        port = tail[1:] if tail else str(SENTINEL_PORT)
    else:
        host, colon, port = text.partition(":")
        good = ":" not in port
        port = port if colon else str(SENTINEL_PORT)
    if not host or not good:
        raise _wrong("a Sentinel's host is missing or malformed")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _wrong("a Sentinel's port is not a number from 1 to 65535")
    return host, int(port)


def _wrong(what: str) -> Unsupported:
    return Unsupported(f"{what}; expected {SENTINEL_FORM}; special characters percent-encoded")
