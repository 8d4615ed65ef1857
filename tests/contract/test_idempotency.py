"""`Idempotency-Key`: a call that is made again is answered again, whoever crashed in between."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.frame import idempotency
from manager_api.http.frame.idempotency import MOST_A_DAY, MOST_ANSWER, OVERHEAD, SHORT_MS, Allowance
from manager_api.http.templates import templates
from store.codec import loads
from store.errors import Unavailable
from store.keys import DEPLOYMENTS
from store.kv.events import Events
from store.kv.replays import CLAIMED_MS, KEPT_MS, Replays
from tests.builders import a_task
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

SHOP = {"name": "shop", "task_groups": [{"name": "web", "tasks": [a_task("web", "/bin/true")]}]}
WISH = {"template": "shop"}
SAVE, DEPLOY = "/api/task/task_group", "/v1/deployments"


@pytest.fixture
def manager(store):
    return Manager(store)


@pytest.fixture
def led(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.get("/readyz").status_code == 200)
    Puppet(found)
    found.post(SAVE, SHOP)
    yield found
    found.end()


def post(manager, path, body, key="k-1", **more):
    return manager.http.simulate_post(path, json=body, headers={"Idempotency-Key": key}, **more)


def kept(manager):
    """The keys under which answers and claims lie."""
    return manager.store.client.keys(f"{manager.store.keys.prefix}replay:*")


def calls_told_of(manager):
    events = Events(manager.store.client, manager.store.keys).before(None)
    return len([each for each in events if each.event["kind"] == "api"])


def is_replay(answer):
    return answer.headers.get("idempotent-replayed") == "true"


def test_the_same_call_is_answered_again_and_not_done_again(led):
    first = post(led, DEPLOY, WISH)
    assert first.status_code == 202, first.text
    assert not is_replay(first)
    told = calls_told_of(led)
    again = post(led, DEPLOY, WISH, key='"k-1"')
    assert is_replay(again), "with quotes, as the draft of the header has it, it is the same key"
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert calls_told_of(led) == told > 0
    assert post(led, DEPLOY, WISH, key="k-2").json["id"] != first.json["id"]
    assert len(led.store.values(DEPLOYMENTS)) == 2


def test_contract_calls_take_keys_too(led):
    path = "/api/task/task_group/deploy"
    ids = {post(led, path, {"name": "shop"}).json["id"] for _ in range(3)}
    assert len(ids) == len(led.store.values(DEPLOYMENTS)) == 1


def test_many_at_once_are_one(led):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(led, DEPLOY, WISH), range(24)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    (deployment,) = led.store.values(DEPLOYMENTS)
    assert {answer.json["id"] for answer in answers if answer.status_code == 202} == {deployment}
    for answer in answers:
        assert answer.status_code == 202 or answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("other", [("body", SAVE, {**SHOP, "name": "b"}, ""), ("query", SAVE, SHOP, "x=1"), ("path", DEPLOY, SHOP, "")])  # fmt: skip
def test_a_key_of_another_call_is_refused(manager, other):
    _, path, body, query = other
    assert post(manager, SAVE, SHOP).status_code == 200
    found = post(manager, path, body, query_string=query)
    assert (found.status_code, found.json["error"]) == (422, idempotency.OTHER)
    assert manager.get("/v1/templates").json["total"] == 1
    assert is_replay(post(manager, SAVE, SHOP)), "and the first answer is still there"


def test_while_the_first_runs_the_second_waits(manager, monkeypatch):
    began, go, save = threading.Event(), threading.Event(), templates.save

    def slow(*args):
        began.set()
        assert go.wait(20)
        return save(*args)

    monkeypatch.setattr(templates, "save", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, manager, SAVE, SHOP)
        assert began.wait(20)
        second = post(manager, SAVE, SHOP)
        assert (second.status_code, second.headers["retry-after"]) == (409, "1")
        (key,) = kept(manager)
        assert 0 < manager.store.client.pttl(key) <= CLAIMED_MS, "a claimer that dies blocks nobody for long"
        go.set()
        assert first.result().status_code == 200
    assert CLAIMED_MS < manager.store.client.pttl(key) <= KEPT_MS
    assert is_replay(post(manager, SAVE, SHOP))


def test_refusals_and_failures_are_tried_anew(led, monkeypatch):
    assert post(led, DEPLOY, {"template": "none"}).status_code == 404
    assert kept(led) == []
    with monkeypatch.context() as patched:
        patched.setattr(templates, "save", lambda *_: 1 // 0)
        assert post(led, SAVE, SHOP).status_code == 500
    assert kept(led) == []
    assert post(led, SAVE, SHOP).status_code == 200


def test_what_a_crashed_worker_began_is_found(led, monkeypatch):
    with monkeypatch.context() as patched:  # the worker dies when all is written but the answer
        patched.setattr(Replays, "keep", lambda *_: False)
        first = post(led, DEPLOY, WISH).json["id"]
    assert post(led, DEPLOY, WISH).status_code == 409
    led.store.client.delete(*kept(led))  # its claim expires
    again = post(led, DEPLOY, WISH)
    assert (again.json["id"], again.json["created"]) == (first, False)
    assert len(led.store.values(DEPLOYMENTS)) == 1
    assert is_replay(post(led, DEPLOY, WISH))


def test_what_was_refused_under_a_key_is_decided_anew(led):
    pinned = {**SHOP, "name": "far", "task_groups": [{"tasks": [a_task("web", "nowhere:/bin/true")]}]}
    led.post(SAVE, pinned)
    for _ in range(2):
        refused = post(led, DEPLOY, {"template": "far"})
        assert refused.status_code == 409, refused.text
        assert "nodes" in refused.json
    Puppet(led, "nowhere", "10.9.9.9")
    assert post(led, DEPLOY, {"template": "far"}).status_code == 202


def test_a_failing_store_fails_the_call_before_and_not_after(manager, monkeypatch):
    def away(*_):
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Replays, "keep", away)
        assert post(manager, SAVE, SHOP).status_code == 200
    with monkeypatch.context() as patched:
        patched.setattr(Replays, "claim", away)
        assert post(manager, SAVE, {**SHOP, "name": "b"}, key="k-2").status_code == 503
    assert manager.get("/v1/templates").json["total"] == 1


@pytest.mark.parametrize("key", ["", "a b", '"a', 'a"b', "x" * 256, "ä"])
def test_what_is_no_key(manager, key):
    found = post(manager, SAVE, SHOP, key=key)
    assert (found.status_code, found.json["detail"].partition(":")[0]) == (400, "Idempotency-Key")
    assert manager.get("/v1/templates").json["total"] == 0


def test_calls_that_take_none_are_as_before(manager):
    node = Puppet(manager)
    before = len(kept(manager))
    for _ in range(2):
        assert post(manager, "/v1/nodes/join", node.join_body()).status_code == 200
        assert post(manager, "/api/task/query", {"name": "none"}).status_code == 404
    assert len(kept(manager)) == before == 0, "joins may be answered with passwords, queries write nothing"


def test_neither_key_nor_body_lies_in_the_store(manager):
    said = {**SHOP, "task_groups": [{"tasks": [a_task("web", "/bin/true --token hunter2")]}]}
    assert post(manager, SAVE, said, key="my-secret-key").status_code == 200
    (key,) = kept(manager)
    assert b"my-secret-key" not in key
    raw = manager.store.client.get(key)
    assert b"hunter2" not in raw
    assert b"my-secret-key" not in raw
    assert loads(raw)["status"] == 200


def test_an_answer_that_is_too_long_is_not_kept_whole_and_not_done_again(manager, monkeypatch):
    calls = []
    monkeypatch.setattr(templates, "save", lambda *_: calls.append(1) or "x" * MOST_ANSWER)
    assert post(manager, SAVE, SHOP).status_code == 200
    found = post(manager, SAVE, SHOP)
    assert (found.status_code, found.json["error"], len(calls)) == (409, idempotency.TOO_LONG, 1)
    assert manager.store.client.memory_usage(kept(manager)[0]) < 2000


def test_a_flood_of_keys_does_not_fill_the_store(clock):
    allowance = Allowance(clock)
    assert allowance.lives_ms(MOST_A_DAY - OVERHEAD) == KEPT_MS
    assert allowance.lives_ms(10) == SHORT_MS
    assert allowance.lives_ms(idempotency.MOST_SHORT) == idempotency.SHORTEST_MS, "a flood of large ones"
    clock.advance(SHORT_MS / 1000)
    assert allowance.lives_ms(10) == SHORT_MS
    clock.advance(idempotency.KEPT)
    assert allowance.lives_ms(10) == KEPT_MS


def test_answers_of_a_lost_history_are_none(manager):
    assert post(manager, SAVE, SHOP).status_code == 200
    manager.store.client.hset(manager.store.keys.meta, "epoch", "2-other")
    manager.store.attach()
    found = post(manager, SAVE, SHOP)
    assert (found.status_code, is_replay(found)) == (200, False)


def test_claims_are_settled_by_who_has_them(any_store):
    replays, mine, other = Replays(any_store.client, any_store.keys), {"by": "me"}, {"by": "you"}
    assert replays.claim("n", mine) is None
    assert replays.claim("n", other) == mine
    assert not replays.keep("n", other, {"status": 200})
    assert not replays.give_up("n", other)
    assert replays.keep("n", mine, {"status": 200})
    assert replays.claim("n", other) == {"status": 200}
    assert not replays.give_up("n", mine)
    assert replays.claim("m", other) is None
    assert replays.give_up("m", other)
    assert replays.claim("m", mine) is None


def test_the_wanted_id_is_of_the_cluster_the_key_and_the_call(manager, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "manager_api.http.deployments.instances.create", lambda *args: seen.append(args[-1]) or 1 // 0
    )
    for key, body in (("a", WISH), ("a", WISH), ("b", WISH), ("a", {**WISH, "name": "x"})):
        post(manager, DEPLOY, body, key=key)
    assert manager.post(DEPLOY, WISH).status_code == 500
    assert seen[0] == seen[1] == str(uuid.UUID(seen[0]))
    assert len({*seen}) == 4
    assert seen[4] is None


def test_an_empty_store_is_recovered_with_a_key_too(manager):
    """Clients give one to each POST; an empty store has no room for what was answered."""
    cluster = manager.store.meta().cluster
    manager.store.client.delete(*manager.store.client.keys(f"{manager.store.keys.prefix}*"))
    told = {"headers": {"Idempotency-Key": "k"}, "json": {"cluster": cluster, "dry_run": True}}
    answer = manager.http.simulate_post("/v1/recover", **told)
    assert (answer.status_code, answer.json.get("cluster")) == (200, cluster), answer.text


def test_the_document_says_who_takes_keys(manager):
    paths = manager.get("/openapi.json").json["paths"]

    def takes(path, method):
        call = paths[path][method]
        named = {"$ref": "#/components/parameters/IdempotencyKey"} in call["parameters"]
        assert not named or {"409", "422"} <= call["responses"].keys()
        return named

    assert takes("/v1/deployments", "post")
    assert takes("/api/task/task_group/deploy", "post")
    assert not takes("/v1/nodes/join", "post")
    assert not takes("/v1/recover", "post")
    assert not takes("/api/task/query", "post")
    assert not takes("/v1/templates/{template}", "put")
