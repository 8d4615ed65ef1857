"""The primary of a store under Sentinel: found, checked, and left when another one takes its place.

Three things keep writes from landing on a primary that is none any more. A connection is made to
whom most Sentinels name, and only if that server says of itself that it is a primary. A pool
never moves to another server silently: whoever asks next gets one `ConnectionError` (our
`Unavailable`) and has to look at the store anew. And a pool that is told to (managers', not agents')
asks again every second, and after every answer that took long: the server may have been
paused, and replaced meanwhile.
"""

import logging
import threading
from collections import Counter
from time import monotonic
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from store.kv.url import SentinelUrl

log = logging.getLogger("store")

Address = tuple[str, int]
ASK_WITHIN = 1.0
"""Seconds that one Sentinel has to answer."""
RECHECK = 1.0
"""Seconds between two questions who the primary is, for those who recheck."""
UNKNOWN = 1000
"""A number of replicas that no store has."""
LATE = 1.5
"""Seconds after which an answer may come from a server that was replaced meanwhile."""


class Sentinels:
    """Asks who the primary is. Connections to Sentinels are not kept."""

    def __init__(self, url: SentinelUrl) -> None:
        self._url = url
        self._order = list(url.sentinels)

    def primary(self) -> Address:
        """The address that most of those name who answer.

        Raises:
            redis.ConnectionError: none answers, none knows the name, or they do not agree.
            redis.AuthenticationError: none answers, and one of them asks for another password.
        """
        votes: Counter[Address] = Counter()
        silent: list[Address] = []
        reasons: list[redis.RedisError] = []
        for sentinel in list(self._order):
            try:
                votes[self._ask(sentinel)] += 1
            except redis.RedisError as error:
                reasons.append(error)
                silent.append(sentinel)
            if votes and max(votes.values()) * 2 > len(self._url.sentinels):
                break
        if silent:  # they are asked last the next time
            self._order = [each for each in self._order if each not in silent] + silent
        return self._elected(votes, reasons)

    def _elected(self, votes: Counter[Address], reasons: list[redis.RedisError]) -> Address:
        first = votes.most_common(2)
        if not first:
            refused = [error for error in reasons if isinstance(error, redis.AuthenticationError)]
            text = "; ".join(dict.fromkeys(str(error) for error in reasons))
            raise (type(refused[0]) if refused else redis.ConnectionError)(text)
        if len(first) > 1 and first[0][1] == first[1][1]:
            raise redis.ConnectionError("the Sentinels do not agree which server is the primary")
        return first[0][0]

    def replicas(self) -> int | None:
        """How many servers could take over: all replicas but those that most Sentinels call down.

        None if fewer than most Sentinels answer: the others may just be promoting one.
        """
        known: set[Address] = set()
        down: Counter[Address] = Counter()
        heard = 0
        for sentinel in self._url.sentinels:
            try:
                rows = self._say(sentinel, "REPLICAS")
            except redis.RedisError:
                continue
            heard += 1
            for row in rows:
                about = dict(zip(row[::2], row[1::2], strict=True))
                address = about[b"ip"].decode(), int(about[b"port"])
                known.add(address)
                down[address] += b"s_down" in about[b"flags"].split(b",")
        most = len(self._url.sentinels) // 2 + 1
        return None if heard < most else sum(down[each] < most for each in known)

    def _ask(self, sentinel: Address) -> Address:
        answer = self._say(sentinel, "GET-MASTER-ADDR-BY-NAME")
        if answer is None:
            where = f"Sentinel {sentinel[0]}:{sentinel[1]}"
            raise redis.ConnectionError(f"{where} knows no primary named {self._url.name!r}")
        return answer[0].decode(), int(answer[1])

    def _say(self, sentinel: Address, word: str) -> Any:
        where = f"Sentinel {sentinel[0]}:{sentinel[1]}"
        connection: Any = redis.Connection(  # type: ignore[no-untyped-call]
            host=sentinel[0],
            port=sentinel[1],
            username=self._url.sentinel_user,
            password=self._url.sentinel_password,
            protocol=2,
            driver_info=None,
            socket_timeout=ASK_WITHIN,
            socket_connect_timeout=ASK_WITHIN,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            connection.send_command("SENTINEL", word, self._url.name)
            return connection.read_response()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise redis.AuthenticationError(f"{where}: {error}") from error
        except redis.RedisError as error:
            raise redis.ConnectionError(f"{where}: {error}") from error
        finally:
            connection.disconnect()


class SentinelPool(redis.ConnectionPool):
    """Connections to the primary of the moment, and to no other server."""

    def __init__(self, url: SentinelUrl, *, recheck: bool, **options: Any) -> None:
        self._sentinels = Sentinels(url)
        self._recheck = recheck
        self._asking = threading.Lock()
        self._known: Address | None = None
        self._asked_at = self._moved_at = self._counted_at = 0.0
        self._replicas = UNKNOWN
        super().__init__(
            connection_class=PrimaryConnection, db=url.db, redis_connect_func=_greet, pool=self, **options
        )

    @property
    def options(self) -> dict[str, Any]:
        """How a server of this store is connected to, but for its address."""
        mine = ("pool", "redis_connect_func")
        return {key: value for key, value in self.connection_kwargs.items() if key not in mine}

    @property
    def known(self) -> Address | None:
        """The primary, as far as this pool has been told."""
        return self._known

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection that is in order.

        Raises:
            redis.ConnectionError: there is none, or the primary is another one since the last time.
        """
        if self._recheck and self._known is not None and monotonic() - self._asked_at > RECHECK:
            self.look()
        return super().get_connection(*args, **kwargs)

    def look(self) -> None:
        """Ask the Sentinels, unless somebody is just asking; if none answers, all stays as it was.

        Raises:
            redis.ConnectionError: the primary is another one.
        """
        if self._asking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._asking.release()

    def doubt(self, began: float) -> None:
        """Ask whether what was asked at `began` was answered by a server that still is the primary.

        Raises:
            redis.ConnectionError: it was not.
        """
        with self._asking:
            if self._moved_at < began:
                self._look()
            if self._moved_at >= began:  # another thread was told
                raise redis.ConnectionError("the primary was replaced before it answered")

    def replicas(self) -> int:
        """How many replicas could take over, as of a second ago at most; `UNKNOWN` if nobody can say."""
        with self._asking:
            if monotonic() - self._counted_at > RECHECK:
                found = self._sentinels.replicas()
                self._replicas = UNKNOWN if found is None else max(1, found)
                self._counted_at = monotonic()
            return self._replicas

    def _look(self) -> None:
        self._asked_at = monotonic()
        try:
            address = self._sentinels.primary()
        except redis.RedisError as error:
            log.debug("the primary is taken to be the same: %s", error)
            return
        self._settle(address)

    def find(self) -> Address:
        """Where to connect to.

        Raises:
            redis.ConnectionError: nobody knows, or it is another one since the last time.
        """
        address = self._sentinels.primary()
        self._asked_at = monotonic()
        self._settle(address)
        return address

    def _settle(self, address: Address) -> None:
        known, self._known = self._known, address
        if known in (None, address):
            return
        assert known is not None
        self._moved_at, self._counted_at = monotonic(), 0.0
        self.disconnect(inuse_connections=False)
        raise redis.ConnectionError(
            f"the primary is now {address[0]}:{address[1]}, no longer {known[0]}:{known[1]}"
        )


class PrimaryConnection(redis.Connection):
    """One connection of such a pool."""

    def __init__(self, *, pool: SentinelPool, **options: Any) -> None:
        self._pool = pool
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def connect(self) -> None:
        """Connect to the primary of the moment, unless connected to it."""
        sock: Any = self._sock
        if sock and (self.host, self.port) != self._pool.known:  # it was in use when the pool moved
            self.disconnect()  # type: ignore[no-untyped-call]
        if not self._sock:
            self.host, self.port = self._pool.find()
        super().connect()  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """An answer; that of a server which is a replica now ends the connection."""
        try:
            return super().read_response(*args, **kwargs)
        except redis.ReadOnlyError:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.ConnectionError("the primary has become a replica") from None


def could_take_over(client: Any) -> int:
    """How many replicas must have a write for it to survive any fail-over. Without Sentinels: one.

    One of several is not enough: while Sentinel promotes one replica, the others still follow the
    old primary, and confirm what it takes.
    """
    pool = client.connection_pool
    return pool.replicas() if isinstance(pool, SentinelPool) else 1


def has_sentinels(client: Any) -> bool:
    """Whether somebody may put another server in the primary's place."""
    return isinstance(getattr(client, "connection_pool", None), SentinelPool)


def doubt(client: Any, began: float) -> None:
    """See that an answer to what was asked at `began` (monotonic) counts, if it took long.

    Raises:
        redis.ConnectionError: the server that gave it is not the primary any more.
    """
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelPool) and monotonic() - began > LATE:
        pool.doubt(began)


def _greet(connection: Any) -> None:
    """Authenticate, then hear what the server is: HELLO is allowed to everybody, ROLE is not."""
    connection.on_connect()
    connection.send_command("HELLO")
    words = connection.read_response()
    about = dict(zip(words[::2], words[1::2], strict=False))
    if about.get(b"role") != b"master":
        where = f"{connection.host}:{connection.port}"
        raise redis.ConnectionError(f"{where}, which the Sentinels name, is no primary yet, or no more")
