"""What is answered about nodes."""

from typing import ClassVar

from marshmallow import fields, validate

from manager_api.http.frame.answer_fields import anything, number, text, whole
from manager_api.http.frame.answers import AnswerSchema, listed
from store.codec import Json
from store.model import noderecord

A_ROW: Json = {
    "id": "web-1", "ip": "192.168.1.100", "hostname": "web-1", "version": "0.3.0", "status": 0,
    "resources": "cpu_usage_percent:50,memory_usage_percent:30", "frozen": None,
    "labels": {"zone": "a"}, "groups": ["edge"], "scheduling": "ready",
    "cpu_percent": 49.6, "memory_percent": 30.4, "disk_percent": 12.0, "last_seen": 1767225600.0,
    "applied_rev": 4711, "running": 3, "unclaimed": 0,
}  # fmt: skip
A_NODE: Json = {
    **A_ROW, "uid": "6a1f0c4e2b", "addresses": ["192.168.1.100"], "features": ["ports"],
    "joined": 1767139200.0, "beat": None, "allocations": [],
}  # fmt: skip


class DrainStateSchema(AnswerSchema):
    """How far a node's drain has come."""

    since = number("When it was asked for, seconds since 1970.", required=False)
    deadline = number(
        "Seconds after `since` at which what is left is stopped.", required=False, allow_none=True
    )
    state = text("What the leader says of it.", required=False)
    left = whole("Allocations that are still there.", required=False)
    of = whole("Of how many.", required=False)
    reason = text("What it waits for.", required=False)


class CordonStateSchema(AnswerSchema):
    """That a node takes no new work."""

    since = number("Since when, seconds since 1970.", required=False)
    reason = text("What was said of it.", required=False)


class NodeRowSchema(AnswerSchema):
    """A node, as lists show it. What its heartbeat says is missing while it is offline."""

    id = text("Its id.")
    ip = text("The address by which it is known.")
    hostname = text("As the machine calls itself.")
    version = text("Its agent's.")
    status = whole("0: online, 1: offline.", validate=validate.OneOf([0, 1]))
    resources = text("Use of the whole machine, rounded: exactly these two pairs; zeros while offline.")
    frozen = text("Why its agent obeys no orders; null: it does.", allow_none=True)
    labels = anything("What its agent claims, overlaid by what people said.")
    groups = fields.List(
        fields.String(), required=True, metadata={"description": "Groups it is in, by name."}
    )
    scheduling = text("Whether it takes work.", validate=validate.OneOf(noderecord.WORDS))
    unknown = text(  # type: ignore[assignment]  # marshmallow keeps it apart
        "Why it is not known whether it is online.", required=False
    )
    cpu_percent = number("Use of its processors.", required=False)
    memory_percent = number("Use of its memory.", required=False)
    disk_percent = number("Use of the disk that its agent's data is on.", required=False)
    last_seen = number("The time in its heartbeat, seconds since 1970.", required=False)
    applied_rev = whole("The revision of the orders that it has taken in.", required=False)
    running = whole("Tasks that run there.", required=False)
    unclaimed = whole("Tasks that run there and are nobody's.", required=False)
    load = fields.List(  # type: ignore[assignment]  # marshmallow keeps it apart
        fields.Float(), metadata={"description": "Of its last 1, 5 and 15 minutes, as the kernel tells it."}
    )
    disk_total = whole("Bytes.", required=False)
    disk_used = whole("Bytes.", required=False)
    memory_total = whole("Bytes.", required=False)
    memory_used = whole("Bytes.", required=False)
    removal = text("What its removal waits for.", required=False)
    drain = fields.Nested(DrainStateSchema)
    about: ClassVar[dict[str, str]] = {"drain": "While it is drained: how far that has come."}


class OrderSchema(AnswerSchema):
    """What a node is told to run, or to stop."""

    id = text("The allocation's id.")
    deployment = text("Whose it is.", allow_none=True)
    template = text("Of which template.", allow_none=True)
    group = text("Of which task group.", allow_none=True)
    index = whole("Which one of the group.", allow_none=True)
    wanted = text("`running` or `stopped`.", allow_none=True)
    generation = whole("Rises with every restart and update.", allow_none=True)


class NodeSchema(NodeRowSchema):
    """A node, with all that is known of it."""

    uid = text("Tells it from another machine of the same name.")
    addresses = fields.List(fields.String(), required=True)
    features = fields.List(fields.String(), required=True)
    joined = number("When it joined first, seconds since 1970.")
    own_labels = anything("Labels that its agent claims.", required=False)
    device = text("The id of its device in the inventory.", required=False)
    facts = anything("What rules of groups may ask of it, as far as it is known.", required=False)
    cordoned = fields.Nested(CordonStateSchema)
    removing = number("When its removal was asked for, seconds since 1970.", required=False)
    beat = anything("Its heartbeat as it is; null: there is none.", allow_none=True)
    allocations = fields.List(fields.Nested(OrderSchema), required=True)
    about: ClassVar[dict[str, str]] = {
        "addresses": "Its addresses.",
        "features": "What its agent understands.",
        "cordoned": "Since when it takes no new work, and why.",
        "allocations": "What it is told to run or to stop.",
    }


class ContractNodesSchema(AnswerSchema):
    """All nodes, by id."""

    nodes = fields.List(
        fields.Nested(NodeRowSchema), required=True, metadata={"description": "All nodes, by id."}
    )


NODE_LIST = listed(NodeRowSchema, "Nodes")


class GoingSchema(AnswerSchema):
    """A node that is on its way out."""

    id = text("Its id.")
    scheduling = text("`removing`.")


class StoreAccessSchema(AnswerSchema):
    """Where a node finds the store, and who it is there."""

    url = text("The store's URL, as the caller can reach it.")
    username = text("The node's own user.", allow_none=True)
    password = text("null: it is the secret whose digest was sent.", allow_none=True)
    warning = text("What this store cannot do.", required=False)
    presence = text("Where to send heartbeats, if that is another store.", required=False)


class JoinedSchema(AnswerSchema):
    """A node that has been taken in."""

    node = text("Its id.")
    cluster = text("The cluster's id.")
    store = fields.Nested(StoreAccessSchema, required=True)
    spread = number("Seconds over which agents spread their reconnecting.")
    about: ClassVar[dict[str, str]] = {"store": "Where the store is."}


JOINED: Json = {
    "node": "web-1", "cluster": "8c3f0c9f6b6c4b2a9a5d0e7f1c2b3a4d",
    "store": {"url": "redis://192.168.1.10:8082/0", "username": "node-web-1", "password": None},
    "spread": 1.0,
}  # fmt: skip


A_JOIN: Json = {
    "id": "web-1", "uid": "6a1f0c4e2b", "hostname": "web-1", "addresses": ["192.168.1.100"],
    "secret_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "version": "0.3.0",
    "features": ["ports"], "labels": {"zone": "a"},
}  # fmt: skip


class LeavingSchema(AnswerSchema):
    """What would become of one allocation."""

    id = text("Its id.", required=False)
    node = text("Where it is, or would go.", required=False, allow_none=True)
    why = text("Why.", required=False)


class ShareSchema(AnswerSchema):
    """How much of a task group is on the node."""

    deployment = text("Whose it is.")
    group = text("Which group.")
    here = whole("Allocations on this node.")
    of = whole("Of how many.")


class DrainPlanSchema(AnswerSchema):
    """What a drain would move, and where to."""

    node = text("The node's id.")
    allocations = fields.List(fields.Nested(LeavingSchema), required=True)
    left_out = whole("Allocations that are not named, for there are too many.")
    groups = fields.List(fields.Nested(ShareSchema), required=True)
    about: ClassVar[dict[str, str]] = {
        "allocations": "What is there, and what would become of it.",
        "groups": "How much of each task group is there.",
    }


class DrainedSchema(AnswerSchema):
    """The node; with `dry_run`, what its drain would move."""

    alternatives: ClassVar[tuple[type[AnswerSchema], ...]] = (NodeSchema, DrainPlanSchema)
