"""Connections to the server, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from store.errors import Denied, StoreError, Unavailable, Unsupported

Client: TypeAlias = Any
"""A `redis.Redis`. Its own hints say str or bytes, awaited or not; ours always gives bytes."""
ANSWER_WITHIN = 5.0
"""Seconds after which an ordinary command counts as unanswered."""


def connect(
    url: str,
    *,
    name: str,
    username: str | None = None,
    password: str | None = None,
    within: float = ANSWER_WITHIN,
) -> Client:
    """A client with its own pool; nothing is sent yet. An answer takes `within` seconds, or is none.

    Nothing is retried below us: a write that timed out may have happened, and only its caller
    knows whether it may be said twice.

    Raises:
        Unsupported: the URL is not one of a single Redis or Valkey server.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise Unsupported(f"store URL {redacted(url)}: not redis://, rediss:// or unix://")
    return redis.Redis.from_url(
        url,
        username=username or (unquote(parts.username) if parts.username else None),
        password=password or (unquote(parts.password) if parts.password else None),
        protocol=2,
        client_name=f"muster-{name}",
        socket_timeout=within,
        socket_connect_timeout=within,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


def redacted(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@")


@contextmanager
def translated() -> Iterator[None]:
    """Re-raise the client library's errors as ours, chained."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise Denied(str(error)) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        # BusyLoadingError is a ConnectionError; AuthenticationError is too, and came first.
        raise Unavailable(f"the store does not answer: {error}") from error
    except redis.ResponseError as error:
        raise _of_response(error) from error
    except redis.RedisError as error:  # a broken protocol, say: whatever it is, it does not serve us
        raise Unavailable(f"the store cannot be understood: {error}") from error


def _of_response(error: redis.ResponseError) -> StoreError:
    text = str(error)
    if text.startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
        return Denied(text)
    if text.startswith("CROSSSLOT") or "cluster" in text.lower():
        return Unsupported(f"Redis Cluster is not supported: {text}")
    if isinstance(error, redis.ReadOnlyError) or text.startswith(
        ("MISCONF", "OOM", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY")
    ):
        return Unavailable(f"the store cannot serve: {text}")
    return StoreError(text)
