"""What is answered about deployments: their views, and what became of calls upon them."""

from marshmallow import fields, validate

from manager_api.http.frame.answer_fields import anything, flag, number, text, whole
from manager_api.http.frame.answers import AnswerSchema, listed
from store.model.lifecycle import Deployment, Task

A_DEPLOYMENT = "3f0c1d52-6f43-4a8f-9c1e-1d7b6b0a7c55"
_STATES = validate.OneOf([*Deployment])
A_TASK = {
    "name": "数据清洗器", "node": "web-1", "state": "running", "pid": 4711, "exit_code": None, "restarts": 0,
    "reason": "", "started": 1767225601.5, "allocation": f"{A_DEPLOYMENT}.1", "group": "group-1", "index": 0,
    "version": 1,
}  # fmt: skip
A_VIEW = {
    "id": A_DEPLOYMENT, "status": "RUNNING", "template": "我的数据处理任务", "version": 1,
    "created": 1767225600.0, "tasks": [A_TASK], "reason": "",
    "groups": {"group-1": {"wanted": 1, "placed": 1, "up": 1}},
}  # fmt: skip
A_ROLLOUT = {"state": "running", "change": 2, "reason": ""}


class TaskStateSchema(AnswerSchema):
    """One task of a deployment, as its node last said."""

    name = text("Its name in the template.")
    node = text("Id of the node that it is on.")
    state = text("State of the task.", validate=validate.OneOf([*Task]))
    pid = whole("Its process, while there is one.", allow_none=True)
    exit_code = whole(
        "How its last run ended; above 128: by signal `exit_code - 128`.",
        allow_none=True,
    )
    restarts = whole("How often it was started again.")
    reason = text("Why it is in that state, in words.", allow_none=True)
    started = number("When its run began, seconds since 1970.", allow_none=True, required=False)
    allocation = text("Id of its allocation.", required=False)
    group = text("Its task group.", required=False)
    index = whole("Number of its allocation within the group.", required=False)
    version = whole("Version of the template that it runs.", required=False)
    canary = flag("Whether it is a canary of an update.", required=False)
    ports = anything("Its ports by name.", required=False)
    usage = anything("What it uses: processor and memory.", required=False)
    health = text("What its health check says.", required=False, allow_none=True)


class DeploymentSchema(AnswerSchema):
    """A deployment with its tasks."""

    id = text("Id of the deployment.")
    status = text("State of the deployment.", validate=_STATES)
    template = text("Name of its template.")
    version = whole("Version of the template that was asked for.")
    created = number("When it was asked for, seconds since 1970.")
    tasks = fields.List(
        fields.Nested(TaskStateSchema),
        required=True,
        metadata={"description": "Its tasks; of a large deployment, lists have none."},
    )
    tasks_left_out = whole("Tasks that are not shown.", required=False)
    reason = text("Why it is in that state, in words.")
    name = text("Its own name, if it was given one.", required=False)
    parameters = anything("Values of the template's parameters.", required=False)
    groups = anything("Of each task group, how many are `wanted`, `placed` and `up`.", required=False)
    nodes = fields.List(
        fields.Dict(),
        metadata={"description": "Why nodes cannot take what is missing: `node`, `reason`."},
    )
    scale = anything("Instances by task group, where they were asked for.", required=False)
    rollout = anything("How its last update goes: `state`, `change`, `reason`.", required=False)
    release = anything("What is run where that is not what was asked for.", required=False)
    change = whole("Number of its newest change; missing: there was none.", required=False)
    stable = anything("The release that it goes back to.", required=False)
    missing = fields.List(
        fields.Dict(),
        metadata={
            "description": "The first instances that have no place: `group`, `index`, `nodes` with reasons."
        },
    )
    ends = number("When its ttl is over, seconds since 1970.", required=False)
    expired = flag("Whether it ended because its time was over.", required=False)
    ttl = number("How long it may live, in seconds.", required=False)
    paused = flag("Whether its updates are held.", required=False)
    wait = flag("Whether it waits for room instead of being refused.", required=False)


class DeploymentIdSchema(AnswerSchema):
    """The id of a deployment."""

    id = text("Id of the deployment.")


class CreatedSchema(DeploymentIdSchema):
    """A deployment that was asked for."""

    status = text("Its state when the call was answered.", validate=_STATES)
    created = flag("False: the deployment of that name was there already.")
    name = text("The name that it was given.", required=False)


class PlanSchema(AnswerSchema):
    """What a deployment would come to; nothing was changed."""

    id = text("Id of the living deployment of that name, else `dry-run`.")
    would = text("In one word.", validate=validate.OneOf(["place", "wait", "refuse", "update", "nothing"]))
    reason = text("Why, in words.", required=False)
    allocations = fields.List(
        fields.Dict(), required=True, metadata={"description": "What would become of each allocation."}
    )
    nodes = fields.List(
        fields.Dict(),
        required=True,
        metadata={"description": "Why nodes could not take it: `node`, `reason`."},
    )
    diff = fields.List(
        fields.Dict(), metadata={"description": "Of an update: `field`, `old`, `new`; null is absent."}
    )
    counts = anything("Allocations by what would become of them.", required=False)
    left_out = whole("Allocations that are not shown.", required=False)
    ends = number("When its ttl would be over, seconds since 1970.", allow_none=True, required=False)


class NumberSchema(DeploymentIdSchema):
    """The state of a deployment as a number."""

    status = whole("0: pending or running; 1: anything else.", validate=validate.OneOf([0, 1]))
    state = text("The same in a word.", validate=_STATES)


class StoppedSchema(DeploymentIdSchema):
    """A deployment that was told to end."""

    status = text("Its state now.", validate=_STATES)


class LimitedSchema(DeploymentIdSchema):
    """The limits of a task."""

    task = text("Name of the task.")
    limits = anything("All of its limits: `memory`, `cpus`, `pids`.")


class ScaledSchema(DeploymentIdSchema):
    """The sizes of a deployment's groups."""

    groups = anything("Instances by task group; those on every node aside.")


class ReleaseSchema(DeploymentIdSchema):
    """What an update, or the way back, comes to."""

    version = whole("Version that it is to run.")
    change = whole("Number of the change; the first release is 0.")
    changed = flag("False: it is so already.")
    detail = text("Why nothing changed.", required=False)
    parameters = anything("Values of the parameters that it is to run with.")
    rollout = anything("How it goes: `state`, `change`, `reason`.", required=False)


class PromotedSchema(DeploymentIdSchema):
    """An update whose canaries are followed by the rest."""

    promoted = whole("Number of the change.")
    rollout = anything("How it goes: `state`, `change`, `reason`.", required=False)


class PausedSchema(DeploymentIdSchema):
    """Whether updates are held."""

    paused = flag("Whether they are.")
    rollout = anything("How the present one goes: `state`, `change`, `reason`.", required=False)


DEPLOYMENTS = listed(DeploymentSchema, "Deployments")
