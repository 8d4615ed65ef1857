"""What a server loses when it dies, and when another takes its place: files and replicas."""

from collections.abc import Iterator
from typing import Any

from store.model.finding import Finding, Severity
from store.model.server import ServerFacts, Use

LAG = 10
"""Seconds without a word from a replica that are worth a finding."""
_ON_POWER_LOSS = {
    "always": "a power cut loses nothing acknowledged",
    "everysec": "a power cut may lose up to a second of acknowledged writes",
}


def persistence(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    """What lies on the server's disk, and whether it can still write there."""
    yield from _append_only(facts, use) if facts.number("aof_enabled") else _snapshots_only(facts, use)
    failing = {
        "aof_last_write_status": "the server cannot write its append-only file, and refuses every write",
        "aof_last_bgrewrite_status": "the server could not rewrite its append-only file, which grows on",
        "rdb_last_bgsave_status": "the server could not write its last snapshot (RDB)",
    }
    for name, text in failing.items():
        if str(facts.info.get(name, "ok")) != "ok":
            cure = "its log says why; most often its disk is full, or its directory not its own"
            yield Finding("disk", Severity.WRONG, text, cure)


def synced(facts: ServerFacts, *, embedded: bool) -> str | None:
    """When the append-only file is synced, in the words of `appendfsync`; None: unknown, or there is none."""
    if not facts.number("aof_enabled"):
        return None
    policy = facts.setting("appendfsync")
    return "everysec" if embedded and policy == "no" else policy  # by its manager, see `store.syncer`


def _append_only(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    policy = synced(facts, embedded=use.embedded)
    if policy is None:
        yield Finding("appendfsync", Severity.OK, "the append-only file is on; how it is synced is not known")
    elif policy not in _ON_POWER_LOSS:
        text = f"appendfsync is {policy}: a power cut may lose half a minute of acknowledged writes"
        yield Finding("appendfsync", Severity.WARN, text, use.set("appendfsync", "everysec"))
    elif policy == "always" and facts.setting("no-appendfsync-on-rewrite") == "yes":
        text = (
            "appendfsync is always, but no-appendfsync-on-rewrite is yes: during a rewrite nothing is synced"
        )
        yield Finding("appendfsync", Severity.WARN, text, use.set("no-appendfsync-on-rewrite", "no"))
    else:
        text = f"appendfsync is {policy}: {_ON_POWER_LOSS[policy]}"
        if policy == "everysec" and not use.embedded:
            text += "; so may killing the server while its disk is slow, by up to 2 seconds"
        yield Finding("appendfsync", Severity.OK, text)


def _snapshots_only(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    save, cure = facts.setting("save"), use.set("appendonly", "yes")
    if save is None:
        text = (
            "appendonly is no, and whether snapshots are made is not known; without them a restart loses all"
        )
        yield Finding("persistence", Severity.WARN, text, cure)
    elif save == "":
        text = "appendonly is no and save is empty: a restart of the server loses everything"
        yield Finding("persistence", Severity.REFUSE, text, cure)
    else:
        text = f'appendonly is no: a restart loses what came after the last snapshot (save "{save}")'
        yield Finding("persistence", Severity.WARN, text, cure)


def replication(facts: ServerFacts, use: Use) -> Iterator[Finding]:
    """Whether it is the one that takes writes, and whether enough others have them too."""
    if facts.info.get("role") == "slave":
        host, port = facts.info.get("master_host", "?"), facts.info.get("master_port", "?")
        text = (
            f"this is a replica of {host} port {port}: it takes no writes, and those of its primary come late"
        )
        cure = f"give its primary's address, {host}:{port}, or make it one: redis-cli REPLICAOF NO ONE"
        yield Finding("role", Severity.REFUSE, text, cure)
        return
    replicas = replicas_of(facts)
    yield Finding("role", Severity.OK, f"primary, with {_count(len(replicas))}")
    if use.sentinel or replicas or "min_slaves_good_slaves" in facts.info:
        yield from _min_replicas(facts, use, len(replicas))
    if use.sentinel and not replicas:
        text = "no replica follows: when this server dies, there is nothing to fail over to"
        yield Finding("replicas", Severity.WRONG, text, "start one with replicaof HOST PORT, and masterauth")
    for each in replicas:
        if each["state"] != "online" or each["lag"] > LAG:
            text = f"replica {each['address']} is {each['state']}, last heard of {each['lag']} s ago"
            yield Finding("replicas", Severity.WRONG, text, "look at its log, and at the network to it")


def _min_replicas(facts: ServerFacts, use: Use, connected: int) -> Iterator[Finding]:
    """Without it, a primary that was cut off takes writes until it is found to be no primary any more."""
    least, lag = facts.setting("min-replicas-to-write"), facts.setting("min-replicas-max-lag")
    on = "min_slaves_good_slaves" in facts.info  # said only when both are set, also to whom CONFIG is denied
    severity = Severity.REFUSE if use.sentinel else Severity.WARN
    loses = "a primary that was cut off goes on taking writes, all of which are lost in a fail-over"
    if on:
        good, needed = facts.number("min_slaves_good_slaves"), int(least or 1)
        if good < needed:
            text = f"{good} of {_count(connected)} follow closely, and min-replicas-to-write is {needed}"
            text += ": every write is refused"
            cure = "start a replica, or look at the logs of those that lag"
            yield Finding("min-replicas-to-write", Severity.WRONG, text, cure)
        else:
            text = f"min-replicas-to-write is {least or 'set'}, with at most {lag or 'some'} s of lag"
            yield Finding("min-replicas-to-write", Severity.OK, text)
    elif least not in (None, "0"):
        text = f"min-replicas-max-lag is {lag or 0}, which turns min-replicas-to-write off: {loses}"
        yield Finding("min-replicas-max-lag", severity, text, use.set("min-replicas-max-lag", "10"))
    else:
        text = f"min-replicas-to-write is 0: {loses}"
        yield Finding("min-replicas-to-write", severity, text, use.set("min-replicas-to-write", "1"))


def replicas_of(facts: ServerFacts) -> list[dict[str, Any]]:
    """The replicas that are connected: `address`, `state`, `lag` in seconds."""
    rows = [facts.info.get(f"slave{n}") for n in range(facts.number("connected_slaves"))]
    return [
        {
            "address": f"{row.get('ip', '?')}:{row.get('port', '?')}",
            "state": str(row.get("state", "?")),
            "lag": row["lag"] if isinstance(row.get("lag"), int) else 0,
        }
        for row in rows
        if isinstance(row, dict)
    ]


def _count(replicas: int) -> str:
    return f"{replicas or 'no'} replica{'' if replicas == 1 else 's'}"
