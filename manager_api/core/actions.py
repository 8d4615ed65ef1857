"""What a plan asks for. Every action says why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Accept a deployment: write its allocations and its first status, if it is still as planned for."""

    deployment: str
    rev: int
    allocations: Mapping[str, Json]
    status: Json
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse a deployment, with a reason for every node."""

    deployment: str
    rev: int
    status: Json
    reason: str


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write a deployment's state; `rev` is that of the status planned from (0: none)."""

    deployment: str
    rev: int
    status: Json
    reason: str


@dataclass(frozen=True, slots=True)
class Reorder:
    """Write allocations anew: stopped, restarted, limited otherwise; with the revisions planned from."""

    deployment: str
    allocations: Mapping[str, tuple[int, Json]]
    reason: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete records whose work is over: (collection, field, revision planned from)."""

    subject: str
    records: tuple[tuple[str, str, int], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make unclaimed work part of its deployment: allocations and status, and the claims are done with.

    Revisions planned from: the deployment's, its status' (0: none), each claim's.
    """

    deployment: str
    rev: int
    status_rev: int
    allocations: Mapping[str, Json]
    claims: Mapping[str, int]
    status: Json
    reason: str = "adopted, as asked for"


@dataclass(frozen=True, slots=True)
class Project:
    """Write and delete desired entries of one node."""

    node: str
    uid: str
    puts: Mapping[str, Json]
    deletes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """Take some steps of a deployment at once: allocations written, its status with them.

    `puts` are allocations with the revisions planned from (0: a new one, whose number `status` has counted);
    they may be of other deployments, which make room. `why` says why of each. Revisions planned from: the
    deployment's, its status'.
    """

    deployment: str
    rev: int
    status_rev: int
    puts: Mapping[str, tuple[int, Json]]
    status: Json
    why: Mapping[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Plan this deployment again at `at` (steady seconds), whatever happens until then."""

    deployment: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class SetNodeStatus:
    """Write how far a node's drain has come into its status (None: it is not drained); the rest stays."""

    node: str
    drain: Json | None
    reason: str


@dataclass(frozen=True, slots=True)
class SetControl:
    """Write the leader's word on something that holds for the whole fleet: a field of `controls:status`.

    `quiet`: only the next leader has to know.
    """

    name: str
    record: Json
    reason: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Complain:
    """Have it said, seldom enough, that something cannot be planned: its records make no sense to us."""

    what: str
    """`deployment` or `node`."""
    subject: str
    reason: str


Action = (
    Place
    | Refuse
    | SetStatus
    | Reorder
    | Collect
    | Adopt
    | Project
    | Advance
    | Wake
    | SetNodeStatus
    | SetControl
    | Complain
)
