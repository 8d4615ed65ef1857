"""One round trip to the server for what is asked on every call: a transaction of commands that only read.

As the client library's own pipeline does it, on a connection of its pool, without what a pipeline keeps
beside: stacks of commands, callbacks, spans, retries that we do not want. Replies are as they come: hashes
are lists of fields and values.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from store.kv.connection import Client

Command = tuple[str | bytes | int, ...]
BEGIN, END = ("MULTI",), ("EXEC",)


def transaction(client: Client, commands: Sequence[Command]) -> list[Any]:
    """The replies to some commands, all of one moment; whatever is wrong with one of them is raised.

    Raises:
        redis.RedisError: what the library says; for `translated()`.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands([BEGIN, *commands, END]))
        refused = _queued(connection, len(commands) + 1)
        try:
            replies: list[Any] = connection.read_response()
        except redis.ResponseError as error:
            raise refused or error from None
    except redis.ResponseError:
        raise  # an answer like others: the connection is where it was
    except BaseException:
        connection.disconnect()  # nobody knows what it would answer next
        raise
    finally:
        pool.release(connection)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _queued(connection: Any, count: int) -> redis.ResponseError | None:
    """Read that the commands were taken; the first refusal among them."""
    first: redis.ResponseError | None = None
    for _ in range(count):
        try:
            connection.read_response()
        except redis.ResponseError as error:
            first = first or error
    return first


def pairs(reply: list[Any] | dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """The fields and values of a hash; a map already where RESP3 is spoken."""
    if isinstance(reply, dict):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True)
