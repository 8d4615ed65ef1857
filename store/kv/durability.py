"""How far a write must have come before it is answered: `local`, or `replicated`.

`with replicated() as durable:` covers every script that its thread runs inside; afterwards
`durable.held` says whether replicas confirmed them all. A write that was not confirmed is not undone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import redis

from store.errors import Unavailable
from store.kv.connection import Client
from store.kv.sentinel import could_take_over

WAIT_MS = 1000
"""Milliseconds that a write waits for its replicas."""


class Replicated:
    """What became of the writes of one block. `held` is None as long as there were none."""

    def __init__(self, replicas: int | None) -> None:
        self.replicas = replicas
        self.held: bool | None = None

    def note(self, *, held: bool) -> None:
        """One more write, confirmed or not."""
        self.held = self.held is not False and held


_ASKED: ContextVar[Replicated | None] = ContextVar("replicated", default=None)


def asked() -> Replicated | None:
    """What the caller's writes are to reach; None: the primary is enough."""
    return _ASKED.get()


@contextmanager
def replicated(replicas: int | None = None) -> Iterator[Replicated]:
    """Have every write in this block wait for so many replicas; None: for all that could take over."""
    durable = Replicated(replicas)
    with more(durable):
        yield durable


@contextmanager
def more(durable: Replicated) -> Iterator[None]:
    """Have the writes in this block count among those of an earlier one."""
    before = _ASKED.set(durable)
    try:
        yield
    finally:
        _ASKED.reset(before)


def run_and_wait(
    client: Client, durable: Replicated, script: Any, keys: Sequence[str | bytes], args: Sequence[Any]
) -> Any:
    """Run a script, then WAIT on the same connection: replicas confirm what came before on that one.

    Raises:
        redis.RedisError: the script's.
    """
    wanted = durable.replicas or could_take_over(client)
    for _ in range(3):
        pipe = client.pipeline(transaction=False)
        pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        pipe.execute_command("WAIT", wanted, WAIT_MS)
        answer, confirmed = pipe.execute(raise_on_error=False)
        if not isinstance(answer, redis.exceptions.NoScriptError):
            break
        client.script_load(script.script)
    else:
        raise Unavailable("the store forgets its scripts: it is being replaced just now")
    if isinstance(answer, redis.RedisError):
        raise answer
    durable.note(held=not isinstance(confirmed, redis.RedisError) and int(confirmed) >= wanted)
    return answer
