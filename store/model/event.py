"""Events: what was decided or done, to whom, and why. They are hints; nothing depends on any of them.

Kinds are words with a dot between the general and the special one: `deployment.placed`, `node.offline`.
An event's id is that of its entry in the store's stream, `<ms>-<n>`: rising as long as the server's clock
does not go back over a restart, so that it is told apart together with the epoch it was written in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SUBJECTS = ("deployment", "allocation", "node", "template")
GAP = "gap"
"""Kind of an event that says: others may be missing here."""
MOST_TEXT = 500
MOST_KIND = 64
LAST_NUMBER = 2**63 - 1

_ID = re.compile(r"(\d{1,15})-(\d{1,19})")

Id = tuple[int, int]
BEGINNING: Id = (0, 0)


def event_id(text: str) -> Id:
    """The parts of an event's id.

    Raises:
        ValueError: it is none.
    """
    found = _ID.fullmatch(text)
    if found is None or int(found[2]) > LAST_NUMBER:
        raise ValueError(f"{text[:50]!r} is no event's id, such as 1767225600000-0")
    return int(found[1]), int(found[2])


def as_text(number: Id) -> str:
    """An event's id as it is written."""
    return f"{number[0]}-{number[1]}"


def just_before(number: Id) -> Id:
    """The highest id below another one: that of a gap, which ends there."""
    ms, n = number
    return (ms, n - 1) if n else (max(0, ms - 1), LAST_NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, as its witness tells it."""

    kind: str
    reason: str
    subject: Mapping[str, str] = field(default_factory=dict)
    """Of `SUBJECTS`, those that it is about."""
    data: Mapping[str, Any] | None = None
    """A few more facts; never what may hold a secret."""

    def as_record(self, *, time: float, actor: str, epoch: str) -> Json:
        """As it lies in the stream; `time` is the witness's wall clock."""
        subject = {key: value for key, value in self.subject.items() if key in SUBJECTS and value}
        record: Json = {"v": 1, "time": time, "kind": self.kind, "subject": subject}
        record |= {"reason": self.reason[:MOST_TEXT], "actor": actor, "epoch": epoch}
        return record | ({"data": dict(self.data)} if self.data else {})


def understood(record: Mapping[str, Any]) -> Json:
    """A record of the stream with all that readers rely on, whoever wrote it.

    Raises:
        ValueError, TypeError, KeyError: it is nonsense.
    """
    subject = record.get("subject") or {}
    clean = {key: str(subject[key]) for key in SUBJECTS if key in subject}
    found: Json = {"time": float(record["time"]), "kind": str(record["kind"])[:MOST_KIND], "subject": clean}
    found |= {"reason": str(record.get("reason", "")), "actor": str(record.get("actor", ""))}
    found["epoch"] = str(record.get("epoch", ""))
    return found | ({"data": record["data"]} if "data" in record else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events somebody wants; None is all. A gap is told to everybody."""

    deployment: str | None = None
    node: str | None = None
    kind: str | None = None
    """A kind, or what stands before its dot."""
    since: float | None = None
    until: float | None = None

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is one of them."""
        if self.since is not None and event["time"] < self.since:
            return False
        if self.until is not None and event["time"] >= self.until:
            return False
        if event["kind"] == GAP:
            return True
        subject = event["subject"]
        if self.deployment is not None and subject.get("deployment") != self.deployment:
            return False
        if self.node is not None and subject.get("node") != self.node:
            return False
        kind = event["kind"]
        return self.kind is None or kind == self.kind or kind.startswith(f"{self.kind}.")
