"""What the API asks the leader: answered by a real controller, by none, among nonsense."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.controller import answers as answers_module
from manager_api.controller.answers import Answers, CannotAnswer
from manager_api.controller.turns import Turnstile
from manager_api.core.fleet import Fleet
from manager_api.http.deployments import explain as explain_resource
from manager_api.http.nodes import node_calls
from store import logs
from store.codec import dumps
from store.errors import Unavailable
from store.kv.questions import LIVES_MS, MOST_QUESTIONS, Asked, Question, Questions, answer
from tests.builders import a_task, a_template
from tests.conftest import eventually, fresh_store
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration


@pytest.fixture(params=["redis", "valkey"])
def store(request, servers):
    return fresh_store(servers(request.param).client("test"))


@pytest.fixture
def manager(store):
    found = Manager(store)
    yield found
    found.end()


def lead(manager):
    manager.lead()
    eventually(lambda: manager.controller.mirror is not None)
    return manager


@pytest.fixture
def quick(monkeypatch):
    """A dead leader is not waited for long."""
    ask = explain_resource.ask
    monkeypatch.setattr(explain_resource, "ask", lambda services, kind, body: ask(services, kind, body, 0.3))
    monkeypatch.setattr(node_calls, "ask", lambda services, kind, body: ask(services, kind, body, 0.3))


def deploy(manager, name="etl", **group):
    assert manager.post("/api/task/task_group", a_template(name=name, **group)).status_code == 200
    answer = manager.post("/api/task/task_group/deploy", {"name": name})
    assert answer.status_code == 200, answer.text
    return answer.json["id"]


def test_a_deployment_is_explained_by_who_leads(manager):
    lead(manager)
    node = Puppet(manager)
    deployment = deploy(manager, count=2)
    eventually(node.orders)
    node.obey()

    def up():
        answer = manager.get(f"/v1/deployments/{deployment}/explain")
        if answer.status_code == 503:  # whoever leads was too busy to answer
            return None
        return answer.json if answer.json["groups"][0]["up"] == 2 else None

    said = eventually(up)
    (group,) = said["groups"]
    assert [row["node"] for row in group["allocations"]] == ["web-1", "web-1"]
    assert all(row["state"] == "up" and row["why"] for row in group["allocations"])
    assert manager.get("/v1/deployments/nobody/explain").status_code == 404


def test_nobody_leads(manager, quick):
    Puppet(manager)
    manager.store.put("deployments", "dep", dumps({"v": 1}))
    for said in (manager.get("/v1/deployments/dep/explain"), manager.post("/v1/nodes/web-1/drain", {})):
        assert said.status_code == 503
        assert said.json["error"] == "No controller answers"
        assert said.headers["retry-after"] == "1"
    assert "drain" not in manager.get("/v1/nodes/web-1").json


def test_what_was_asked_before_somebody_led_is_answered_while_it_is_waited_for(manager, monkeypatch):
    Puppet(manager)
    ask = node_calls.ask
    monkeypatch.setattr(node_calls, "ask", lambda services, kind, body: ask(services, kind, body, 30.0))
    found = []
    asking = threading.Thread(
        target=lambda: found.append(manager.post("/v1/nodes/web-1/drain", {"dry_run": True}))
    )
    asking.start()
    eventually(lambda: manager.store.client.xlen(manager.store.keys.questions) == 1)
    lead(manager)
    asking.join(40)
    assert found[0].status_code == 200, found[0].text
    assert found[0].json == {"node": "web-1", "allocations": [], "left_out": 0, "groups": []}


def test_the_next_leader_goes_on_answering(manager):
    Puppet(manager)
    lead(manager)
    assert manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).status_code == 200
    manager.end()
    manager.controller = Manager(manager.store).controller
    lead(manager)
    assert manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).status_code == 200


NONSENSE = [
    {"x": b"y"},
    {"q": b"\xff\xfe"},
    {"q": b"[]"},
    {"q": b"null"},
    {"q": b"[" * 5000},
    {"q": dumps({"id": "../../leader", "kind": "explain", "body": {}, "within": 5})},
    {"q": dumps({"id": "0" * 32, "kind": 7, "body": {}, "within": 5})},
    {"q": dumps({"id": "0" * 32, "kind": "explain", "body": [], "within": 5})},
    {"q": dumps({"id": "0" * 32, "kind": "explain", "body": {}, "within": "long"})},
    {"q": dumps({"id": "0" * 32, "kind": "explain", "body": {}, "within": True})},
    {"q": dumps({"id": "1" * 32, "kind": "explain", "body": {}, "within": 1e300})},
    {"q": dumps({"id": "2" * 32, "kind": "drain", "body": {"node": {"a": 1}}, "within": 60})},
    {"q": dumps({"id": "3" * 32, "kind": "plan", "body": {"record": [1]}, "within": 60})},
    {"q": dumps({"id": "4" * 32, "kind": "plan", "body": {"record": {"template": "x"}}, "within": 60})},
    {"q": dumps({"id": "5" * 32, "kind": "nobody knows", "body": {}, "within": 60})},
]


def test_nonsense_in_the_stream_harms_nothing(manager, caplog):
    lead(manager)
    Puppet(manager)
    keys, client = manager.store.keys, manager.store.client
    client.rpush(keys.answer("6" * 32), "x")
    client.delete(keys.answer("6" * 32))
    client.set(keys.answer("7" * 32), "no list")
    for fields in [
        *NONSENSE,
        {"q": dumps({"id": "7" * 32, "kind": "drain", "body": {"node": "web-1"}, "within": 5})},
    ]:
        client.xadd(keys.questions, fields)
    # The leader may not have heard of the node yet: then it says that, and to ask again.
    eventually(lambda: manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).status_code == 200)
    eventually(lambda: client.llen(keys.answer("5" * 32)) == 1)
    assert b"does not know questions" in client.lrange(keys.answer("5" * 32), 0, -1)[0]
    for number in "1234":
        assert b'"error"' in client.lrange(keys.answer(number * 32), 0, -1)[0]
    assert client.exists(keys.answer("0" * 32)) == 0
    assert not any(text.startswith(("not leading", "leading anew")) for text in caplog.messages)
    client.delete(keys.questions)
    client.set(keys.questions, "no stream")
    eventually(lambda: any("questions:" in text for text in caplog.messages))
    client.delete(keys.questions)
    eventually(lambda: manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).status_code == 200)
    assert not any(text.startswith(("not leading", "leading anew")) for text in caplog.messages)


def test_the_stream_and_the_answers_end_by_themselves(store):
    asked = Questions(store.client, store.keys)
    assert asked.ask("explain", {}, 0.05) is None
    assert 0 < store.client.pttl(store.keys.questions) <= LIVES_MS
    answer(store.client, store.keys, "a" * 32, {"answer": {}})
    assert 0 < store.client.pttl(store.keys.answer("a" * 32)) <= LIVES_MS
    for _ in range(MOST_QUESTIONS + 50):
        store.client.xadd(store.keys.questions, {"q": b"x"})
    asked.ask("explain", {}, 0.05)
    assert store.client.xlen(store.keys.questions) == MOST_QUESTIONS
    with pytest.raises(ValueError, match="at most"):
        asked.ask("plan", {"record": "x" * 300_000}, 0.05)


def test_old_questions_are_not_heard_and_a_stream_that_begins_anew_is(store):
    client, key = store.client, store.keys.questions
    seconds, _ = client.time()
    q = dumps({"id": "a" * 32, "kind": "k", "body": {}, "within": 5})
    client.xadd(key, {"q": q}, id=f"{(seconds - 10) * 1000}-0")
    asked = Asked(client, store.keys)
    assert asked.wait(0) == []
    client.xadd(key, {"q": q})
    (question,) = asked.wait(0)
    assert 0 < question.left <= 5
    # Another server, whose clock is behind, or one whose stream had expired.
    client.delete(key)
    assert asked.wait(0) == []
    seconds, _ = client.time()
    longer = dumps({"id": "a" * 32, "kind": "k", "body": {}, "within": 30})
    client.xadd(key, {"q": longer}, id=f"{(seconds - 3) * 1000}-0")
    (question,) = asked.wait(0)
    assert question.left < 28


@pytest.mark.parametrize(("given", "heard"), [("job-7", "job-7"), ("", ""), (None, ""), ("a b", ""), (7, "")])
def test_the_leader_is_told_whose_question_it_is(store, given, heard):
    asked = {"id": "a" * 32, "kind": "k", "body": {}, "within": 5, "request": given}
    store.client.xadd(store.keys.questions, {"q": dumps(asked)})
    assert Asked(store.client, store.keys).wait(0)[0].request == heard


def test_the_log_names_the_request_while_its_question_is_answered(store, clock):
    seen = []

    def ask():
        logs.request.set("job-7")
        return Questions(store.client, store.keys).ask("k", {}, 20)

    world = World(store, clock, lambda *_: seen.append(logs.request.get()) or {})
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(ask)
        world.answers.heard(eventually(lambda: Asked(store.client, store.keys).wait(0)))
        world.give()
        assert said.result() == {"answer": {}}
    assert (seen, logs.request.get()) == (["job-7"], "")


def test_who_was_stopped_beyond_its_lease_answers_nothing(manager, monkeypatch):
    """Its memory is old: it would say that a change stops nothing, and the change would pass."""
    lead(manager)
    controller, keys = manager.controller, manager.store.keys
    turns, begins, waits = Turnstile.round, threading.Event(), threading.Event()

    def stopped(turnstile):
        turns(turnstile)
        if begins.is_set():
            waits.set()  # from here on no question is answered by who leads rightly
            eventually(lambda: controller._answers._waiting)
            begins.clear()
            manager.store.client.set(keys.lease("leader"), "9999:another")
            controller._election._renew_at = 0.0

    monkeypatch.setattr(Turnstile, "round", stopped)
    begins.set()
    assert waits.wait(20)
    assert Questions(manager.store.client, keys).ask("group", {"group": "1", "record": None}, 5.0) is None
    assert manager.store.client.get(keys.lease("leader")) == b"9999:another", "it was heard"


class World:
    """The leader's side, with a clock of the test's and questions out of nowhere."""

    def __init__(self, store, clock, handle):
        self.store, self.wakes = store, 0
        self.answers = Answers(store.client, store.keys, clock, {"k": handle}, self._wake)

    def _wake(self):
        self.wakes += 1

    def ask(self, count, left=5.0):
        self.answers.heard([Question(f"{number:032x}", "k", {"n": number}, left) for number in range(count)])

    def give(self):
        self.answers.give(Fleet("1-a"), self.store.client)
        return sum(self.store.client.exists(self.store.keys.answer(f"{n:032x}")) for n in range(3000))


def test_a_round_answers_a_few_and_wakes_itself_for_the_others(fake_store, clock):
    world = World(fake_store, clock, lambda _fleet, body, _now: dict(body))
    world.ask(50)
    assert (world.wakes, world.give()) == (1, answers_module.AT_ONCE)
    assert world.wakes == 2
    assert (world.give(), world.give()) == (40, 50)
    assert world.wakes == 3, "nothing is left"


def test_a_round_ends_when_its_time_is_over_and_most_of_the_time_is_for_planning(fake_store, clock):
    def slow(*_):
        clock.advance(0.1)
        return {}

    world = World(fake_store, clock, slow)
    world.ask(3)
    assert [world.give() for _ in range(3)] == [1, 1, 1]
    clock.advance(0.1 * answers_module.RESTS - 0.01)
    assert world.give() == 1
    clock.advance(0.02)
    assert (world.give(), world.give()) == (2, 2)
    assert world.wakes == 1, "while it rests, it does not wake itself"


def test_after_a_very_long_answer_those_who_wait_are_still_answered(fake_store, clock):
    """Who was not scheduled for seconds has not worked for seconds."""
    world = World(fake_store, clock, lambda *_: clock.advance(2.5) or {})
    world.ask(2)
    assert world.give() == 1
    clock.advance(answers_module.MOST_REST)
    assert world.give() == 2


def test_nobody_waits_any_more(fake_store, clock):
    world = World(fake_store, clock, lambda *_: {})
    world.ask(3)
    clock.advance(6)
    assert world.give() == 0


def test_a_flood_of_questions_costs_the_oldest(fake_store, clock):
    world = World(fake_store, clock, lambda *_: {})
    world.ask(answers_module.MOST_WAITING + 5)
    world.give()
    assert fake_store.client.exists(fake_store.keys.answer(f"{0:032x}")) == 0
    assert fake_store.client.exists(fake_store.keys.answer(f"{5:032x}")) == 1


@pytest.mark.parametrize(
    ("trouble", "status"),
    [(KeyError("x"), 500), (TypeError("x"), 500), (CannotAnswer(404, "No", "why"), 404)],
)
def test_a_question_that_breaks_its_handler_is_answered_too(fake_store, clock, trouble, status):
    def broken(*_):
        raise trouble

    world = World(fake_store, clock, broken)
    world.ask(1)
    assert world.give() == 1
    raw = fake_store.client.lrange(fake_store.keys.answer(f"{0:032x}"), 0, -1)[0]
    assert f'"status":{status}'.encode() in raw


def test_an_answer_beyond_measure_is_none(fake_store, clock, monkeypatch):
    monkeypatch.setattr(answers_module, "MOST_ANSWER", 100)
    world = World(fake_store, clock, lambda *_: {"x": "y" * 200})
    world.ask(1)
    world.give()
    assert b"too large" in fake_store.client.lrange(fake_store.keys.answer(f"{0:032x}"), 0, -1)[0]


def test_a_store_that_is_gone_is_the_controllers_own_affair(fake_store, clock, monkeypatch):
    def gone(*_):
        raise Unavailable("gone")

    world = World(fake_store, clock, lambda *_: {})
    monkeypatch.setattr(answers_module, "answer", gone)
    world.ask(1)
    with pytest.raises(Unavailable):
        world.answers.give(Fleet("1-a"), fake_store.client)


def test_tasks_are_named_where_they_hold_a_deployment_up(manager):
    lead(manager)
    node = Puppet(manager)
    assert manager.post("/api/task/task_group", a_template(a_task("one"))).status_code == 200
    deployment = manager.post("/api/task/task_group/deploy", {"name": "etl"}).json["id"]
    eventually(node.orders)
    node.obey(one={"state": "backoff", "reason": "exit code 3"})

    def reason():
        answer = manager.get(f"/v1/deployments/{deployment}/explain")
        if answer.status_code == 503:  # whoever leads was too busy to answer
            return None
        return answer.json["groups"][0]["allocations"][0]["reason"]

    eventually(lambda: reason() == "task one backoff: exit code 3")
