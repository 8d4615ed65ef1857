"""What a leader can be asked, and how it finds the answers; see `manager_api.http.frame.questions`."""

from collections.abc import Mapping
from typing import Any

from manager_api.controller.answers import CannotAnswer, Handler
from manager_api.core import dryrun
from manager_api.core.explain import explain
from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from manager_api.core.regrouping import group_plan, leaving_plan
from store.keys import version_field


def _explain(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    deployment = str(body["deployment"])
    if deployment not in fleet.deployments:
        raise _unheard("deployment", deployment)
    return explain(fleet, deployment, now)


def _plan(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    record = dict(body["record"])
    if version_field(str(record["template"]), int(record["version"])) not in fleet.versions:
        raise _unheard("template", str(record["template"]))
    return dryrun.plan_new(fleet, record, now, str(body.get("id", "dry-run")))


def _drain(fleet: Fleet, body: Mapping[str, Any], now: Moment) -> Json:
    node = str(body["node"])
    if node not in fleet.nodes:
        raise _unheard("node", node)
    return dryrun.drain_plan(fleet, node, now)


def _group(fleet: Fleet, body: Mapping[str, Any], _now: Moment) -> Json:
    group, leaving, record = str(body["group"]), body.get("leaving"), body.get("record")
    if leaving is not None:
        if group not in fleet.device_groups:
            raise _unheard("group", group)
        return leaving_plan(fleet, group, [str(each) for each in leaving])
    return group_plan(fleet, group, None if record is None else dict(record))


def _unheard(what: str, name: str) -> CannotAnswer:
    """The API asks only about what is stored."""
    return CannotAnswer(503, "Not known yet", f"the controller has not heard of {what} {name[:200]} yet")


HANDLERS: Mapping[str, Handler] = {"explain": _explain, "plan": _plan, "drain": _drain, "group": _group}
