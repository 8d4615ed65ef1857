"""What a leader can be asked, and how it finds the answers; see `manager_api.http.questions`."""

from collections.abc import Mapping
from typing import Any

from manager_api.controller.answers import CannotAnswer, Handler
from manager_api.core import dryrun
from manager_api.core.explain import explain
from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment


def _explain(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    deployment = str(body["deployment"])
    if deployment not in fleet.deployments:
        raise _unheard("deployment", deployment)
    return explain(fleet, deployment, now)


def _plan(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    return dryrun.plan_new(fleet, dict(body["record"]), now, str(body.get("id", "dry-run")))


def _drain(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    node = str(body["node"])
    if node not in fleet.nodes:
        raise _unheard("node", node)
    return dryrun.drain_plan(fleet, node, now)


def _unheard(what: str, name: str) -> CannotAnswer:
    """The API asks only about what is stored."""
    return CannotAnswer(503, "Not known yet", f"the controller has not heard of {what} {name[:200]} yet")


HANDLERS: Mapping[str, Handler] = {"explain": _explain, "plan": _plan, "drain": _drain}
