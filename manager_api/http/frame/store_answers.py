"""What is answered about the store, the manager's health, and the files beside it."""

from typing import ClassVar

from marshmallow import fields, validate

from manager_api.http.frame.answer_fields import anything, flag, number, text, whole
from manager_api.http.frame.answers import AnswerSchema
from store.codec import Json
from store.model.finding import Severity

CLUSTER = "8c3f0c9f6b6c4b2a9a5d0e7f1c2b3a4d"
EPOCH = "3-5f1c"


class HealthSchema(AnswerSchema):
    """That something answers."""

    status = text("`ok`.")
    version = text("Which Muster it is.")


class ReadinessSchema(HealthSchema):
    """Whether the whole manager can do its work."""

    checks = anything("What was looked at: `ok`, or what is wrong with it.")


class FindingSchema(AnswerSchema):
    """One thing that was looked at."""

    name = text("Which one.")
    severity = text("How bad it is.", validate=validate.OneOf([str(each) for each in Severity]))
    cure = text("What to do about it; empty: nothing.")
    text = text("What is so.")


class ReportSchema(AnswerSchema):
    """Store and fleet, looked over. What could not be seen is missing."""

    ok = flag("Whether nothing is wrong.")
    version = text("Which Muster it is.")
    time = number("When, seconds since 1970.")
    store = anything("The store's server.")
    findings = fields.List(fields.Nested(FindingSchema), required=True)
    trouble = anything("Why the store could not be looked at.", required=False)
    cluster = text("The cluster's id.", required=False)
    epoch = anything("The epoch: its id, when it began and why.", required=False)
    revision = whole("The store's revision.", required=False)
    log = anything("The change log.", required=False)
    leader = anything("Who leads; null: nobody.", required=False, allow_none=True)
    nodes = anything("What the fleet's heartbeats say.", required=False)
    brake = anything("Why nothing is rescheduled; null: all is.", required=False, allow_none=True)
    devices = anything("Whether the index of devices says what their records do.", required=False)
    device_file = anything("Whether this manager keeps the file of `--device-csv`.", required=False)
    about: ClassVar[dict[str, str]] = {"findings": "What there is to say, the worst first."}


A_FINDING: Json = {"name": "nodes", "severity": "ok", "text": "all 3 nodes are online", "cure": ""}
A_REPORT: Json = {
    "ok": True, "version": "0.3.0", "time": 1767225600.0, "store": {"embedded": True, "sentinel": False},
    "findings": [A_FINDING],
}  # fmt: skip


class MendedSchema(AnswerSchema):
    """What was done to the index of devices."""

    records = whole("How many devices there are.")
    put = whole("Lines that lacked.")
    taken = whole("Lines that were too many.")


MENDED: Json = {"records": 100, "put": 3, "taken": 1}


class RecoveredSchema(AnswerSchema):
    """What was begun, or would be."""

    cluster = text("The cluster's id.")
    known = text("The id that this manager remembers.", allow_none=True)
    above_epoch = whole("The highest epoch that is known to have been.")
    above_rev = whole("The highest revision that is known to have been.")
    kept = flag("Whether the store's records are there, and only what they belong to was lost.")
    epoch = text("The new epoch; null: a dry run.", allow_none=True)


RECOVERED: Json = {
    "cluster": CLUSTER, "known": CLUSTER, "above_epoch": 2, "above_rev": 4711, "kept": False, "epoch": EPOCH,
}  # fmt: skip


class BrakeSchema(AnswerSchema):
    """Whether rescheduling is held."""

    engaged = anything("Since when, and why; null: it is not.", allow_none=True)
    release = whole("How often a release was asked for.")
    released = whole("Up to which of them it has been released.")


class ReleasedSchema(BrakeSchema):
    """The brake, after its release was asked for."""

    asked = flag("Whether there was anything to release.")


A_BRAKE: Json = {"engaged": None, "release": 1, "released": 1}


class RestoredSchema(AnswerSchema):
    """What is in a backup, and what putting it in place undoes, or has undone."""

    file = anything("What is in the file.")
    store = anything("What is in the store; null: it is empty.", allow_none=True)
    differences = anything(
        "By collection: what was `made` or `changed` since, what would be `back`, what would run `again`."
    )
    restored = anything("The new epoch and revision; missing: a dry run.", required=False)


_HELD: Json = {
    "cluster": CLUSTER,
    "epoch": "2-9a0e",
    "rev": 4711,
    "templates": 3,
    "deployments": 5,
    "nodes": 3,
}
RESTORED: Json = {
    "file": {"server": "redis 7.2.4", "made": 1767225600, **_HELD}, "store": _HELD,
    "differences": {"templates": {"made": {"count": 1, "names": ["etl"]}}},
}  # fmt: skip


class CountsSchema(AnswerSchema):
    """What became of the records of one kind."""

    made = fields.Integer(required=True)
    same = fields.Integer(required=True)
    replaced = fields.Integer(required=True)
    skipped = fields.Integer(required=True)
    conflicts = fields.Integer(required=True)
    about: ClassVar[dict[str, str]] = {
        "made": "Were not here.",
        "same": "Were here already, and are the same.",
        "replaced": "Were here, and were replaced.",
        "skipped": "Were here, and were left as they are.",
        "conflicts": "Are here, and say something else.",
    }


class ConflictSchema(AnswerSchema):
    """A record that is here, and says something else."""

    kind = fields.String(required=True)
    name = fields.String(required=True)
    why = fields.String(required=True)
    then = fields.String(required=True)
    about: ClassVar[dict[str, str]] = {
        "kind": "What it is.",
        "name": "Its name or id.",
        "why": "What is different.",
        "then": "What became of it, or would.",
    }


class ImportedSchema(AnswerSchema):
    """What an import did, or would do."""

    mode = fields.String(required=True)
    dry_run = fields.Boolean(required=True)
    cluster = fields.String(required=True)
    records = fields.Dict(keys=fields.String(), values=fields.Nested(CountsSchema), required=True)
    conflicts = fields.List(fields.Nested(ConflictSchema), required=True)
    stops = fields.List(fields.String())
    epoch = fields.String(allow_none=True)
    about: ClassVar[dict[str, str]] = {
        "mode": "How records that are here already were met.",
        "dry_run": "Whether nothing was written.",
        "cluster": "The cluster that the records come from.",
        "records": "By kind, what became of them.",
        "conflicts": "The first records that are here and say something else.",
        "stops": "A dry run: what it would stop much of, which needs `confirm=true`.",
        "epoch": "The epoch that began with it.",
    }


IMPORTED: Json = {
    "mode": "merge", "dry_run": True, "cluster": "7d3f0c1e9a4b4d7c8f6e5a4b3c2d1e0f",
    "records": {"templates": {"made": 2, "same": 0, "replaced": 0, "skipped": 0, "conflicts": 0}},
    "conflicts": [], "epoch": None, "stops": [],
}  # fmt: skip


class ArtifactRowSchema(AnswerSchema):
    """A file on the server of `--sftp-host`."""

    name = text("Its name under the base.")
    size = whole("Bytes.", allow_none=True)
    modified = number("Seconds since 1970.", allow_none=True)
    templates = fields.List(fields.String(), required=True)
    link = text("Where it leads, if it is a link.", required=False)
    about: ClassVar[dict[str, str]] = {"templates": "Templates whose newest version names it."}


A_FILE: Json = {"name": "apps/etl-1.4.tar.gz", "size": 1048576, "modified": 1767225600, "templates": ["etl"]}


class UploadedSchema(AnswerSchema):
    """A file that was put there."""

    name = text("Its name under the base.")
    size = whole("Bytes.")
    sha256 = text("What arrived, in hexadecimal.")
    pinned_otherwise = fields.List(fields.String())
    about: ClassVar[dict[str, str]] = {"pinned_otherwise": "Templates that want it to be another one."}


UPLOADED: Json = {
    "name": "apps/etl-1.4.tar.gz", "size": 1048576, "sha256": 64 * "0", "pinned_otherwise": [],
}  # fmt: skip


class NamedSchema(AnswerSchema):
    """A file that is gone."""

    name = text("Its name under the base.")


class GroupExplainedSchema(AnswerSchema):
    """Where the allocations of a task group are, and why."""

    name = text("Which group.")
    wanted = whole("How many there are to be.")
    placed = whole("How many there are.")
    up = whole("How many of them are up.")
    allocations = fields.List(fields.Dict(), required=True)
    left_out = whole("Allocations that are not named, for there are too many.")
    missing = fields.List(fields.Dict(), required=True)
    about: ClassVar[dict[str, str]] = {
        "allocations": "Where each is, and why.",
        "missing": "What has no node, and for each node why not.",
    }


class ExplainedSchema(AnswerSchema):
    """Why a deployment is as it is."""

    id = text("Its id.")
    template = text("Its template.")
    wanted = text("`running` or `stopped`.")
    status = text("Its state.")
    reason = text("Why it is in that state.")
    release = anything("Version and parameters that it is brought to.", allow_none=True)
    rollout = anything("How far its update is.", allow_none=True)
    waits = fields.List(fields.String(), required=True)
    groups = fields.List(fields.Nested(GroupExplainedSchema), required=True)
    stopping = fields.List(fields.Dict(), required=True)
    about: ClassVar[dict[str, str]] = {
        "waits": "What keeps it from moving, or will end it.",
        "groups": "Its task groups.",
        "stopping": "What of it is being stopped.",
    }
