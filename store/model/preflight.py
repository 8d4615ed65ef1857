"""Whether a server may hold a fleet's state: facts in, findings out. Pure; `store.kv.facts` gathers.

Refused is what can lose or corrupt state by the way it is set up. What is only in trouble just
now (a full disk, say) is `wrong`: a manager starts and waits, as it does when it is running already.
"""

from collections.abc import Iterator

from store.model.durability import persistence, replication
from store.model.finding import Finding, Severity
from store.model.quantity import size_text
from store.model.server import (
    KEPT_FOR_MANAGERS,
    PER_NODE,
    ServerFacts,
    Use,
    connections_for,
    mode_of,
    nodes_for,
)

OLDEST = (6, 2)
CLOCKS_APART = 5.0
"""Seconds between the server's clock and ours that are worth a word."""
OWN_FILES = 1024
"""File descriptors that an API process may come to need."""
_LOOPBACK = ("127.", "::1", "localhost")


def judge(facts: ServerFacts, use: Use) -> list[Finding]:
    """All findings about a server, in a fixed order."""
    if mode_of(facts.info) == "sentinel":
        return [
            Finding(
                "mode", Severity.REFUSE, "this is a Sentinel and holds no data",
                "give the address of the server that it watches",
            )
        ]  # fmt: skip
    parts = (_mode, _version, replication, persistence, _memory, _clock, _connections, _access, _rights)
    return [finding for part in parts for finding in part(facts, use)]


def _mode(facts: ServerFacts, _: Use) -> Iterator[Finding]:
    if mode_of(facts.info) == "cluster":
        yield Finding(
            "mode", Severity.REFUSE,
            "this is a Redis Cluster: access across its slots may pass silently and do half of the work",
            "use one primary, with replicas under Sentinel; set cluster-enabled no in its configuration",
        )  # fmt: skip


def _version(facts: ServerFacts, _: Use) -> Iterator[Finding]:
    what = f"{facts.name} {'.'.join(map(str, facts.version))}"
    if facts.version < OLDEST and facts.name != "valkey":
        text = f"{what} is too old: 6.2 is the oldest that can serve Muster"
        yield Finding("version", Severity.REFUSE, text, "upgrade it to Redis 7 or Valkey")
    elif not facts.key_patterns:
        text = f"{what} has no ACL key patterns: every node can read and write every key"
        yield Finding("version", Severity.WARN, text, "upgrade it to Redis 7 or Valkey")
    else:
        yield Finding("version", Severity.OK, what)


def _memory(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    policy = str(facts.info.get("maxmemory_policy") or facts.setting("maxmemory-policy") or "noeviction")
    most, used = facts.number("maxmemory"), facts.number("used_memory")
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}"
        cure = use.set("maxmemory-policy", "noeviction")
        if most:
            text += (
                f" and maxmemory {size_text(most)}: state would be thrown away silently when memory is full"
            )
            yield Finding("maxmemory-policy", Severity.REFUSE, text, cure)
        else:
            text += ": harmless without maxmemory, but once that is set, state is thrown away silently"
            yield Finding("maxmemory-policy", Severity.WARN, text, cure)
    if most and used > 0.9 * most:
        text = f"{size_text(used)} of maxmemory {size_text(most)} are used: once full, it refuses every write"
        yield Finding("memory", Severity.WRONG, text, use.set("maxmemory", str(2 * most)))
    else:
        yield Finding(
            "memory", Severity.OK, f"{size_text(used)} used" + (f" of {size_text(most)}" if most else "")
        )


def _clock(facts: ServerFacts, _: Use) -> Iterator[Finding]:
    ahead = facts.clock_ahead
    if abs(ahead) > CLOCKS_APART:
        side = "ahead of" if ahead > 0 else "behind"
        text = f"the server's clock is {abs(ahead):.0f} s {side} ours: times in reports cannot be compared"
        yield Finding("clock", Severity.WARN, text, "run chrony or systemd-timesyncd on both machines")


def _connections(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    most, needed = facts.maxclients, connections_for(use.nodes)
    if most is None:
        yield Finding("maxclients", Severity.WARN, "how many connections the server takes could not be read")
    else:
        used = facts.number("connected_clients")
        text = f"{used} of {most} connections are used; there is room for {nodes_for(most)} agents"
        text += f" ({PER_NODE} each, {KEPT_FOR_MANAGERS} kept for managers)"
        if most < needed:
            text += f", and {needed} connections are needed for {use.nodes} nodes"
            yield Finding("maxclients", Severity.WRONG, text, _more_connections(needed, use))
        else:
            yield Finding("maxclients", Severity.OK, text)
    idle = facts.setting("timeout")
    if idle not in (None, "0"):
        text = (
            f"timeout is {idle}: connections that are idle for {idle} s are closed, and made anew each time"
        )
        yield Finding("timeout", Severity.WARN, text, use.set("timeout", "0"))
    if facts.own_files is not None and facts.own_files < OWN_FILES:
        text = f"the manager may open {facts.own_files} files at once: too few for many clients of its API"
        yield Finding(
            "file limit", Severity.WARN, text, f"ulimit -n {OWN_FILES}, or LimitNOFILE= in its unit"
        )


def _more_connections(needed: int, use: Use) -> str:
    if use.embedded:
        return f"raise the manager's file limit to {needed + 100} (LimitNOFILE= in its unit), and restart it"
    return (
        f"raise the server's file limit (LimitNOFILE= in its unit), then {use.set('maxclients', str(needed))}"
    )


def _access(facts: ServerFacts, _: Use) -> Iterator[Finding]:
    bind = facts.setting("bind")
    if not facts.open_to_all or bind is None:
        return
    addresses = [each.removeprefix("-") for each in bind.split()]  # -: not there is no error
    if addresses and all(address.startswith(_LOOPBACK) for address in addresses):
        return
    cure = (
        "redis-cli ACL SETUSER default resetpass '>PASSWORD', and give it in --store redis://:PASSWORD@HOST"
    )
    if facts.setting("protected-mode") == "yes":
        text = "protected-mode is on and the default user has no password: agents elsewhere are turned away"
    else:
        text = "the default user has no password: who reaches the server can run programs on every node"
    yield Finding("access", Severity.WARN, text, cure)


def _rights(facts: ServerFacts, _: Use) -> Iterator[Finding]:
    if facts.lacking:
        text = f"user {facts.user or '?'} may not run {', '.join(facts.lacking)}, which Muster needs"
        allow = " ".join(f"+{command}" for command in facts.lacking)
        cure = f"redis-cli ACL SETUSER {facts.user or 'USER'} {allow} '~muster:*' '&muster:*'"
        yield Finding("rights", Severity.REFUSE, text, cure)
    for command, why in facts.unread.items():
        text = (
            f"{command} cannot be run, so {_UNCHECKED.get(command, 'not all')} could not be checked ({why})"
        )
        cure = f"allow it (+{command.lower().replace(' ', '|')}), or look at these settings yourself"
        yield Finding("rights", Severity.WARN, text, cure)


_UNCHECKED = {
    "CONFIG GET": "save, appendfsync, min-replicas-max-lag, timeout, bind and protected-mode",
    "ACL DRYRUN": "what our user may run",
    "ACL GETUSER": "whether the default user has a password",
    "TIME": "the server's clock",
}
