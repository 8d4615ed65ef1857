"""Releases: which is meant, what its tasks are, and whether another one runs the same."""

import pytest

from manager_api.core.fleet import Stored
from manager_api.core.release import Release, groups, raw_tasks, same, target
from tests.builders import a_fleet, a_task, a_template, add_deployment, add_template

pytestmark = pytest.mark.unit


def a_case(*tasks, version=1, **group):
    fleet = a_fleet()
    add_template(fleet, a_template(*tasks, **group))
    add_deployment(fleet, version=version)
    return fleet


def test_the_record_counts_unless_the_status_is_about_the_same_change():
    fleet = a_case()
    fleet.deployments["dep"].data.update(version=3, change=2)
    assert target(fleet, "dep") == Release(2, 3)
    for change, expected in ((1, Release(2, 3)), (2, Release(2, 1))):
        release = {"change": change, "version": 1, "parameters": {}}
        fleet.status["dep"] = Stored({"v": 1, "release": release}, 1)
        assert target(fleet, "dep") == expected


def test_parameters_are_filled_into_what_runs_and_kept():
    fleet = a_case(a_task("t", command="/bin/run ${param.WHO}"))
    fleet.versions["1:etl"].data["body"]["parameters"] = {"WHO": {"default": "x"}}
    release = Release(0, 1, (("WHO", "me"),))
    (group,) = groups(fleet, "etl", release)
    assert group.tasks[0].argv == ("/bin/run", "me")
    assert groups(fleet, "etl", release)[0] is group
    data = {"template": "etl", "version": 1, "parameters": {"WHO": "me"}, "group": "group-0", "part": 0}
    assert "me" in str(raw_tasks(fleet, data)[0]["config"]["command"])
    fleet.versions.clear()
    fleet.prune()
    assert not fleet.memory.bodies
    assert not fleet.memory.filled


def test_tasks_of_one_group_are_not_those_of_another():
    fleet = a_fleet()
    shared = [
        {"name": "x", "tasks": [a_task("t", "/bin/x")]},
        {"name": "y", "tasks": [a_task("t", "/bin/y")]},
    ]
    add_template(fleet, {"name": "etl", "task_groups": shared})
    data = {"template": "etl", "version": 1, "group": "y", "part": 0}
    assert [task["config"]["command"] for task in raw_tasks(fleet, data)] == ["/bin/y"]


@pytest.mark.parametrize(
    ("tasks", "group", "expected"),
    [
        (
            [a_task("t")],
            {"count": 9, "placement": {"labels": {"a": "b"}}, "update": {"max_parallel": 3}},
            "same",
        ),
        ([a_task("t", resources={"limits": {"memory": "1G"}})], {}, "limits"),
        ([a_task("t", resources={"reservations": {"memory": "1G"}})], {}, "different"),
        ([a_task("t", command="/bin/false")], {}, "different"),
        ([a_task("t"), a_task("u")], {}, "different"),
        ([a_task("t", artifacts=[{"source": "a", "sha256": "0" * 64}])], {}, "different"),
        ([a_task("t", fetch=True)], {}, "different"),
        ([a_task("t")], {"name": "other"}, "different"),
    ],
)
def test_what_a_change_asks_of_what_runs(tasks, group, expected):
    fleet = a_case(a_task("t"))
    add_template(fleet, a_template(*tasks, **group), 2)
    assert same(fleet, "etl", Release(0, 1), Release(1, 2), "group-0") == expected
