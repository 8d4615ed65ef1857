"""What the API takes and answers, as types.

Generated from the API's description by `make client`: do not change it here.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class About(TypedDict):
    """What answers here."""

    name: str
    version: str
    message: str
    workspaces: str | None
    """The template of workspaces, if there is one."""
    links: dict[str, str]


class Amount(TypedDict):
    """An amount of a node's resources."""

    memory: NotRequired[str | int]
    """Bytes, or a size such as `512M`; 1024-based."""
    cpus: NotRequired[float | str]
    """Processors, such as 0.5."""


class Artifact(TypedDict):
    """As the API has it: `Artifact`."""

    source: str
    """Where it comes from: a URL (sftp, http, https, file), or a path under `--sftp-host`."""
    sha256: NotRequired[str | None]
    """What it must be, in hexadecimal; without it, whatever is there."""
    extract: NotRequired[bool]
    """Unpack it: a tar, compressed or not, or a zip."""
    to: NotRequired[str | None]
    """Where it lands, under the task's directory; without it, by its own name."""
    mode: NotRequired[str | None]
    """The file's mode, in octal and as a text."""
    owner: NotRequired[str | None]
    """Whose it is; without it, the task's user."""
    fingerprint: NotRequired[str | None]
    """The host key of an sftp server, as `ssh-keygen -l` prints it."""


class ArtifactRow(TypedDict):
    """A file on the server of `--sftp-host`."""

    name: str
    """Its name under the base."""
    size: int | None
    """Bytes."""
    modified: float | None
    """Seconds since 1970."""
    templates: list[str]
    """Templates whose newest version names it."""
    link: NotRequired[str]
    """Where it leads, if it is a link."""


class Artifacts(TypedDict):
    """A list, or a page of one."""

    data: list[ArtifactRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""
    complete: bool
    """Whether these are all: a server with very many is not read to the end."""


class Begun(TypedDict):
    """A workspace that was asked for."""

    id: str
    """The deployment that it is."""
    user_id: str
    name: str
    """The deployment's name."""
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    url: str | None
    """null: not known yet, or not any more."""
    node: str | None
    port: int | None
    created: float
    """Seconds since 1970."""
    ends: float | None
    """When its ttl is over; null: never."""
    reason: str
    template: str
    version: int
    message: str
    made: bool
    """false: it was there already."""


class Brake(TypedDict):
    """Whether rescheduling is held."""

    engaged: dict[str, Any] | None
    """Since when, and why; null: it is not."""
    release: int
    """How often a release was asked for."""
    released: int
    """Up to which of them it has been released."""


class Claimed(TypedDict):
    """What was claimed."""

    id: str
    """Id of the deployment."""
    allocations: list[str]
    """`<node>/<allocation>`."""


class CleanUp(TypedDict):
    """`{"images"?: true}`."""

    images: NotRequired[bool]
    """Remove images that nothing uses from every node, too."""


class CleanedUp(TypedDict):
    """What goes."""

    removed: list[str]
    """Ended workspaces that are forgotten now."""
    images: str | None
    """The deployment that removes unused images; its logs say which."""


class Config(TypedDict):
    """What a task runs. A container may leave the command to its image."""

    command: NotRequired[str | list[str]]
    """What runs: a list of words, or a text split as a shell would, without a shell. `HOST:/path` at
    its start pins the task to that node."""
    args: NotRequired[list[str]]
    """Further words after the command."""
    env: NotRequired[dict[str, str | float]]
    """Environment variables; numbers become text."""
    cwd: NotRequired[str | None]
    """The directory to run in."""
    user: NotRequired[str | None]
    """As whom: `name`, `name:group`, `uid`, `uid:gid`."""
    umask: NotRequired[str]
    """The mask of new files, in octal and as a text."""
    driver: NotRequired[Literal["process", "container"]]
    """`process` (the default) or `container`."""
    image: NotRequired[str]
    """The container's image."""
    mounts: NotRequired[list[str]]
    """`/host:/inside`, perhaps with `:ro`."""
    ports: NotRequired[list[str]]
    """Published ports of a container: `8080:80`."""
    network: NotRequired[str]
    """`none`, `host`, `bridge`, or a network that the engine knows."""
    node: NotRequired[str | None]
    """Pins the task to a node: its id, host name or address."""


class Confirm(TypedDict):
    """`{}`, or `{"confirm": true}`."""

    confirm: NotRequired[bool]
    """Do it although it touches much at once."""


class Conflict(TypedDict):
    """A record that is here, and says something else."""

    kind: str
    """What it is."""
    name: str
    """Its name or id."""
    why: str
    """What is different."""
    then: str
    """What became of it, or would."""


class ContractNodes(TypedDict):
    """All nodes, by id."""

    nodes: list[NodeRow]
    """All nodes, by id."""


class Cordon(TypedDict):
    """`{"reason"?: …}`."""

    reason: NotRequired[str]
    """For people; shown with the node."""


class CordonState(TypedDict):
    """That a node takes no new work."""

    since: NotRequired[float]
    """Since when, seconds since 1970."""
    reason: NotRequired[str]
    """What was said of it."""


class Counts(TypedDict):
    """What became of the records of one kind."""

    made: int
    """Were not here."""
    same: int
    """Were here already, and are the same."""
    replaced: int
    """Were here, and were replaced."""
    skipped: int
    """Were here, and were left as they are."""
    conflicts: int
    """Are here, and say something else."""


class Create(TypedDict):
    """A new deployment."""

    template: str
    """Which template."""
    version: NotRequired[int]
    """Which version of it; the newest by default."""
    name: NotRequired[str]
    """Unique among living deployments: again with the same name is the same deployment."""
    parameters: NotRequired[dict[str, str | float | bool]]
    """Values for what the template leaves open."""
    ttl: NotRequired[str]
    """After this time it is stopped."""
    wait: NotRequired[bool]
    """Wait for the decision, 2 s at most; true by default."""
    scale: NotRequired[dict[str, int]]
    """Other counts of groups than the template's."""


class Created(TypedDict):
    """A deployment that was asked for."""

    id: str
    """Id of the deployment."""
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    """Its state when the call was answered."""
    created: bool
    """False: the deployment of that name was there already."""
    name: NotRequired[str]
    """The name that it was given."""


class Deployment(TypedDict):
    """A deployment with its tasks."""

    id: str
    """Id of the deployment."""
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    """State of the deployment."""
    template: str
    """Name of its template."""
    version: int
    """Version of the template that was asked for."""
    created: float
    """When it was asked for, seconds since 1970."""
    tasks: list[TaskState]
    """Its tasks; of a large deployment, lists have none."""
    tasks_left_out: NotRequired[int]
    """Tasks that are not shown."""
    reason: str
    """Why it is in that state, in words."""
    name: NotRequired[str]
    """Its own name, if it was given one."""
    parameters: NotRequired[dict[str, Any]]
    """Values of the template's parameters."""
    groups: NotRequired[dict[str, Any]]
    """Of each task group, how many are `wanted`, `placed` and `up`."""
    nodes: NotRequired[list[dict[str, Any]]]
    """Why nodes cannot take what is missing: `node`, `reason`."""
    scale: NotRequired[dict[str, Any]]
    """Instances by task group, where they were asked for."""
    rollout: NotRequired[dict[str, Any]]
    """How its last update goes: `state`, `change`, `reason`."""
    release: NotRequired[dict[str, Any]]
    """What is run where that is not what was asked for."""
    change: NotRequired[int]
    """Number of its newest change; missing: there was none."""
    stable: NotRequired[dict[str, Any]]
    """The release that it goes back to."""
    missing: NotRequired[list[dict[str, Any]]]
    """The first instances that have no place: `group`, `index`, `nodes` with reasons."""
    ends: NotRequired[float]
    """When its ttl is over, seconds since 1970."""
    expired: NotRequired[bool]
    """Whether it ended because its time was over."""
    ttl: NotRequired[float]
    """How long it may live, in seconds."""
    paused: NotRequired[bool]
    """Whether its updates are held."""
    wait: NotRequired[bool]
    """Whether it waits for room instead of being refused."""


class DeploymentId(TypedDict):
    """The id of a deployment."""

    id: str
    """Id of the deployment."""


class Deployments(TypedDict):
    """A list, or a page of one."""

    data: list[Deployment]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Device(TypedDict):
    """A device as it is made: all that the contract knows, but for the id."""

    name: str
    """What people call it."""
    type: str
    """What kind of device it is."""
    hardware: Hardware
    """What it is made of."""
    software: Software
    """What runs on it."""
    nic: list[Nic]
    """Its network interfaces."""
    status: str
    """Of a node: by its heartbeat."""


class DeviceChange(TypedDict):
    """Contract 5's PUT: the id is in the body."""

    id: str
    """Which device."""
    name: NotRequired[str]
    """What people call it."""
    type: NotRequired[str]
    """What kind of device it is."""
    hardware: NotRequired[HardwarePatch]
    """What it is made of."""
    software: NotRequired[SoftwarePatch]
    """What runs on it."""
    nic: NotRequired[list[Nic]]
    """Its network interfaces."""
    status: NotRequired[str]
    """Not of a device that is a node: 409."""
    groups: NotRequired[list[str]]
    """As it was answered: passed over. Memberships change it."""
    node: NotRequired[str]
    """As it was answered: passed over."""
    edited: NotRequired[list[str]]
    """As it was answered: passed over."""


class DeviceChanged(TypedDict):
    """As the API has it: `DeviceChanged`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: DeviceRow
    """As it is now."""


class DeviceGone(TypedDict):
    """As the API has it: `DeviceGone`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    ids: list[str]
    """What went."""
    kept: NotRequired[dict[str, str]]
    """Why others stay, by id."""


class DeviceGroupChange(TypedDict):
    """Contract 5's PUT: the id is in the body."""

    id: str
    """Which group."""
    name: NotRequired[str]
    """Unique."""
    description: NotRequired[str | None]
    """What it is for."""
    rule: NotRequired[DeviceGroupChangeRule | None]
    """Nodes that meet all conditions belong to the group, beside its members."""
    confirm: NotRequired[bool]
    """Needed where this stops more than half of what a deployment has on every node of a group."""


class DeviceGroupChangeRule(TypedDict):
    """Nodes that meet all conditions belong to the group, beside its members."""

    labels: NotRequired[dict[str, str | list[str]]]
    """What a node's labels must be."""
    facts: NotRequired[DeviceGroupChangeRuleFacts]
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""


class DeviceGroupChangeRuleFacts(TypedDict):
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""

    cores: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    memory: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    disk: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    agent: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    kernel: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    os: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    machine: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    model: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    sn: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    hostname: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    node: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""


class DeviceGroupMade(TypedDict):
    """The same, as it is asked for."""

    name: str
    """Unique."""
    description: NotRequired[str]
    """What it is for."""
    rule: NotRequired[DeviceGroupMadeRule]
    """Nodes that meet all conditions belong to the group, beside its members."""
    confirm: NotRequired[bool]
    """Needed where this stops more than half of what a deployment has on every node of a group."""


class DeviceGroupMadeRule(TypedDict):
    """Nodes that meet all conditions belong to the group, beside its members."""

    labels: NotRequired[dict[str, str | list[str]]]
    """What a node's labels must be."""
    facts: NotRequired[DeviceGroupMadeRuleFacts]
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""


class DeviceGroupMadeRuleFacts(TypedDict):
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""

    cores: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    memory: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    disk: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    agent: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    kernel: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    os: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    machine: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    model: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    sn: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    hostname: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    node: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""


class DeviceGroupPatch(TypedDict):
    """What is to change of a group; null takes description or rule away."""

    id: NotRequired[str]
    """As in the path."""
    name: NotRequired[str]
    """Unique."""
    description: NotRequired[str | None]
    """What it is for."""
    rule: NotRequired[DeviceGroupPatchRule | None]
    """Nodes that meet all conditions belong to the group, beside its members."""
    confirm: NotRequired[bool]
    """Needed where this stops more than half of what a deployment has on every node of a group."""


class DeviceGroupPatchRule(TypedDict):
    """Nodes that meet all conditions belong to the group, beside its members."""

    labels: NotRequired[dict[str, str | list[str]]]
    """What a node's labels must be."""
    facts: NotRequired[DeviceGroupPatchRuleFacts]
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""


class DeviceGroupPatchRuleFacts(TypedDict):
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""

    cores: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    memory: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    disk: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    agent: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    kernel: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    os: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    machine: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    model: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    sn: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    hostname: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    node: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""


class DeviceGroupRow(TypedDict):
    """A group as it is answered."""

    name: str
    """Unique."""
    description: NotRequired[str]
    """What it is for."""
    rule: NotRequired[DeviceGroupRowRule]
    """Nodes that meet all conditions belong to the group, beside its members."""
    id: str
    """Made here; never given twice."""


class DeviceGroupRowRule(TypedDict):
    """Nodes that meet all conditions belong to the group, beside its members."""

    labels: NotRequired[dict[str, str | list[str]]]
    """What a node's labels must be."""
    facts: NotRequired[DeviceGroupRowRuleFacts]
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""


class DeviceGroupRowRuleFacts(TypedDict):
    """What must be known of a node: `*` and `?` stand for any text; numbers, sizes and versions are
    compared: `>=8G <64G`."""

    cores: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    memory: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    disk: NotRequired[float | str | list[float | str]]
    """one value, or a list of those that will do"""
    agent: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    kernel: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    os: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    machine: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    model: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    sn: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    hostname: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""
    node: NotRequired[str | list[str]]
    """one value, or a list of those that will do"""


class DeviceMade(TypedDict):
    """As the API has it: `DeviceMade`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: str
    """The new id."""


class DevicePatch(TypedDict):
    """What is to change of a device; `nic` is replaced as a whole, `hardware` and `software` key by
    key. Who read a device may give all of it back: what only Muster says of it is passed over."""

    id: NotRequired[str]
    """As in the path."""
    name: NotRequired[str]
    """What people call it."""
    type: NotRequired[str]
    """What kind of device it is."""
    hardware: NotRequired[HardwarePatch]
    """What it is made of."""
    software: NotRequired[SoftwarePatch]
    """What runs on it."""
    nic: NotRequired[list[Nic]]
    """Its network interfaces."""
    status: NotRequired[str]
    """Not of a device that is a node: 409."""
    groups: NotRequired[list[str]]
    """As it was answered: passed over. Memberships change it."""
    node: NotRequired[str]
    """As it was answered: passed over."""
    edited: NotRequired[list[str]]
    """As it was answered: passed over."""


class DeviceRelease(TypedDict):
    """Which fields go back; none named: all that people edited."""

    fields: NotRequired[
        list[
            Literal[
                "name",
                "type",
                "nic",
                "hardware.model",
                "hardware.sn",
                "hardware.cores",
                "hardware.memory",
                "hardware.disks",
                "software.version",
                "software.last_update",
                "software.kernel",
                "software.agent",
            ]
        ]
    ]
    """Names as in `edited`; missing: all."""


class DeviceRow(TypedDict):
    """A device as it is answered."""

    name: str
    """What people call it."""
    type: str
    """What kind of device it is."""
    hardware: Hardware
    """What it is made of."""
    software: Software
    """What runs on it."""
    nic: list[Nic]
    """Its network interfaces."""
    status: str
    """Of a node: by its heartbeat."""
    id: str
    """Made here; no other device has it, or will have."""
    node: NotRequired[str]
    """The node that this device is."""
    groups: NotRequired[list[str]]
    """The groups that it is a member of, if it is in any."""
    edited: NotRequired[list[str]]
    """What people said of a node's device, and its agent no longer changes."""


class DevicesFound(TypedDict):
    """As the API has it: `DevicesFound`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: list[DeviceRow]
    """The records."""
    total: int
    """Records that match, on whatever page."""
    next: str | None
    """`cursor` of the next page; null: that was all."""


class DevicesGone(TypedDict):
    """As the API has it: `DevicesGone`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    ids: list[str]
    """What went."""
    kept: NotRequired[dict[str, str]]
    """Why others stay, by id."""


class DevicesPage(TypedDict):
    """A list, or a page of one."""

    data: list[DeviceRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Disk(TypedDict):
    """`{"name", "bytes"}`: one disk of a node."""

    name: str
    """As the kernel calls it."""
    bytes: int
    """How large it is."""


class Drain(TypedDict):
    """`{"deadline"?: "10m", "dry_run"?: …, "confirm"?: …}`."""

    deadline: NotRequired[str | None]
    """After this time what has not moved is stopped; null: it may take as long as it needs."""
    dry_run: NotRequired[bool]
    """Say what would become of what runs there; change nothing."""
    confirm: NotRequired[bool]
    """Do it although it touches much at once."""


class DrainPlan(TypedDict):
    """What a drain would move, and where to."""

    node: str
    """The node's id."""
    allocations: list[Leaving]
    """What is there, and what would become of it."""
    left_out: int
    """Allocations that are not named, for there are too many."""
    groups: list[Share]
    """How much of each task group is there."""


class DrainState(TypedDict):
    """How far a node's drain has come."""

    since: NotRequired[float]
    """When it was asked for, seconds since 1970."""
    deadline: NotRequired[float | None]
    """Seconds after `since` at which what is left is stopped."""
    state: NotRequired[str]
    """What the leader says of it."""
    left: NotRequired[int]
    """Allocations that are still there."""
    of: NotRequired[int]
    """Of how many."""
    reason: NotRequired[str]
    """What it waits for."""


class Event(TypedDict):
    """Something that happened."""

    id: str
    """Its id: where a reader goes on."""
    time: float
    """When, by the clock of who tells it; seconds since 1970."""
    kind: str
    """What, from the general to the special: `node.offline`."""
    subject: dict[str, Any]
    """Whom it is about: `deployment`, `allocation`, `node`, `template`."""
    reason: str
    """Why, in words."""
    actor: str
    """Who tells it."""
    epoch: str
    """The history of the store that it belongs to."""
    data: NotRequired[dict[str, Any]]
    """A few more facts."""


class Events(TypedDict):
    """A page of events."""

    data: list[Event]
    """The events, in their order."""
    next: str | None
    """`cursor` of the next page; null: that was all."""


class Explained(TypedDict):
    """Why a deployment is as it is."""

    id: str
    """Its id."""
    template: str
    """Its template."""
    wanted: str
    """`running` or `stopped`."""
    status: str
    """Its state."""
    reason: str
    """Why it is in that state."""
    release: dict[str, Any] | None
    """Version and parameters that it is brought to."""
    rollout: dict[str, Any] | None
    """How far its update is."""
    waits: list[str]
    """What keeps it from moving, or will end it."""
    groups: list[GroupExplained]
    """Its task groups."""
    stopping: list[dict[str, Any]]
    """What of it is being stopped."""


class Finding(TypedDict):
    """One thing that was looked at."""

    name: str
    """Which one."""
    severity: Literal["refuse", "wrong", "warn", "ok"]
    """How bad it is."""
    cure: str
    """What to do about it; empty: nothing."""
    text: str
    """What is so."""


class Going(TypedDict):
    """A node that is on its way out."""

    id: str
    """Its id."""
    scheduling: str
    """`removing`."""


class GroupChanged(TypedDict):
    """As the API has it: `GroupChanged`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: DeviceGroupRow
    """As it is now."""


class GroupExplained(TypedDict):
    """Where the allocations of a task group are, and why."""

    name: str
    """Which group."""
    wanted: int
    """How many there are to be."""
    placed: int
    """How many there are."""
    up: int
    """How many of them are up."""
    allocations: list[dict[str, Any]]
    """Where each is, and why."""
    left_out: int
    """Allocations that are not named, for there are too many."""
    missing: list[dict[str, Any]]
    """What has no node, and for each node why not."""


class GroupGone(TypedDict):
    """As the API has it: `GroupGone`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    ids: list[str]
    """What went."""
    kept: NotRequired[dict[str, str]]
    """Why others stay, by id."""


class GroupMade(TypedDict):
    """As the API has it: `GroupMade`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: str
    """The new id."""


class Groups(TypedDict):
    """`{"groups": {"edge": true, "lab": false}}`."""

    groups: dict[str, bool]
    """Groups by name: whether the node is in it."""


class GroupsFound(TypedDict):
    """As the API has it: `GroupsFound`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: list[DeviceGroupRow]
    """The records."""
    total: int
    """Records that match, on whatever page."""
    next: str | None
    """`cursor` of the next page; null: that was all."""


class GroupsGone(TypedDict):
    """As the API has it: `GroupsGone`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    ids: list[str]
    """What went."""
    kept: NotRequired[dict[str, str]]
    """Why others stay, by id."""


class GroupsPage(TypedDict):
    """A list, or a page of one."""

    data: list[DeviceGroupRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Hardware(TypedDict):
    """The same, whole."""

    model: str
    """May be empty."""
    sn: str
    """The serial number; empty if it is not known."""
    cores: NotRequired[int]
    """Processors of a node."""
    memory: NotRequired[int]
    """Bytes of a node's memory."""
    disks: NotRequired[list[Disk]]
    """Disks of a node."""


class HardwarePatch(TypedDict):
    """Some of what is known of the hardware. Only `model` and `sn` are the contract's."""

    model: NotRequired[str]
    """May be empty."""
    sn: NotRequired[str]
    """The serial number; empty where it cannot be read."""
    cores: NotRequired[int]
    """Processors of a node."""
    memory: NotRequired[int]
    """Bytes of a node's memory."""
    disks: NotRequired[list[Disk]]
    """Disks of a node."""


class Health(TypedDict):
    """That something answers."""

    status: str
    """`ok`."""
    version: str
    """Which Muster it is."""


class Healthcheck(TypedDict):
    """How it is found out whether a task is well, and what follows when it is not."""

    http: NotRequired[str]
    """A URL that must answer `status`, with `body` in it."""
    tcp: NotRequired[str | int]
    """`host:port` that must accept a connection."""
    exec: NotRequired[str | list[str]]
    """A command that must exit with 0."""
    status: NotRequired[str | int]
    """A status, or the least and the highest: `200-399`."""
    body: NotRequired[str]
    """A text that the answer must hold."""
    interval: NotRequired[str]
    """From one probe to the next."""
    timeout: NotRequired[str]
    """How long a probe may take."""
    retries: NotRequired[int]
    """How many must fail in a row."""
    start_period: NotRequired[str]
    """How long after a start failures do not count."""
    on_failure: NotRequired[Literal["restart", "report"]]
    """`restart` (the default), or only `report`."""
    test: NotRequired[str | list[str]]
    """Compose's form of `exec`: a text for a shell, or a list after CMD or CMD-SHELL."""


class Hooks(TypedDict):
    """Commands around each run of a task."""

    pre_start: NotRequired[str | list[str]]
    """Runs before each start, and must succeed."""
    post_stop: NotRequired[str | list[str]]
    """Runs after each end."""


class Id(TypedDict):
    """`{"id": …}`."""

    id: str
    """A deployment's id."""


class Ids(TypedDict):
    """Records that are to go; those that are not there are passed over."""

    ids: list[str]
    """Which are to go."""


class Imported(TypedDict):
    """What an import did, or would do."""

    mode: str
    """How records that are here already were met."""
    dry_run: bool
    """Whether nothing was written."""
    cluster: str
    """The cluster that the records come from."""
    records: dict[str, Counts]
    """By kind, what became of them."""
    conflicts: list[Conflict]
    """The first records that are here and say something else."""
    stops: NotRequired[list[str]]
    """A dry run: what it would stop much of, which needs `confirm=true`."""
    epoch: NotRequired[str | None]
    """The epoch that began with it."""


class Join(TypedDict):
    """What an agent says of itself when it joins. Newer agents may say more."""

    id: str
    """The node's id: its host name unless overridden."""
    uid: str
    """Random; tells two machines of one name apart."""
    hostname: str
    """As the machine calls itself."""
    addresses: list[str]
    """Its addresses, the best first."""
    secret_sha256: str
    """SHA-256 of the password of the node's own user at the store."""
    version: str
    """The agent's."""
    features: list[str]
    """What it understands."""
    labels: NotRequired[dict[str, str]]
    """Labels that its agent claims."""
    facts: NotRequired[JoinFacts | None]
    """What its machine is made of: its device's hardware, software and nic."""


class JoinFacts(TypedDict):
    """What its machine is made of: its device's hardware, software and nic."""

    hardware: NotRequired[JoinFactsHardware]
    software: NotRequired[JoinFactsSoftware]
    nic: NotRequired[list[JoinFactsNicItem]]


class JoinFactsHardware(TypedDict):
    """As the API has it: `JoinFactsHardware`."""

    model: NotRequired[str]
    sn: NotRequired[str]
    machine: NotRequired[str]
    cores: NotRequired[int]
    memory: NotRequired[int]
    disks: NotRequired[list[JoinFactsHardwareDisksItem]]


class JoinFactsHardwareDisksItem(TypedDict):
    """As the API has it: `JoinFactsHardwareDisksItem`."""

    name: NotRequired[str]
    bytes: NotRequired[int]


class JoinFactsNicItem(TypedDict):
    """As the API has it: `JoinFactsNicItem`."""

    type: NotRequired[str]
    mac: NotRequired[str]
    ipv4: NotRequired[str]


class JoinFactsSoftware(TypedDict):
    """As the API has it: `JoinFactsSoftware`."""

    version: NotRequired[str]
    kernel: NotRequired[str]


class Joined(TypedDict):
    """A node that has been taken in."""

    node: str
    """Its id."""
    cluster: str
    """The cluster's id."""
    store: StoreAccess
    """Where the store is."""
    spread: float
    """Seconds over which agents spread their reconnecting."""


class Labels(TypedDict):
    """`{"labels": {"zone": "a", "old": null}}`."""

    labels: dict[str, str | None]
    """Labels by key; null takes one away."""


class Leaving(TypedDict):
    """What would become of one allocation."""

    id: NotRequired[str]
    """Its id."""
    node: NotRequired[str | None]
    """Where it is, or would go."""
    why: NotRequired[str]
    """Why."""


class Limit(TypedDict):
    """Other limits for a task that runs."""

    task: str
    """The task's name."""
    limits: NewLimits
    """What it may use at most from now on."""


class Limited(TypedDict):
    """The limits of a task."""

    id: str
    """Id of the deployment."""
    task: str
    """Name of the task."""
    limits: dict[str, Any]
    """All of its limits: `memory`, `cpus`, `pids`."""


class Limits(TypedDict):
    """What a task may use at most."""

    memory: NotRequired[str | int]
    """Bytes, or a size such as `512M`; a task above it is killed, and said to have been."""
    cpus: NotRequired[float | str]
    """Processors, such as 0.5."""
    pids: NotRequired[int]
    """Processes and threads."""


class Logs(TypedDict):
    """How much of a task's output is kept."""

    max_size: NotRequired[str | int]
    """At which size the output is rotated."""
    max_files: NotRequired[int]
    """How many rotated files are kept."""
    max_age: NotRequired[str]
    """How long."""


class Membership(TypedDict):
    """A device and a group that it is to be in."""

    device_id: str
    """The device."""
    group_id: str
    """The group."""


class MembershipIds(TypedDict):
    """Memberships that are to go: by their ids, or one by both its ends."""

    ids: NotRequired[list[str]]
    """Which are to go."""
    device_id: NotRequired[str]
    """One end of the one that is to go."""
    group_id: NotRequired[str]
    """Its other end."""
    confirm: NotRequired[bool]
    """Needed where this stops more than half of what a deployment has on every node of a group."""


class MembershipMade(TypedDict):
    """As the API has it: `MembershipMade`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: str
    """The new id."""


class MembershipRow(TypedDict):
    """A membership as it is answered."""

    device_id: str
    """The device."""
    group_id: str
    """The group."""
    id: str
    """`<device>-<group>`."""


class Memberships(TypedDict):
    """All groups that a device is to be in. `group_id` is taken for `group_ids`."""

    device_id: str
    """The device."""
    group_ids: list[str] | str
    """The groups that it is to be in."""


class MembershipsChanged(TypedDict):
    """As the API has it: `MembershipsChanged`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: list[MembershipRow]
    """As it is now."""


class MembershipsFound(TypedDict):
    """As the API has it: `MembershipsFound`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    data: list[MembershipRow]
    """The records."""
    total: int
    """Records that match, on whatever page."""
    next: str | None
    """`cursor` of the next page; null: that was all."""


class MembershipsGone(TypedDict):
    """As the API has it: `MembershipsGone`."""

    status: int
    """The HTTP code."""
    message: str
    """What happened, for people."""
    ids: list[str]
    """What went."""
    kept: NotRequired[dict[str, str]]
    """Why others stay, by id."""


class Mended(TypedDict):
    """What was done to the index of devices."""

    records: int
    """How many devices there are."""
    put: int
    """Lines that lacked."""
    taken: int
    """Lines that were too many."""


class Name(TypedDict):
    """`{"name": …}`."""

    name: str
    """A template's name."""


class Named(TypedDict):
    """A file that is gone."""

    name: str
    """Its name under the base."""


class NamedTemplate(TypedDict):
    """A template whose name the path says; in the body it may be left out."""

    name: NotRequired[str]
    """Unique; posting it again makes a new version."""
    parameters: NotRequired[dict[str, Parameter | None]]
    """What deployments fill in: `${param.NAME}`."""
    ttl: NotRequired[str]
    """After this time its deployments are stopped."""
    priority: NotRequired[int]
    """1 to 100; who is more important is placed first."""
    preempt: NotRequired[bool]
    """Whether its work may take the place of less important work."""
    version: NotRequired[Any]
    """Given out here; one that is sent is ignored."""
    task_groups: list[TaskGroup]
    """What runs; each group's tasks run together."""


class NewLimits(TypedDict):
    """Other limits for what runs; null takes one away."""

    memory: NotRequired[str | int | None]
    """Bytes, or a size such as `512M`; a task above it is killed, and said to have been."""
    cpus: NotRequired[float | str | None]
    """Processors, such as 0.5."""
    pids: NotRequired[int | None]
    """Processes and threads."""


class NewRelease(TypedDict):
    """Another version, other parameters."""

    confirm: NotRequired[bool]
    """Do it although it touches much at once."""
    version: NotRequired[int]
    """Which version; the newest by default."""
    parameters: NotRequired[dict[str, str | float | bool | None]]
    """Other values; null goes back to the template's default."""


class Nic(TypedDict):
    """One network interface. Files of devices have several in one cell, with `;` between."""

    type: str
    """What it is: wifi, ethernet, …."""
    mac: str
    """May be empty."""
    ipv4: str
    """May be empty."""


class Node(TypedDict):
    """A node, with all that is known of it."""

    id: str
    """Its id."""
    ip: str
    """The address by which it is known."""
    hostname: str
    """As the machine calls itself."""
    version: str
    """Its agent's."""
    status: Literal[0, 1]
    """0: online, 1: offline."""
    resources: str
    """Use of the whole machine, rounded: exactly these two pairs; zeros while offline."""
    frozen: str | None
    """Why its agent obeys no orders; null: it does."""
    labels: dict[str, Any]
    """What its agent claims, overlaid by what people said."""
    groups: list[str]
    """Groups it is in, by name."""
    scheduling: Literal["ready", "cordoned", "draining", "removing"]
    """Whether it takes work."""
    unknown: NotRequired[str]
    """Why it is not known whether it is online."""
    cpu_percent: NotRequired[float]
    """Use of its processors."""
    memory_percent: NotRequired[float]
    """Use of its memory."""
    disk_percent: NotRequired[float]
    """Use of the disk that its agent's data is on."""
    last_seen: NotRequired[float]
    """The time in its heartbeat, seconds since 1970."""
    applied_rev: NotRequired[int]
    """The revision of the orders that it has taken in."""
    running: NotRequired[int]
    """Tasks that run there."""
    unclaimed: NotRequired[int]
    """Tasks that run there and are nobody's."""
    load: NotRequired[list[float]]
    """Of its last 1, 5 and 15 minutes, as the kernel tells it."""
    disk_total: NotRequired[int]
    """Bytes."""
    disk_used: NotRequired[int]
    """Bytes."""
    memory_total: NotRequired[int]
    """Bytes."""
    memory_used: NotRequired[int]
    """Bytes."""
    removal: NotRequired[str]
    """What its removal waits for."""
    drain: NotRequired[DrainState]
    """While it is drained: how far that has come."""
    uid: str
    """Tells it from another machine of the same name."""
    addresses: list[str]
    """Its addresses."""
    features: list[str]
    """What its agent understands."""
    joined: float
    """When it joined first, seconds since 1970."""
    own_labels: NotRequired[dict[str, Any]]
    """Labels that its agent claims."""
    device: NotRequired[str]
    """The id of its device in the inventory."""
    facts: NotRequired[dict[str, Any]]
    """What rules of groups may ask of it, as far as it is known."""
    cordoned: NotRequired[CordonState]
    """Since when it takes no new work, and why."""
    removing: NotRequired[float]
    """When its removal was asked for, seconds since 1970."""
    beat: dict[str, Any] | None
    """Its heartbeat as it is; null: there is none."""
    allocations: list[Order]
    """What it is told to run or to stop."""


class NodeRow(TypedDict):
    """A node, as lists show it. What its heartbeat says is missing while it is offline."""

    id: str
    """Its id."""
    ip: str
    """The address by which it is known."""
    hostname: str
    """As the machine calls itself."""
    version: str
    """Its agent's."""
    status: Literal[0, 1]
    """0: online, 1: offline."""
    resources: str
    """Use of the whole machine, rounded: exactly these two pairs; zeros while offline."""
    frozen: str | None
    """Why its agent obeys no orders; null: it does."""
    labels: dict[str, Any]
    """What its agent claims, overlaid by what people said."""
    groups: list[str]
    """Groups it is in, by name."""
    scheduling: Literal["ready", "cordoned", "draining", "removing"]
    """Whether it takes work."""
    unknown: NotRequired[str]
    """Why it is not known whether it is online."""
    cpu_percent: NotRequired[float]
    """Use of its processors."""
    memory_percent: NotRequired[float]
    """Use of its memory."""
    disk_percent: NotRequired[float]
    """Use of the disk that its agent's data is on."""
    last_seen: NotRequired[float]
    """The time in its heartbeat, seconds since 1970."""
    applied_rev: NotRequired[int]
    """The revision of the orders that it has taken in."""
    running: NotRequired[int]
    """Tasks that run there."""
    unclaimed: NotRequired[int]
    """Tasks that run there and are nobody's."""
    load: NotRequired[list[float]]
    """Of its last 1, 5 and 15 minutes, as the kernel tells it."""
    disk_total: NotRequired[int]
    """Bytes."""
    disk_used: NotRequired[int]
    """Bytes."""
    memory_total: NotRequired[int]
    """Bytes."""
    memory_used: NotRequired[int]
    """Bytes."""
    removal: NotRequired[str]
    """What its removal waits for."""
    drain: NotRequired[DrainState]
    """While it is drained: how far that has come."""


class Nodes(TypedDict):
    """A list, or a page of one."""

    data: list[NodeRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Number(TypedDict):
    """The state of a deployment as a number."""

    id: str
    """Id of the deployment."""
    status: Literal[0, 1]
    """0: pending or running; 1: anything else."""
    state: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    """The same in a word."""


class OldListAnswer(TypedDict):
    """`{"total", "containers"}`."""

    total: int
    containers: list[Workspace]


class Order(TypedDict):
    """What a node is told to run, or to stop."""

    id: str
    """The allocation's id."""
    deployment: str | None
    """Whose it is."""
    template: str | None
    """Of which template."""
    group: str | None
    """Of which task group."""
    index: int | None
    """Which one of the group."""
    wanted: str | None
    """`running` or `stopped`."""
    generation: int | None
    """Rises with every restart and update."""


class Parameter(TypedDict):
    """One parameter."""

    required: NotRequired[bool]
    """Whether each deployment must say it."""
    default: NotRequired[str | float | bool]
    """What it is when a deployment does not say it."""
    pattern: NotRequired[str]
    """A regular expression that the whole value must match."""
    enum: NotRequired[list[str | float | bool]]
    """The values to choose from."""
    description: NotRequired[str]
    """For people."""
    type: NotRequired[Literal["string", "int", "number", "bool"]]
    """What it must read as."""
    min: NotRequired[float]
    """Of a number: the least."""
    max: NotRequired[float]
    """Of a number: the most."""


class Paused(TypedDict):
    """Whether updates are held."""

    id: str
    """Id of the deployment."""
    paused: bool
    """Whether they are."""
    rollout: NotRequired[dict[str, Any]]
    """How the present one goes: `state`, `change`, `reason`."""


class Placement(TypedDict):
    """Which nodes may take a group's allocations, and which of them is the best."""

    node: NotRequired[str | None]
    """One node: its id, host name or address."""
    group: NotRequired[str | None]
    """A group of devices, by name."""
    labels: NotRequired[dict[str, str | float | bool | list[str | float | bool]] | None]
    """What a node's labels must be: a value, or one of several."""
    spread: NotRequired[str | None]
    """The label over whose values the allocations are spread evenly."""
    strategy: NotRequired[Literal["spread", "binpack"]]
    """`spread`: the least loaded node that fits; `binpack`: the fullest."""
    max_replicas_per_node: NotRequired[int | None]
    """How many allocations of the group one node takes."""


class Plan(TypedDict):
    """What a deployment would come to; nothing was changed."""

    id: str
    """Id of the living deployment of that name, else `dry-run`."""
    would: Literal["place", "wait", "refuse", "update", "nothing"]
    """In one word."""
    reason: NotRequired[str]
    """Why, in words."""
    allocations: list[dict[str, Any]]
    """What would become of each allocation."""
    nodes: list[dict[str, Any]]
    """Why nodes could not take it: `node`, `reason`."""
    diff: NotRequired[list[dict[str, Any]]]
    """Of an update: `field`, `old`, `new`; null is absent."""
    counts: NotRequired[dict[str, Any]]
    """Allocations by what would become of them."""
    left_out: NotRequired[int]
    """Allocations that are not shown."""
    ends: NotRequired[float | None]
    """When its ttl would be over, seconds since 1970."""


class Promoted(TypedDict):
    """An update whose canaries are followed by the rest."""

    id: str
    """Id of the deployment."""
    promoted: int
    """Number of the change."""
    rollout: NotRequired[dict[str, Any]]
    """How it goes: `state`, `change`, `reason`."""


class Readiness(TypedDict):
    """Whether the whole manager can do its work."""

    status: str
    """`ok`."""
    version: str
    """Which Muster it is."""
    checks: dict[str, Any]
    """What was looked at: `ok`, or what is wrong with it."""


class Recover(TypedDict):
    """What `recover` is told."""

    cluster: NotRequired[str]
    """The cluster's id, if this manager does not know it: an agent's join.json says it."""
    dry_run: NotRequired[bool]
    """Say what would be begun; change nothing."""


class Recovered(TypedDict):
    """What was begun, or would be."""

    cluster: str
    """The cluster's id."""
    known: str | None
    """The id that this manager remembers."""
    above_epoch: int
    """The highest epoch that is known to have been."""
    above_rev: int
    """The highest revision that is known to have been."""
    kept: bool
    """Whether the store's records are there, and only what they belong to was lost."""
    epoch: str | None
    """The new epoch; null: a dry run."""


class Release(TypedDict):
    """What an update, or the way back, comes to."""

    id: str
    """Id of the deployment."""
    version: int
    """Version that it is to run."""
    change: int
    """Number of the change; the first release is 0."""
    changed: bool
    """False: it is so already."""
    detail: NotRequired[str]
    """Why nothing changed."""
    parameters: dict[str, Any]
    """Values of the parameters that it is to run with."""
    rollout: NotRequired[dict[str, Any]]
    """How it goes: `state`, `change`, `reason`."""


class Released(TypedDict):
    """The brake, after its release was asked for."""

    engaged: dict[str, Any] | None
    """Since when, and why; null: it is not."""
    release: int
    """How often a release was asked for."""
    released: int
    """Up to which of them it has been released."""
    asked: bool
    """Whether there was anything to release."""


class Removed(TypedDict):
    """A workspace that is to stop."""

    id: str
    user_id: str
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]


class Report(TypedDict):
    """Store and fleet, looked over. What could not be seen is missing."""

    ok: bool
    """Whether nothing is wrong."""
    version: str
    """Which Muster it is."""
    time: float
    """When, seconds since 1970."""
    store: dict[str, Any]
    """The store's server."""
    findings: list[Finding]
    """What there is to say, the worst first."""
    trouble: NotRequired[dict[str, Any]]
    """Why the store could not be looked at."""
    cluster: NotRequired[str]
    """The cluster's id."""
    epoch: NotRequired[dict[str, Any]]
    """The epoch: its id, when it began and why."""
    revision: NotRequired[int]
    """The store's revision."""
    log: NotRequired[dict[str, Any]]
    """The change log."""
    leader: NotRequired[dict[str, Any] | None]
    """Who leads; null: nobody."""
    nodes: NotRequired[dict[str, Any]]
    """What the fleet's heartbeats say."""
    brake: NotRequired[dict[str, Any] | None]
    """Why nothing is rescheduled; null: all is."""
    devices: NotRequired[dict[str, Any]]
    """Whether the index of devices says what their records do."""
    device_file: NotRequired[dict[str, Any]]
    """Whether this manager keeps the file of `--device-csv`."""


class Resources(TypedDict):
    """Reservations count in placement; limits are enforced on the node."""

    reservations: NotRequired[Amount]
    """What placement counts."""
    limits: NotRequired[Limits]
    """What the node enforces."""


class Restart(TypedDict):
    """As the API has it: `Restart`."""

    condition: NotRequired[Literal["no", "on-failure", "always"]]
    """`on-failure` is the default."""
    delay: NotRequired[str]
    """Before the first restart."""
    factor: NotRequired[float]
    """By which each delay is longer than the one before."""
    max_delay: NotRequired[str]
    """The longest delay."""
    max_attempts: NotRequired[int]
    """Restarts within `window`; then the task is `failed`, until someone says restart."""
    window: NotRequired[str]
    """How long a task must run for its restarts to be forgotten."""


class Restored(TypedDict):
    """What is in a backup, and what putting it in place undoes, or has undone."""

    file: dict[str, Any]
    """What is in the file."""
    store: dict[str, Any] | None
    """What is in the store; null: it is empty."""
    differences: dict[str, Any]
    """By collection: what was `made` or `changed` since, what would be `back`, what would run
    `again`."""
    restored: NotRequired[dict[str, Any]]
    """The new epoch and revision; missing: a dry run."""


class Rollback(TypedDict):
    """Back to a version, or to the last good one."""

    confirm: NotRequired[bool]
    """Do it although it touches much at once."""
    version: NotRequired[int]
    """Which version; by default the last one that was good."""


class SavedTaskGroup(TypedDict):
    """A template that was saved, in the contract's words."""

    name: str
    """Name of the template."""
    version: int
    """Its version, counted from 1."""
    status: str
    """`success`."""


class SavedTemplate(TypedDict):
    """A template that was saved."""

    name: str
    """Name of the template."""
    version: int
    """Its version, counted from 1."""
    changed: bool
    """False: its newest version was that already."""


class Scale(TypedDict):
    """Other numbers of instances."""

    confirm: NotRequired[bool]
    """Do it although it touches much at once."""
    groups: dict[str, int]
    """Counts of allocations by task group; groups that are not named stay as they are."""


class Scaled(TypedDict):
    """The sizes of a deployment's groups."""

    id: str
    """Id of the deployment."""
    groups: dict[str, Any]
    """Instances by task group; those on every node aside."""


class Share(TypedDict):
    """How much of a task group is on the node."""

    deployment: str
    """Whose it is."""
    group: str
    """Which group."""
    here: int
    """Allocations on this node."""
    of: int
    """Of how many."""


class Software(TypedDict):
    """The same, whole."""

    version: str
    """May be empty."""
    last_update: str
    """May be empty."""
    kernel: NotRequired[str]
    """Of a node."""
    agent: NotRequired[str]
    """The version of a node's agent."""


class SoftwarePatch(TypedDict):
    """Some of what is known of the software. Only `version` and `last_update` are the contract's."""

    version: NotRequired[str]
    """May be empty. Of a node: its operating system."""
    last_update: NotRequired[str]
    """When it was last updated; may be empty."""
    kernel: NotRequired[str]
    """Of a node."""
    agent: NotRequired[str]
    """The version of a node's agent."""


class Stop(TypedDict):
    """How a task is asked to end."""

    signal: NotRequired[
        Literal[
            "SIGABRT",
            "SIGALRM",
            "SIGBUS",
            "SIGCHLD",
            "SIGCLD",
            "SIGCONT",
            "SIGFPE",
            "SIGHUP",
            "SIGILL",
            "SIGINT",
            "SIGIO",
            "SIGIOT",
            "SIGPIPE",
            "SIGPOLL",
            "SIGPROF",
            "SIGPWR",
            "SIGQUIT",
            "SIGRTMAX",
            "SIGRTMIN",
            "SIGSEGV",
            "SIGSTKFLT",
            "SIGSYS",
            "SIGTERM",
            "SIGTRAP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGUSR1",
            "SIGUSR2",
            "SIGVTALRM",
            "SIGWINCH",
            "SIGXCPU",
            "SIGXFSZ",
        ]
    ]
    """Asks the task to end."""
    timeout: NotRequired[str]
    """After this time it is killed."""


class Stopped(TypedDict):
    """A deployment that was told to end."""

    id: str
    """Id of the deployment."""
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    """Its state now."""


class StoreAccess(TypedDict):
    """Where a node finds the store, and who it is there."""

    url: str
    """The store's URL, as the caller can reach it."""
    username: str | None
    """The node's own user."""
    password: str | None
    """null: it is the secret whose digest was sent."""
    warning: NotRequired[str]
    """What this store cannot do."""
    presence: NotRequired[str]
    """Where to send heartbeats, if that is another store."""


class StoredTemplate(TypedDict):
    """A template in the form in which it is kept, with its version. It may be posted back."""

    name: str
    """Unique; posting it again makes a new version."""
    parameters: NotRequired[dict[str, Parameter | None]]
    """What deployments fill in: `${param.NAME}`."""
    ttl: NotRequired[str]
    """After this time its deployments are stopped."""
    priority: NotRequired[int]
    """1 to 100; who is more important is placed first."""
    preempt: NotRequired[bool]
    """Whether its work may take the place of less important work."""
    version: int
    """Given out here; one that is sent is ignored."""
    task_groups: list[TaskGroup]
    """What runs; each group's tasks run together."""


class Task(TypedDict):
    """One task."""

    artifacts: NotRequired[list[Artifact | str]]
    """Files and archives that are there before the task starts."""
    fetch: NotRequired[bool]
    """Fetch the command's program from `--sftp-host` where a node lacks it."""
    fetch_timeout: NotRequired[str]
    """How long the files may take; then the task has failed."""
    name: str
    """Unique in the template."""
    config: Config
    """What runs."""
    resources: NotRequired[Resources]
    """What it needs, and may use at most."""
    ulimits: NotRequired[TaskUlimits]
    """Compose's ulimits: a number, or soft and hard; -1 is unlimited."""
    restart: NotRequired[Restart | str | Literal[False]]
    """When it runs again after its end; or Compose's word for it."""
    stop: NotRequired[Stop]
    """How it is asked to end."""
    depends_on: NotRequired[list[str] | dict[str, str | TaskDependsOnValue]]
    """What must be started, healthy or completed first: a list of sentences such as `2 of db
    healthy`, or conditions by name."""
    healthcheck: NotRequired[Healthcheck]
    """How it is found out whether it is well."""
    logs: NotRequired[Logs]
    """How much of its output is kept."""
    duration: NotRequired[str | None]
    """How long it may run."""
    hooks: NotRequired[Hooks]
    """Commands around each run."""
    ports: NotRequired[dict[str, int]]
    """Ports by name; 0: one is given out. `${port.NAME}` is filled in."""
    deploy: NotRequired[TaskDeploy]
    """Compose's place of `resources`."""
    user: NotRequired[str | None]
    """Compose's place of `config.user`."""


class TaskDependsOnValue(TypedDict):
    """As the API has it: `TaskDependsOnValue`."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class TaskDeploy(TypedDict):
    """Compose's place of `resources`."""

    resources: Resources


class TaskGroup(TypedDict):
    """Tasks that belong together."""

    name: NotRequired[str]
    """Unique in the template; `main` and numbers by default."""
    count: NotRequired[int | Literal["all"]]
    """How many allocations; `all`: one on each node that may take one."""
    placement: NotRequired[Placement]
    """Where they may be."""
    reschedule: NotRequired[Literal["never"] | TaskGroupReschedule]
    """`never`, or after what time on an offline node an allocation is placed elsewhere."""
    on_disconnect: NotRequired[Literal["keep"] | TaskGroupOnDisconnect]
    """`keep`, or after what time without the store a node stops the tasks."""
    duplicates: NotRequired[Literal["allow", "never"]]
    """`never`: no second copy runs, whatever happens; see the guide for what it asks for."""
    update: NotRequired[UpdatePolicy]
    """How the group goes to another version."""
    tasks: list[Task]
    """What runs together on one node."""


class TaskGroupOnDisconnect(TypedDict):
    """As the API has it: `TaskGroupOnDisconnect`."""

    stop_after: str


class TaskGroupReschedule(TypedDict):
    """As the API has it: `TaskGroupReschedule`."""

    after: str


class TaskState(TypedDict):
    """One task of a deployment, as its node last said."""

    name: str
    """Its name in the template."""
    node: str
    """Id of the node that it is on."""
    state: Literal[
        "pending",
        "fetching",
        "waiting",
        "starting",
        "running",
        "exited",
        "backoff",
        "completed",
        "failed",
        "stopped",
        "lost",
    ]
    """State of the task."""
    pid: int | None
    """Its process, while there is one."""
    exit_code: int | None
    """How its last run ended; above 128: by signal `exit_code - 128`."""
    restarts: int
    """How often it was started again."""
    reason: str | None
    """Why it is in that state, in words."""
    started: NotRequired[float | None]
    """When its run began, seconds since 1970."""
    allocation: NotRequired[str]
    """Id of its allocation."""
    group: NotRequired[str]
    """Its task group."""
    index: NotRequired[int]
    """Number of its allocation within the group."""
    version: NotRequired[int]
    """Version of the template that it runs."""
    canary: NotRequired[bool]
    """Whether it is a canary of an update."""
    ports: NotRequired[dict[str, Any]]
    """Its ports by name."""
    usage: NotRequired[dict[str, Any]]
    """What it uses: processor and memory."""
    health: NotRequired[str | None]
    """What its health check says."""


TaskUlimits = TypedDict(
    "TaskUlimits",
    {
        "as": NotRequired["int | TaskUlimitsAs"],
        "core": NotRequired["int | TaskUlimitsCore"],
        "cpu": NotRequired["int | TaskUlimitsCpu"],
        "data": NotRequired["int | TaskUlimitsData"],
        "fsize": NotRequired["int | TaskUlimitsFsize"],
        "memlock": NotRequired["int | TaskUlimitsMemlock"],
        "msgqueue": NotRequired["int | TaskUlimitsMsgqueue"],
        "nice": NotRequired["int | TaskUlimitsNice"],
        "nofile": NotRequired["int | TaskUlimitsNofile"],
        "nproc": NotRequired["int | TaskUlimitsNproc"],
        "rss": NotRequired["int | TaskUlimitsRss"],
        "rtprio": NotRequired["int | TaskUlimitsRtprio"],
        "rttime": NotRequired["int | TaskUlimitsRttime"],
        "sigpending": NotRequired["int | TaskUlimitsSigpending"],
        "stack": NotRequired["int | TaskUlimitsStack"],
    },
)


class TaskUlimitsAs(TypedDict):
    """As the API has it: `TaskUlimitsAs`."""

    soft: int
    hard: int


class TaskUlimitsCore(TypedDict):
    """As the API has it: `TaskUlimitsCore`."""

    soft: int
    hard: int


class TaskUlimitsCpu(TypedDict):
    """As the API has it: `TaskUlimitsCpu`."""

    soft: int
    hard: int


class TaskUlimitsData(TypedDict):
    """As the API has it: `TaskUlimitsData`."""

    soft: int
    hard: int


class TaskUlimitsFsize(TypedDict):
    """As the API has it: `TaskUlimitsFsize`."""

    soft: int
    hard: int


class TaskUlimitsMemlock(TypedDict):
    """As the API has it: `TaskUlimitsMemlock`."""

    soft: int
    hard: int


class TaskUlimitsMsgqueue(TypedDict):
    """As the API has it: `TaskUlimitsMsgqueue`."""

    soft: int
    hard: int


class TaskUlimitsNice(TypedDict):
    """As the API has it: `TaskUlimitsNice`."""

    soft: int
    hard: int


class TaskUlimitsNofile(TypedDict):
    """As the API has it: `TaskUlimitsNofile`."""

    soft: int
    hard: int


class TaskUlimitsNproc(TypedDict):
    """As the API has it: `TaskUlimitsNproc`."""

    soft: int
    hard: int


class TaskUlimitsRss(TypedDict):
    """As the API has it: `TaskUlimitsRss`."""

    soft: int
    hard: int


class TaskUlimitsRtprio(TypedDict):
    """As the API has it: `TaskUlimitsRtprio`."""

    soft: int
    hard: int


class TaskUlimitsRttime(TypedDict):
    """As the API has it: `TaskUlimitsRttime`."""

    soft: int
    hard: int


class TaskUlimitsSigpending(TypedDict):
    """As the API has it: `TaskUlimitsSigpending`."""

    soft: int
    hard: int


class TaskUlimitsStack(TypedDict):
    """As the API has it: `TaskUlimitsStack`."""

    soft: int
    hard: int


class Template(TypedDict):
    """A template, as users post it."""

    name: str
    """Unique; posting it again makes a new version."""
    parameters: NotRequired[dict[str, Parameter | None]]
    """What deployments fill in: `${param.NAME}`."""
    ttl: NotRequired[str]
    """After this time its deployments are stopped."""
    priority: NotRequired[int]
    """1 to 100; who is more important is placed first."""
    preempt: NotRequired[bool]
    """Whether its work may take the place of less important work."""
    version: NotRequired[Any]
    """Given out here; one that is sent is ignored."""
    task_groups: list[TaskGroup]
    """What runs; each group's tasks run together."""


class TemplateRow(TypedDict):
    """A template, in short."""

    name: str
    """Name of the template."""
    version: int
    """Its version, counted from 1."""
    tasks: list[str]
    """Names of its tasks."""


class TemplateVersion(TypedDict):
    """A version of a template."""

    name: str
    """Name of the template."""
    version: int
    """Its version, counted from 1."""


class TemplateVersions(TypedDict):
    """A list, or a page of one."""

    data: list[TemplateVersion]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Templates(TypedDict):
    """A list, or a page of one."""

    data: list[TemplateRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class Unclaimed(TypedDict):
    """A list, or a page of one."""

    data: list[UnclaimedRow]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""


class UnclaimedRow(TypedDict):
    """An allocation that runs on a node and that no record wants."""

    allocation: str
    """Its id."""
    node: str
    """Id of the node that it runs on."""
    uid: str | None
    """The uid of that node."""
    deployment: str
    """Id of the deployment that it was of."""
    template: str | None
    """Name of its template."""
    version: int | None
    """Version of the template."""
    claimed: Literal["adopt", "stop", None]
    """What somebody has said already shall become of it."""
    tasks: list[UnclaimedTask]
    """What runs there."""
    order: dict[str, Any] | None
    """What the node was told; null: it has forgotten."""


class UnclaimedTask(TypedDict):
    """A task of it, as its node says."""

    name: str | None
    """Its name."""
    state: str | None
    """State of the task."""
    pid: int | None
    """Its process, while there is one."""


class UpdatePolicy(TypedDict):
    """How a group goes to another version."""

    max_parallel: NotRequired[int]
    """How many allocations are replaced at once."""
    min_healthy: NotRequired[str]
    """How long a new one must be up, and healthy, to count."""
    healthy_deadline: NotRequired[str]
    """Until when it must; else the update has failed."""
    canary: NotRequired[int]
    """How many new ones come first, beside the old."""
    auto_promote: NotRequired[bool]
    """Whether the rest follows healthy canaries by itself."""
    auto_revert: NotRequired[bool]
    """Whether a failed update goes back by itself."""


class Uploaded(TypedDict):
    """A file that was put there."""

    name: str
    """Its name under the base."""
    size: int
    """Bytes."""
    sha256: str
    """What arrived, in hexadecimal."""
    pinned_otherwise: NotRequired[list[str]]
    """Templates that want it to be another one."""


class Workspace(TypedDict):
    """One workspace, as it is answered."""

    id: str
    """The deployment that it is."""
    user_id: str
    name: str
    """The deployment's name."""
    status: Literal["PENDING", "RUNNING", "DEGRADED", "COMPLETED", "FAILED", "STOPPING", "STOPPED"]
    url: str | None
    """null: not known yet, or not any more."""
    node: str | None
    port: int | None
    created: float
    """Seconds since 1970."""
    ends: float | None
    """When its ttl is over; null: never."""
    reason: str
    template: str
    version: int


class WorkspaceWish(TypedDict):
    """`{"user_id": "jane"}`."""

    user_id: str | int


class Workspaces(TypedDict):
    """A list, or a page of one."""

    data: list[Workspace]
    """The rows, in their order."""
    total: int
    """How many match, on whatever page."""
    next: str | None
    """The cursor of the next page; null: this is the last one."""
