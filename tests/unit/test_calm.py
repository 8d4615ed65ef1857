"""A deployment of which nothing has changed is not worked out anew; whatever changes, it is."""

import pytest

from manager_api.core import reconcile
from manager_api.core.fleet import Stored
from tests.builders import a_task, a_template, add_template
from tests.core_world import Case

pytestmark = pytest.mark.unit


@pytest.fixture
def looks(monkeypatch):
    """The names of the deployments that are looked at in full."""
    found = []

    class Draft(reconcile.Draft):
        def __init__(self, fleet, deployment, *more):
            found.append(deployment)
            super().__init__(fleet, deployment, *more)

    monkeypatch.setattr(reconcile, "Draft", Draft)
    return found


def at_rest(looks, **more):
    case = Case(count=3, **more).begin()
    case.step()
    looks.clear()
    assert case.plan() == []
    assert looks == []
    return case


def said(case):
    node = case.fleet.states[case.fleet.allocations["dep.0"].data["node"]]
    node.actual["dep.0"] = {**node.actual["dep.0"], "tasks": [{"name": "main", "state": "backoff"}]}


def another_version(case):
    add_template(case.fleet, a_template(a_task(), count=4))


CHANGES = {
    "asked": lambda case: case.ask(scale={"group-0": 4}),
    "told": said,
    "drained": lambda case: case.mark("a", drain={"since": 1.0, "deadline": None}),
    "cut off": lambda case: case.cut("a"),
    "replaced": lambda case: case.mark("a", uid="another"),
    "written": lambda case: case.put("dep.0", {**case.live["dep.0"], "generation": 2}),
    "gone": lambda case: case.fleet.drop_allocation("dep.0"),
    "judged": lambda case: case.fleet.status.update(dep=Stored({**case.status, "reason": "x"}, 99)),
    "specified": another_version,
    "unreadable": lambda case: case.fleet.unreadable.add(("allocations", "dep.0")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_it_is_looked_at(looks, change):
    case = at_rest(looks)
    CHANGES[change](case)
    case.plan()
    assert looks == ["dep"]


def test_what_waits_for_something_is_never_at_rest(looks):
    case = Case(count=3).begin()
    case.cut("a")
    case.step()
    looks.clear()
    case.plan()
    assert looks == ["dep"]


def test_what_is_on_every_node_is_never_at_rest(looks):
    case = Case(count="all").begin()
    case.step()
    looks.clear()
    case.plan()
    assert looks == ["dep"]
