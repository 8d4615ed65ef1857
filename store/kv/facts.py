"""What a server says of itself, gathered for `store.model.preflight`; nothing is changed by asking."""

import resource
from collections.abc import Callable
from typing import Any, TypeVar

from store.errors import StoreError, Unavailable
from store.keys import Keys
from store.kv.connection import Client, translated
from store.kv.server import flavour_of, user_of
from store.model.server import ServerFacts

T = TypeVar("T")
SETTINGS = (
    "save", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy", "maxclients", "timeout", "bind",
    "protected-mode", "min-replicas-to-write", "min-replicas-max-lag",
)  # fmt: skip
NOBODY = "~preflight"
"""What can be no node's id: removing this node's user changes nothing."""


def needed(keys: Keys) -> list[tuple[str, ...]]:
    """Every command that managers send, or a script of theirs runs, in a form that names its keys."""
    meta, node = keys.meta, keys.node("x")
    return [
        ("ping",), ("info",), ("time",), ("multi",), ("exec",),
        ("get", meta), ("set", meta, "x"), ("del", meta), ("exists", meta),
        ("incrby", keys.fence("leader"), "1"),
        ("mget", node.beat), ("pttl", node.beat), ("pexpire", keys.lease("leader"), "1"),
        ("hget", meta, "x"), ("hmget", meta, "x"), ("hgetall", node.actual), ("hset", node.desired, "x", "x"),
        ("hdel", node.desired, "x"),
        ("xread", "STREAMS", keys.log, "0"), ("xadd", node.wake, "*", "x", "x"),
        ("xtrim", keys.log, "MINID", "1"),
        ("eval", "return 1", "1", meta), ("evalsha", "0" * 40, "1", meta), ("script", "load", "return 1"),
        ("subscribe", keys.hints),
        ("acl", "setuser", user_of("x")), ("acl", "deluser", user_of("x")),
    ]  # fmt: skip


def gather(client: Client, keys: Keys, wall: Callable[[], float]) -> ServerFacts:
    """Ask a server. What it refuses to say stands in `unread`; INFO is the least it must answer.

    Raises:
        Unavailable: it does not answer.
        Denied: wrong user or password, or no right to INFO.
    """
    with translated():
        info = client.info()
    flavour = flavour_of(info)
    unread: dict[str, str] = {}
    # 6.2 has no DRYRUN: that is no finding of its own there.
    user, lacking = _rights(client, keys, unread if flavour.has_key_patterns else {})
    return ServerFacts(
        name=flavour.name,
        version=flavour.version,
        key_patterns=flavour.has_key_patterns,
        info=info,
        config=_try(unread, "CONFIG GET", lambda: _settings(client), {}),
        unread=unread,
        user=user,
        lacking=lacking,
        open_to_all=_try(unread, "ACL GETUSER", lambda: _open_to_all(client), None),
        clock_ahead=_try(unread, "TIME", lambda: _clock_ahead(client, wall), 0.0),
        own_files=_own_files(),
    )


def _try(unread: dict[str, str], command: str, ask: Callable[[], T], otherwise: T) -> T:
    try:
        with translated():
            return ask()
    except Unavailable:
        raise
    except StoreError as error:  # denied, renamed, not there in this version
        unread[command] = str(error).rpartition("caused error: ")[2]
        return otherwise


def _settings(client: Client) -> dict[str, str]:
    pipe = client.pipeline(transaction=False)
    for name in SETTINGS:  # one by one: 6.2 takes no list
        pipe.config_get(name)
    return {name: value for answer in pipe.execute() for name, value in answer.items()}


def _rights(client: Client, keys: Keys, unread: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """Who we are, and which needed commands we may not run."""
    commands = needed(keys)

    def dry_run() -> tuple[str, list[Any]]:
        user = client.acl_whoami()
        name = user.decode() if isinstance(user, bytes) else str(user)
        pipe = client.pipeline(transaction=False)
        for words in commands:
            pipe.execute_command("ACL", "DRYRUN", name, *words)
        return name, list(pipe.execute())

    nothing: tuple[str, list[Any]] = ("", [])
    user, answers = _try(unread, "ACL DRYRUN", dry_run, nothing)
    if not answers:
        return user, _may_not_grant(client)
    pairs = zip(commands, answers, strict=True)
    return user, tuple(_called(words) for words, answer in pairs if answer not in (b"OK", "OK"))


def _called(words: tuple[str, ...]) -> str:
    return "|".join(words[:2]) if words[0] in ("acl", "script") else words[0]


def _may_not_grant(client: Client) -> tuple[str, ...]:
    """Without DRYRUN (6.2, or denied), the one right that managers commonly lack is tried itself."""
    try:
        with translated():
            client.acl_deluser(user_of(NOBODY))
    except Unavailable:
        raise
    except StoreError:  # denied, or renamed away
        return ("acl|setuser", "acl|deluser")
    return ()


def _open_to_all(client: Client) -> bool:
    found = client.acl_getuser("default")
    flags = found.get("flags", []) if found else []
    return "on" in flags and "nopass" in flags


def _clock_ahead(client: Client, wall: Callable[[], float]) -> float:
    """Seconds; what the round trip took counts as neither's."""
    before = wall()
    seconds, micros = client.time()
    there, after = seconds + micros / 1e6, wall()
    return float(there - after if there > after else min(0.0, there - before))


def _own_files() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
