"""What a look at store and fleet says, as findings. Pure: what is judged is the report that is shown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from store.codec import loads
from store.errors import BadRecord
from store.model.beat import heartbeat
from store.model.finding import Finding, Severity

Json = dict[str, Any]

NAMED = 100
"""Nodes named in one row of the report; the others are counted."""
SAID = 5
"""Nodes named in one sentence."""
MOST_GROUPS = 20
LONG_LOG = 50_000
"""Entries of the change log that are a sign that nobody compacts it: half of `MOST_LOGGED`, its bound."""
SERVED_BACK = 2
"""Releases back of which agents are still served."""


def fleet(records: Mapping[str, bytes], beats: Sequence[bytes | None]) -> Json:
    """The nodes' part of a report, from their records and heartbeats, in one order."""
    offline, unreadable = [], []
    frozen: dict[str, list[str]] = {}
    unclaimed: dict[str, int] = {}
    versions: Counter[str] = Counter()
    for (node, raw), beat_raw in zip(records.items(), beats, strict=True):
        try:
            record = loads(raw)
            beat = heartbeat(loads(beat_raw)) if beat_raw is not None else None
        except BadRecord:
            unreadable.append(node)
            continue
        versions[str(record.get("version", "?"))] += 1
        if beat is None or beat["uid"] != record.get("uid"):
            offline.append(node)
            continue
        if beat["frozen"]:
            frozen.setdefault(beat["frozen"], []).append(node)
        left = beat.get("unclaimed")
        if isinstance(left, list) and left:
            unclaimed[node] = len(left)
    return {
        "known": len(records),
        "online": len(records) - len(offline) - len(unreadable),
        "offline": _named(offline),
        "unreadable": _named(unreadable),
        "frozen": [{"reason": why, **_named(nodes)} for why, nodes in sorted(frozen.items())],
        "unclaimed": {
            "count": sum(unclaimed.values()),
            "nodes": dict(sorted(unclaimed.items())[:NAMED]),
            "on": len(unclaimed),
        },
        "versions": dict(sorted(versions.items())),
    }


def _named(nodes: list[str]) -> Json:
    return {"count": len(nodes), "nodes": sorted(nodes)[:NAMED]}


def judge(report: Json) -> list[Finding]:
    """The findings about store and fleet; what the report lacks is not judged."""
    parts = (_trouble, _history, _log, _leader, _brake, _nodes, _versions, _devices, _device_file)
    return [finding for part in parts for finding in part(report)]


def _trouble(report: Json) -> Iterator[Finding]:
    trouble = report.get("trouble")
    if trouble:
        cure = {
            "empty": "put a backup back, or begin anew: `muster recover` says how",
            "unavailable": "look at the server and its log; once it is back, all goes on by itself",
        }.get(trouble["kind"], "the manager's log says more")
        yield Finding("store", Severity.WRONG, trouble["text"], cure)


def _history(report: Json) -> Iterator[Finding]:
    epoch = report.get("epoch")
    if epoch is None:
        return
    if report.get("lost"):
        text = f"history was lost, and every write is refused until the next epoch begins: {report['lost']}"
        yield Finding(
            "epoch", Severity.WRONG, text, "the leader begins it by itself; see to it that one leads"
        )
    elif report["revision"] < report["seen"]:
        text = f"epoch {epoch['id']} fell back to revision {report['revision']} from {report['seen']}"
        yield Finding(
            "epoch", Severity.WRONG, text, "the leader begins the next epoch; see to it that one leads"
        )
    else:
        why = f": {epoch['reason']}" if epoch.get("reason") else ""
        yield Finding("epoch", Severity.OK, f"epoch {epoch['id']}, revision {report['revision']}{why}")
    if report.get("fenced"):
        text = (
            f"{report['fenced']} writes of former leaders came too late and were refused, as they should be"
        )
        yield Finding("fencing", Severity.OK, text)


def _log(report: Json) -> Iterator[Finding]:
    found = report.get("log")
    if found and found["entries"] > LONG_LOG:
        text = f"the change log has {found['entries']} entries: nobody compacts it"
        yield Finding("log", Severity.WRONG, text, "a leading controller compacts it: look at its log")


def _leader(report: Json) -> Iterator[Finding]:
    if "leader" not in report:
        return
    leader = report["leader"]
    if leader is None:
        cure = "look at the managers' logs for 'not leading'; start a manager"
        yield Finding("leader", Severity.WRONG, "no controller leads: nothing is decided", cure)
    elif leader["token"] != leader["fence"]:
        text = (
            f"{leader['holder']} leads with token {leader['token']}, though {leader['fence']} was given out"
        )
        yield Finding("leader", Severity.WRONG, text, "it gives up by itself, or its lease runs out")
    else:
        yield Finding("leader", Severity.OK, f"{leader['holder']} leads with token {leader['token']}")


def _brake(report: Json) -> Iterator[Finding]:
    brake = report.get("brake")
    if brake:
        lost, of, named = brake.get("lost", "?"), brake.get("of", "?"), brake.get("nodes")
        shown = ", ".join(map(str, named[:SAID])) if isinstance(named, list) else ""
        where = f" ({shown}{', …' if len(named or ()) > SAID else ''})" if shown else ""
        text = f"{lost} of {of} nodes vanished at once{where}: nothing is rescheduled"
        cure = (
            "look at the network and at the nodes; when they are back it goes on by itself. If they are gone "
            "for good: `muster brake release`"
        )
        yield Finding("brake", Severity.WRONG, text, cure)


def _nodes(report: Json) -> Iterator[Finding]:
    nodes = report.get("nodes")
    if nodes is None:
        return
    yield Finding("nodes", Severity.OK, f"{nodes['online']} of {nodes['known']} online")
    for group in sorted(nodes["frozen"], key=lambda each: -each["count"])[:MOST_GROUPS]:
        text = f"{_who(group)} frozen (tasks run on, new orders wait): {group['reason']}"
        yield Finding("frozen", Severity.WRONG, text, _unfreeze(group["reason"]))
    if len(nodes["frozen"]) > MOST_GROUPS:
        text = f"nodes are frozen for {len(nodes['frozen']) - MOST_GROUPS} more reasons"
        yield Finding("frozen", Severity.WRONG, text, "muster nodes lists them all")
    if nodes["offline"]["count"]:
        text = f"{_who(nodes['offline'])} offline: no heartbeat"
        cure = "look at the agent there, and at the network; its tasks run on"
        yield Finding("offline", Severity.WRONG, text, cure)
    if nodes["unreadable"]["count"]:
        text = f"{_who(nodes['unreadable'])} not understood: record or heartbeat cannot be read"
        yield Finding(
            "unreadable", Severity.WRONG, text, "restart the agent there; it may be of another release"
        )
    if nodes["unclaimed"]["count"]:
        found = nodes["unclaimed"]
        where = ", ".join(f"{node} ({count})" for node, count in list(found["nodes"].items())[:SAID])
        text = f"{found['count']} allocations run though nobody lists them, on {where}{_more(found['on'])}"
        cure = "they run until somebody says `muster adopt` or `muster stop`"
        yield Finding("unclaimed", Severity.WRONG, text, cure)


def _who(group: Json) -> str:
    named = ", ".join(group["nodes"][:SAID])
    one = group["count"] == 1
    return f"node{'' if one else 's'} {named}{_more(group['count'])} {'is' if one else 'are'}"


def _more(count: int) -> str:
    return f" and {count - SAID} more" if count > SAID else ""


def _unfreeze(reason: str) -> str:
    """What ends a freeze; tasks run on meanwhile."""
    if "another machine" in reason:
        return "give one of the two another name: agent --hostname NAME"
    if "answer" in reason or "connected" in reason:
        return "look at the network between node and store; it goes on by itself"
    return "history was lost or is not whole yet: the leader heals that with the next epoch"


def _versions(report: Json) -> Iterator[Finding]:
    ours = _release(report["version"])
    for version, count in report.get("nodes", {}).get("versions", {}).items():
        theirs = _release(version)
        agents = f"{count} agent{'' if count == 1 else 's'} of version {version}"
        if theirs is None or ours is None:
            yield Finding("versions", Severity.WARN, f"{agents}: no version that is known", "upgrade them")
        elif theirs > ours:
            text = f"{agents}, newer than this manager's {report['version']}"
            yield Finding("versions", Severity.WARN, text, "upgrade managers before agents")
        elif theirs[0] < ours[0] or ours[1] - theirs[1] > SERVED_BACK:
            text = f"{agents}, more than {SERVED_BACK} releases behind this manager's {report['version']}"
            yield Finding(
                "versions", Severity.WRONG, text, "upgrade the agents: they are not served any more"
            )


def _devices(report: Json) -> Iterator[Finding]:
    found = report.get("devices")
    if found is None:
        return
    lacking, extra, unreadable = (found[name] for name in ("lacking", "extra", "unreadable"))
    said = []
    if lacking["count"]:
        said.append(f"{_lines(lacking)} not there, by which devices would be found")
    if extra["count"]:
        said.append(f"{_lines(extra)} of no device")
    if said:
        text = f"the index of devices does not say what their records do: {'; '.join(said)}"
        cure = "muster doctor --mend-index puts it right, beside whatever runs; records stay as they are"
        yield Finding("devices", Severity.WRONG, text, cure)
    if unreadable["count"]:
        text = f"{unreadable['count']} of {found['records']} cannot be read, {unreadable['example']} for one"
        cure = "somebody wrote them by hand: look with redis-cli HGET, put them right, or HDEL them"
        yield Finding("devices", Severity.WARN, text, cure)
    if not said and not unreadable["count"]:
        yield Finding("devices", Severity.OK, f"{found['records']}, and the index leads to each")


def _lines(found: Json) -> str:
    count = found["count"]
    return f"{count} line{'' if count == 1 else 's'} ({found['example']}{', …' if count > 1 else ''})"


def _device_file(report: Json) -> Iterator[Finding]:
    found = report.get("device_file")
    if found is None:
        return
    if found["kept"]:
        yield Finding("device-csv", Severity.OK, f"{found['file']} is kept")
        return
    written = found["written"]
    last = f"last {_long(report['time'] - written)} ago" if written is not None else "nor ever was"
    text = f"{found['file']} is not kept like the inventory, {last}"
    cure = "the manager's log says more; once it can be written, all goes on by itself"
    if found["why"]:
        text, cure = f"{text}: {found['why']}", f"put that right; {cure}"
    yield Finding("device-csv", Severity.WRONG, text, cure)


def _long(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} seconds"


def _release(version: str) -> tuple[int, int] | None:
    parts = version.split(".")[:2]
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def epoch_of(epoch: str, raw: bytes | None) -> Json:
    """An epoch with what is written of its beginning, if anything is that can be read."""
    known: Json = {}
    if raw is not None:
        try:
            known = loads(raw)
        except BadRecord:
            known = {}
    reason, began = known.get("reason"), known.get("began")
    return {
        "id": epoch,
        "began": began if isinstance(began, int | float) else None,
        "reason": reason if isinstance(reason, str) else None,
    }
