"""`/v1/nodes/{node}` and what can be asked of a node."""

import falcon
import orjson

from manager_api.http.frame import bodies
from manager_api.http.frame.audit import forgo
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.plain_schemas import EmptySchema
from manager_api.http.frame.questions import ask
from manager_api.http.nodes.node_answers import A_NODE, DrainedSchema, GoingSchema, NodeSchema
from manager_api.http.nodes.node_changes import (
    NEEDS_CONFIRMATION,
    Change,
    cordoned,
    draining,
    grouped,
    labelled,
    needs_confirmation,
    record_of,
    remove,
    uncordoned,
    update,
)
from manager_api.http.nodes.node_query import NodeQuerySchema, RemovalQuerySchema
from manager_api.http.nodes.node_rows import one
from manager_api.http.nodes.node_schema import CordonSchema, DrainSchema, GroupsSchema, LabelsSchema
from manager_api.http.services import Services
from manager_api.http.waiting import news
from store.model import quantity

_SHOWN = {200: Answer("The node as it is now.", NodeSchema(), A_NODE)}


class _OfNode:
    def __init__(self, services: Services) -> None:
        self._services = services

    def _change(self, resp: falcon.Response, node: str, change: Change) -> None:
        self._services.call(lambda store: update(store, node, change))
        self._answer(resp, node)

    def _answer(self, resp: falcon.Response, node: str) -> None:
        resp.data = orjson.dumps(self._services.call(lambda store: one(store, node)))


class One(_OfNode):
    """`GET` and `DELETE /v1/nodes/{node}`."""

    writes = True

    @describe(
        "Show a node",
        id="get_node",
        tag="nodes",
        query=NodeQuerySchema(),
        answers={200: Answer("All that is known of it.", NodeSchema(), A_NODE)},
        errors=(404,),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Answer a node with all that is known of it."""
        news.hold(self._services, req, news.of_node(node))
        bodies.query(req)
        self._answer(resp, node)

    @describe(
        "Remove a node",
        id="delete_node",
        tag="nodes",
        description="What runs there is placed elsewhere or ended first; the leader removes the last of it.",
        query=RemovalQuerySchema(),
        answers={
            202: Answer("It goes.", GoingSchema(), {"id": "web-1", "scheduling": "removing"}),
        },
        errors=(404, 409),
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Ask for a node to go; `?force=1` although its agent is alive."""
        force = bodies.query(req).get("force", False)
        now = self._services.clock.wall()
        self._services.call(lambda store: remove(store, node, now, force=force))
        resp.status = falcon.HTTP_202
        resp.data = orjson.dumps({"id": node, "scheduling": "removing"})


@writes
class Cordon(_OfNode):
    """`POST /v1/nodes/{node}/cordon`."""

    @describe(
        "Cordon a node: it takes no new work",
        id="cordon_node",
        tag="nodes",
        description="What runs there runs on.",
        body=CordonSchema(),
        body_optional=True,
        body_example={"reason": "disk is failing"},
        answers=_SHOWN,
        errors=(404,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Let a node take no new work; what runs there runs on."""
        reason = bodies.body(req).get("reason")
        now = self._services.clock.wall()
        self._change(resp, node, lambda record: cordoned(record, now, reason))


@writes
class Uncordon(_OfNode):
    """`POST /v1/nodes/{node}/uncordon`."""

    @describe(
        "Uncordon a node: it takes work again",
        id="uncordon_node",
        tag="nodes",
        description="A drain is cancelled.",
        body=EmptySchema(),
        body_optional=True,
        body_example={},
        answers=_SHOWN,
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Let a node take work again, and cancel its drain."""
        bodies.body(req)
        self._change(resp, node, uncordoned)


@writes
class Drain(_OfNode):
    """`POST /v1/nodes/{node}/drain`."""

    @describe(
        "Drain a node: everything on it runs elsewhere",
        id="drain_node",
        tag="nodes",
        description="With `dry_run`, say what would become of what runs there. What would move much of a "
        "task group at once asks for `confirm` (409).",
        body=DrainSchema(),
        body_optional=True,
        body_example={"deadline": "10m"},
        answers={
            200: Answer("The node as it is now; or, with `dry_run`, the plan.", DrainedSchema(), A_NODE)
        },
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Have everything on a node run elsewhere; or, with `dry_run`, say what would become of it."""
        said = bodies.body(req)
        deadline = quantity.duration(said["deadline"]) if said.get("deadline") else None
        record = self._services.call(lambda store: record_of(store, node))
        if said.get("dry_run"):
            forgo(req)
            resp.data = orjson.dumps(ask(self._services, "drain", {"node": node}))
            return
        now = self._services.clock.wall()
        if not said.get("confirm") and "drain" not in record:
            draining(record, now, deadline)  # what is refused anyway need not be confirmed
            plan = ask(self._services, "drain", {"node": node})
            why = needs_confirmation(plan)
            if why is not None:
                detail = f"{why}; say `confirm` (muster: --yes) if that is meant"
                raise ApiError(409, NEEDS_CONFIRMATION, detail, confirm=True)
        self._change(resp, node, lambda record: draining(record, now, deadline))


@writes
class Labels(_OfNode):
    """`POST /v1/nodes/{node}/labels`."""

    @describe(
        "Label a node",
        id="label_node",
        tag="nodes",
        description="null takes a label away.",
        body=LabelsSchema(),
        body_optional=False,
        body_example={"labels": {"zone": "a", "old": None}},
        answers=_SHOWN,
        errors=(404,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Set labels; null takes one away."""
        given = bodies.body(req)["labels"]
        self._change(resp, node, lambda record: labelled(record, given))


@writes
class Groups(_OfNode):
    """`POST /v1/nodes/{node}/groups`."""

    @describe(
        "Put a node into groups, or take it out",
        id="group_node",
        tag="nodes",
        description="A group that there is not is made.",
        body=GroupsSchema(),
        body_optional=False,
        body_example={"groups": {"edge": True, "lab": False}},
        answers=_SHOWN,
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Put a node into groups, or take it out of them."""
        given = bodies.body(req)["groups"]
        now = self._services.clock.wall()
        self._services.call(lambda store: grouped(store, node, given, now))
        self._answer(resp, node)
