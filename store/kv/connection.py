"""Connections to the server, and its errors in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from store.errors import Denied, StoreError, Unavailable, Unsupported
from store.kv.sentinel import SentinelPool
from store.kv.url import credentials, is_sentinel, redacted, sentinel_url

Client: TypeAlias = Any
"""A `redis.Redis`. Its own hints say str or bytes, awaited or not; ours always gives bytes."""
ANSWER_WITHIN = 5.0
"""Seconds after which an ordinary command counts as unanswered."""

_IN_PIPELINE = re.compile(r"Command # \d+ .*? of pipeline caused error: ", re.DOTALL)


def connect(
    url: str,
    *,
    name: str,
    username: str | None = None,
    password: str | None = None,
    recheck: bool = False,
    within: float = ANSWER_WITHIN,
) -> Client:
    """A client with its own pool; nothing is sent yet. An answer takes `within` seconds, or is none.

    Nothing is retried below us: a write that timed out may have happened, and only its caller
    knows whether it may be said twice. `recheck`: under Sentinel, ask every second whether the
    primary is still the primary (for managers: a Sentinel need not hear that of 10,000 agents).

    Raises:
        Unsupported: the URL is not one of a single Redis or Valkey server, or of Sentinels.
    """
    user, secret = credentials(url)
    options: dict[str, Any] = {
        "username": username or user,
        "password": password or secret,
        "protocol": 2,
        "client_name": f"muster-{name}",
        "socket_timeout": within,
        "socket_connect_timeout": within,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    if is_sentinel(url):
        return redis.Redis.from_pool(SentinelPool(sentinel_url(url), recheck=recheck, **options))
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise Unsupported(f"store URL {redacted(url)}: not redis://, rediss://, unix:// or sentinel://")
    return redis.Redis.from_url(url, **options)


def database(client: Client) -> int:
    """The number of the database that a client uses."""
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def sibling(client: Client, host: str, port: int, *, within: float) -> Client:
    """A client of another server of the same store, with the same user; it has `within` seconds to answer."""
    pool = client.connection_pool
    options = dict(pool.options if isinstance(pool, SentinelPool) else pool.connection_kwargs)
    kind = (
        pool.connection_class if issubclass(pool.connection_class, redis.SSLConnection) else redis.Connection
    )
    options.pop("path", None)
    options |= {"host": host, "port": port, "socket_timeout": within, "socket_connect_timeout": within}
    return redis.Redis.from_pool(redis.ConnectionPool(connection_class=kind, **options))


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
    text = _IN_PIPELINE.sub("", str(error))
    if text.startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
        return Denied(text)
    if text.startswith("CROSSSLOT") or "cluster" in text.lower():
        return Unsupported(f"Redis Cluster is not supported: {text}")
    if isinstance(error, redis.ReadOnlyError) or text.startswith(
        ("MISCONF", "OOM", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "UNBLOCKED")
    ):
        return Unavailable(f"the store cannot serve: {text}")
    return StoreError(text)
