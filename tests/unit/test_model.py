"""Words and numbers as users write them, and the state machines."""

import itertools

import pytest

from manager_api.core.bar import Bar, bar_of
from store.codec import dumps
from store.model import command, lifecycle, peers, placing, quantity, spec
from store.model.lifecycle import Deployment, IllegalTransition, Task, TaskEvent
from store.model.status import deployment_state
from tests.builders import a_task, a_template

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("30s", 30), ("5m", 300), ("8h", 28800), ("7d", 604800), ("1.5s", 1.5)],
)
def test_durations(text, seconds):
    assert quantity.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("bad", ["", "5", 5, "5 m", "-1s", "1w", None, True, "1e9s", "99999d", "٣s\n"])
def test_what_is_no_duration(bad):
    with pytest.raises(ValueError):
        quantity.duration(bad)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("2GiB", 2 << 30), (1024, 1024), ("1k", 1024), ("0", 0), ("1.5K", 1536)],
)
def test_sizes(text, size):
    assert quantity.size(text) == size


@pytest.mark.parametrize("bad", ["", "M", "-1M", -1, True, None, "1X", "2000P", 1.5])
def test_what_is_no_size(bad):
    with pytest.raises(ValueError):
        quantity.size(bad)


@pytest.mark.parametrize("bad", ["", "x", -1, True, None, "nan", float("inf"), []])
def test_what_is_no_number_of_cpus(bad):
    with pytest.raises(ValueError):
        quantity.cpus(bad)


@pytest.mark.parametrize(
    ("text", "pin", "rest"),
    [
        ("192.168.10.100:/opt/apps/clean.sh", "192.168.10.100", "/opt/apps/clean.sh"),
        ("web-1:/x -a b", "web-1", "/x -a b"),
        ("[fd00::2]:/x", "fd00::2", "/x"),
        ("/opt/a:b", None, "/opt/a:b"),
        ("echo a:/b", None, "echo a:/b"),
        ("节点:/x", "节点", "/x"),
    ],
)
def test_pins(text, pin, rest):
    assert command.split_pin(text) == (pin, rest)


def test_commands_are_split_as_a_shell_would_without_one():
    assert command.argv("run 'a b' $HOME", ["c d"]) == ["run", "a b", "$HOME", "c d"]
    assert command.argv(["run", "a b"]) == ["run", "a b"]
    for bad in ("", "   ", "'open", [], [""], 5, None):
        with pytest.raises(ValueError):
            command.argv(bad)


def test_variables():
    assert (
        command.fill("${alloc.dir}/x ${HOME} ${node.id}", {"alloc.dir": "/d", "node.id": "n"})
        == "/d/x ${HOME} n"
    )
    assert command.unknown_variables("${parma.user} ${node.id} ${HOME} $X ${param.x}") == ["parma.user"]
    assert command.fill("${text.dollar}{node.id}", {"node.id": "n"}) == "${node.id}", "and not again"


def test_defaults_live_in_one_place():
    task = spec.task(a_task(command="run -x", restart={"delay": "100ms"}))
    assert task.argv == ("run", "-x")
    assert (task.restart.condition, task.restart.delay, task.restart.max_attempts) == ("on-failure", 0.1, 5)
    assert (task.stop.signal, task.stop.timeout) == ("SIGTERM", 10.0)
    assert task.features == {"process"}


def test_what_an_agent_must_claim_to_be_sent_a_task():
    def features(*tasks, **group):
        return [task.features - {"process"} for task in spec.groups(a_template(*tasks, **group))[0].tasks]

    assert features(a_task("a", depends_on={"b": "started"}), a_task("b")) == [{"depends_on"}, set()]
    assert features(a_task(depends_on={"db": "2 healthy"})) == [{"depends_on", "peers"}]
    assert features(a_task(ports={"http": 0})) == [{"ports"}]
    assert features(a_task(command="x ${text.dollar}{node.id}")) == [{"literal"}]
    assert features(a_task(), on_disconnect={"stop_after": "5s"}) == [{"disconnect"}]
    assert features(a_task(artifacts=[{"source": "a"}])) == features(a_task(fetch=True)) == [{"artifacts"}]
    assert features(a_task(artifacts=[], fetch=False)) == [set()]
    assert features(a_task(command="${task.dir}/x")) == [{"artifacts"}]
    assert features(a_task(), on_disconnect="keep") == [set()]


def test_a_group_of_an_older_release_has_all_defaults():
    (group,) = spec.groups(a_template(a_task()))
    assert (group.count, group.everywhere, group.policy) == (1, False, placing.Policy())
    policy = group.policy
    assert (policy.reschedule_after, policy.stop_after, policy.duplicates) == (30.0, None, "allow")
    assert (policy.placement.strategy, policy.placement.labels, policy.update.max_parallel) == (
        "spread",
        {},
        1,
    )


def test_a_group_s_policy():
    placement = {
        "node": "n",
        "labels": {"zone": "a", "gpu": ["x", "y"]},
        "spread": "rack",
        "strategy": "binpack",
    }
    raw = {
        "count": "all", "placement": placement, "reschedule": "never", "on_disconnect": {"stop_after": "1m"},
        "duplicates": "never", "update": {"max_parallel": 3, "min_healthy": "0s", "healthy_deadline": "1m"},
    }  # fmt: skip
    (group,) = spec.groups(a_template(a_task(), **raw))
    assert (group.count, group.everywhere) == (0, True)
    policy = group.policy
    assert policy.placement.labels == {"zone": ("a",), "gpu": ("x", "y")}
    assert (policy.placement.spread, policy.placement.strategy) == ("rack", "binpack")
    assert (policy.reschedule_after, policy.stop_after, policy.duplicates) == (None, 60.0, "never")
    assert (policy.update.max_parallel, policy.update.min_healthy, policy.update.healthy_deadline) == (
        3,
        0.0,
        60.0,
    )


GROUPS = {"db": ["server", "copy"], "a.b": ["c"], "a": ["b.c", "x"]}


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("db", "healthy", ("db", None, None, "healthy")),
        ("db.server", "2 healthy", ("db", "server", 2, "healthy")),
        ("a.b.c", "started", ("a.b", "c", None, "started")),
        ("a.b", "started", ("a.b", None, None, "started")),
        ("a.x", "completed", ("a", "x", None, "completed")),
        ("db.nobody", "healthy", None),
        ("server", "healthy", None),
    ],
)
def test_whom_a_dependency_means(key, value, meant):
    peer = peers.resolve(key, value, GROUPS)
    assert (peer and (peer.group, peer.task, peer.quorum, peer.condition)) == meant


@pytest.mark.parametrize(
    ("said", "key", "value"),
    [
        ("db", "db", "started"),
        ("db healthy", "db", "healthy"),
        ("2 of db.server healthy", "db.server", "2 healthy"),
        ("02 of db", "db", "2 started"),
        ("my task completed", "my task", "completed"),
        ("of healthy", "of", "healthy"),
    ],
)
def test_sentences_of_dependencies(said, key, value):
    assert peers.sentence(said) == (key, value)
    assert peers.condition(value) == value, "canonical already"


@pytest.mark.parametrize("bad", ["", " db", "0 of db", "1000000 of db", "100001 of db healthy"])
def test_what_is_no_sentence(bad):
    with pytest.raises(ValueError, match="not a dependency such as"):
        peers.sentence(bad)


@pytest.mark.parametrize(
    "bad", ["", "well", "2", "-1 healthy", "0 healthy", "٣ healthy", "2  healthy", None, 2, ["healthy"]]
)
def test_what_is_no_condition(bad):
    with pytest.raises(ValueError, match="not one of"):
        peers.condition(bad)


def test_what_an_address_means():
    keys = ["db", "db.server", "a.b"]
    assert peers.address("db", keys) == ("db", "")
    assert peers.address("db.sql", keys) == ("db", "sql")
    assert peers.address("db.server", keys) == ("db.server", "")
    assert peers.address("db.server.sql", keys) == ("db.server", "sql")
    assert peers.address("a.sql", keys) is None


def test_every_task_event_in_every_state_is_a_step_or_raises():
    steps = 0
    for state, event in itertools.product(Task, TaskEvent):
        try:
            assert isinstance(lifecycle.step(state, event), Task)
            steps += 1
        except IllegalTransition as error:
            assert state in str(error)
            assert event in str(error)
    assert steps == len(lifecycle._TASK)


def test_stopped_is_for_ever():
    assert not any(lifecycle.may_become(Deployment.STOPPED, other) for other in Deployment)
    assert not any(state is Task.STOPPED for state, _ in lifecycle._TASK)


def test_the_contract_s_number():
    numbers = {state: lifecycle.contract_number(state) for state in Deployment}
    assert [state for state, number in numbers.items() if number == 0] == ["PENDING", "RUNNING"]


@pytest.mark.parametrize(
    ("old", "states", "wanted", "new"),
    [
        ("PENDING", ["pending", "running"], "running", "PENDING"),
        ("PENDING", ["completed", "running"], "running", "RUNNING"),
        ("RUNNING", ["failed", "running"], "running", "DEGRADED"),
        ("RUNNING", ["backoff"], "running", "DEGRADED"),
        ("RUNNING", ["completed", "failed"], "running", "FAILED"),
        ("RUNNING", ["completed"], "running", "COMPLETED"),
        ("RUNNING", ["running"], "stopped", "STOPPING"),
        ("STOPPING", ["stopped", "completed", "lost"], "stopped", "STOPPED"),
        ("DEGRADED", ["starting", "running"], "running", "DEGRADED"),
    ],
)
def test_what_tasks_make_of_a_deployment(old, states, wanted, new):
    assert deployment_state(Deployment(old), [Task(state) for state in states], wanted=wanted) == new


@pytest.mark.parametrize("raw", [None, b"nonsense", b"{}", b'{"barred": 7}', b'{"barred": {"reason": "x"}}'])
def test_a_node_is_barred_only_by_a_word_that_can_be_read(raw):
    assert bar_of(raw) is None
    bar = Bar(5.0, "its actual is too large", "ab")
    assert bar_of(dumps({"v": 1, "barred": bar.as_word()})) == bar
