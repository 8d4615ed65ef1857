"""What `muster` prints: names of tasks that users can tell apart."""

import pytest

from muster import deploying, output, progress
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

    def get_deployment(self, _deployment):
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


MIB = 1024**2


@pytest.mark.parametrize(
    ("fetch", "text"),
    [
        (None, ""),
        ({"done": 0, "total": None, "rate": None}, ""),
        ({"done": 0, "total": 80 * MIB, "rate": None}, "0.0 of 80.0 MiB"),
        ({"done": 12.3 * MIB, "total": 80 * MIB, "rate": 4.1 * MIB}, "12.3 of 80.0 MiB, 4.1 MiB/s"),
        ({"done": 512 * MIB, "total": 5 * 1024 * MIB, "rate": 900}, "0.5 of 5.0 GiB, 900 B/s"),
        ({"done": 3 * MIB, "total": None, "rate": 0}, "3.0 MiB"),
        ({"done": 10, "total": 159}, "10 of 159 B"),
    ],
)
def test_how_far_files_are_in_words(fetch, text):
    assert progress.amount(fetch) == text


def fetching(name="web", **fetch):
    return {"name": name, "allocation": "d.0", "state": "fetching", "fetch": fetch}


def test_of_many_tasks_there_is_one_line():
    assert progress.whole([{"name": "a", "state": "running"}]) == ""
    assert progress.whole([fetching(done=0)]) == ""
    one = fetching(done=MIB, total=2 * MIB, rate=MIB)
    assert progress.whole([one, {"name": "a", "state": "running"}]) == "fetching: 1.0 of 2.0 MiB, 1.0 MiB/s"
    assert progress.whole([one, one]) == "fetching for 2 tasks: 2.0 of 4.0 MiB, 2.0 MiB/s"
    assert progress.whole([one, fetching(done=MIB)]) == "fetching for 2 tasks: 2.0 MiB, 1.0 MiB/s"


@pytest.fixture
def moment(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("muster.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_about_bytes_comes_at_most_every_ten_seconds(moment, capsys):
    ticker = progress.Ticker()
    for number in range(41):
        ticker.bytes(f"{number} bytes")
        moment[0] += 0.5
    ticker.bytes("")
    ticker.clear()
    assert capsys.readouterr().err.splitlines() == ["  0 bytes", "  20 bytes", "  40 bytes"]


def test_on_a_terminal_it_is_one_line_that_makes_room_for_others(moment, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "12")
    ticker = progress.Ticker()
    ticker.bytes("one")
    ticker.bytes("one")
    ticker.bytes("two and very long")
    ticker.note("said")
    ticker.bytes("three")
    ticker.bytes("")
    clear = "\r\033[K"
    assert capsys.readouterr().err == f"  one{clear}  two and v{clear}said\n  three{clear}"


def test_what_is_waited_for_is_given_more_time_only_while_files_come(moment):
    patience = progress.Patience(None, 300.0)
    for done in range(0, 1000, 100):
        patience.look([fetching(done=done)])
        moment[0] += 299.0
        assert not patience.over
    for _ in range(2):
        patience.look([fetching(done=900, reason="x")])
        assert not patience.over, "that it is tried again is no byte"
    moment[0] += 2.0
    patience.look([fetching(done=900)])
    assert (patience.over, patience.waited) == (True, "2992 s")


def test_a_time_that_was_asked_for_is_kept(moment):
    patience = progress.Patience(0.5, 300.0)
    moment[0] += 0.6
    patience.look([fetching(done=1)])
    assert (patience.over, patience.waited) == (True, "0.5 s")
