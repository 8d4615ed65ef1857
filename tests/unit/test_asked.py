"""What people ask of deployments, as pure functions: how much it touches, what differs, where it goes back to."""

import pytest

from manager_api.core import confirm, versions
from manager_api.core.diff import MOST, described, diff
from manager_api.http.waiting.decisions import Decisions
from manager_api.http.waiting.ear import Ear
from store.keys import STATUS
from tests.builders import a_task

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("touched", "of", "needs"),
    [
        (4, 4, False),
        (2, 5, False),
        (3, 5, True),
        (5, 10, False),
        (6, 10, True),
        (10, 10, True),
        (0, 10, False),
    ],
)
def test_more_than_half_of_five_or_more_needs_a_word(touched, of, needs):
    found = confirm.problem("stops", {"web": touched}, {"web": of, "db": 1})
    assert found == (f"stops {touched} of {of} of group web at once" if needs else None)


def test_all_groups_that_are_touched_too_much_are_named():
    found = confirm.problem("stops", {"web": 9, "db": 7, "one": 1}, {"web": 8, "db": 7, "one": 1})
    assert found == "stops 7 of 7 of group db at once; stops 8 of 8 of group web at once"


def test_surplus_is_what_is_too_much():
    assert confirm.surplus({"web": 5, "db": 2, "x": 3}, {"web": 2, "db": 4}) == {"web": 3}


def test_a_diff_names_groups_and_tasks_by_name_whatever_their_order():
    old = {"task_groups": [{"name": "a", "tasks": [a_task("x"), a_task("y")]}, {"tasks": [a_task("z")]}]}
    new = {"priority": 9, "task_groups": [
        {"name": "a", "tasks": [a_task("y", "/new"), a_task("x")]}, {"tasks": [a_task("w")], "count": 2}]}  # fmt: skip
    record = {"template": "t", "version": 1, "parameters": {"p": "1"}}
    found = diff(described(record, old), described({**record, "parameters": {"q": "2"}}, new))
    assert {each["field"]: (each["old"], each["new"]) for each in found} == {
        "priority": (None, 9),
        "parameters.p": ("1", None),
        "parameters.q": (None, "2"),
        "groups.a.tasks.y.config.command": ("/bin/true", "/new"),
        "groups.group-1.count": (1, 2),
        "groups.group-1.tasks.z": ({"config": {"command": "/bin/true"}}, None),
        "groups.group-1.tasks.w": (None, {"config": {"command": "/bin/true"}}),
    }


def test_a_diff_names_artifacts_by_what_they_are_called_and_only_those_that_differ():
    def body(*artifacts):
        return {"task_groups": [{"name": "a", "tasks": [a_task("x", artifacts=list(artifacts))]}]}

    old = body({"source": "a.tgz", "sha256": "1"}, {"source": "b"}, {"source": "c", "to": "d"})
    new = body({"source": "b"}, {"source": "a.tgz", "sha256": "2"}, {"source": "c", "to": "e"})
    found = diff(described({}, old), described({}, new))
    assert {each["field"]: (each["old"], each["new"]) for each in found} == {
        "groups.a.tasks.x.artifacts.a.tgz.sha256": ("1", "2"),
        "groups.a.tasks.x.artifacts.c -> d": ({"source": "c", "to": "d"}, None),
        "groups.a.tasks.x.artifacts.c -> e": (None, {"source": "c", "to": "e"}),
    }


def test_a_diff_beyond_all_measure_is_cut():
    many = {"template": "t", "parameters": {str(n): "x" for n in range(MOST + 50)}}
    assert len(diff(described({"template": "t"}, {}), described(many, {}))) == MOST


def test_a_release_that_failed_and_a_later_one_are_told_apart():
    failed = {"rollout": {"state": "failed", "change": 2}}
    assert versions.failed({"change": 2}, failed)
    assert not versions.failed({"change": 3}, failed)
    assert not versions.failed({"change": 2}, {"rollout": {"state": "running", "change": 2}})
    assert not versions.failed({}, None)


def test_what_a_record_already_wants_is_no_way_back():
    record = {"version": 2, "parameters": {"a": "1"}, "before": {"version": 2, "parameters": {"a": "0"}}}
    stable = {"stable": {"version": 2, "parameters": {"a": "1"}, "change": 4}}
    assert versions.known(record, stable) == [(2, {"a": "0"})]
    assert versions.known({"version": 2}, None) == []


def test_everybody_who_waits_for_a_deployment_is_woken():
    ear = Ear(store=None)
    ear._ensure_thread = lambda: None
    decisions, decided, other = Decisions(ear), [(STATUS, "d")], [(STATUS, "nobody")]
    with decisions.expecting("d") as first:
        with decisions.expecting("d") as second, decisions.expecting("d"):
            pass
        ear._wake(other)
        assert not first._event.is_set()
        ear._wake(decided)
        assert first._event.is_set()
        assert not second._event.is_set(), "who has gone is not called"
        with decisions.expecting("d") as third:
            ear._wake(decided)
            assert third._event.is_set()
    assert ear._waiters == {}
