"""What `muster` prints: names of tasks that users can tell apart."""

import pytest

from muster import deploying, output
from muster.releases import update
from muster.starting import deploy

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


LONG = "port 28999 is held by python3 (pid 20298); given up after 5 restarts"


@pytest.mark.parametrize("columns", ["20", "50", "80"])
def test_no_column_but_the_last_is_cut_on_a_narrow_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.table(("ID", "NAME", "REASON"), [("3ff5574a", "städtisch-東京", LONG)])
    said = capsys.readouterr().out
    assert "3ff5574a  städtisch-東京  port" in said
    assert "…" not in said
    folded = len(said.splitlines()) > 2
    assert folded == (columns != "20"), "with no room at all for the last column, lines are left whole"


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


@pytest.mark.parametrize("command", [deploy, update], ids=["deploy", "update"])
def test_a_parameter_has_a_short_option(command):
    given = command.make_context(command.name, ["shop", "-p", "a=1", "--param", "b=x=y"]).params["params"]
    assert given == ("a=1", "b=x=y")
