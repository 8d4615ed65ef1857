"""What `muster` prints: names of tasks that users can tell apart."""

import pytest

from muster import deploying, output

pytestmark = pytest.mark.unit


def row(name, group="web", index=0, **more):
    return {"name": name, "group": group, "index": index, **more}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([row("site"), row("log")], ["site", "log"]),
        ([row("site"), row("site", index=1), row("log")], ["site[0]", "site[1]", "log"]),
        ([row("x", "a"), row("x", "b")], ["a.x[0]", "b.x[0]"]),
        ([{"name": "old"}, {"name": "old"}], ["old", "old"]),
        ([], []),
    ],
)
def test_tasks_of_one_name_are_told_apart(rows, named):
    assert output.task_names(rows) == named


class Answers:
    """A manager that answers the same deployment, in one state after the other."""

    def __init__(self, *states):
        self.states = list(states)

    def get(self, _path):
        states = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        tasks = [row("site", index=n, node="n1", state=state, reason="") for n, state in enumerate(states)]
        return {"status": "RUNNING", "reason": "", "tasks": tasks}


def test_two_instances_on_one_node_do_not_speak_over_each_other(capsys, monkeypatch):
    monkeypatch.setattr(deploying, "LOOK_EVERY", 0.0)
    deploying.wait_up(Answers(("running", "pending"), ("running", "pending"), ("running", "running")), "x", 9)
    assert capsys.readouterr().err.splitlines() == [
        "  site[0] on n1: running",
        "  site[1] on n1: pending",
        "  site[1] on n1: running",
    ]
