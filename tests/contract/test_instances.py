"""Deployments by /v1: named, parametrised, listed, scaled, updated, confirmed. A fake leader decides."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.deployments import deployments, instance_view
from manager_api.http.deployments.deployment_answers import DeploymentSchema
from manager_api.http.nodes import node_rows
from manager_api.http.templates import templates
from store.codec import dumps, loads
from store.keys import DEPLOYMENTS, NAMES, STATUS
from store.model.quantity import duration
from tests.builders import a_task, a_template
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract


class Leader:
    """Gives every new deployment the status that a test wants."""

    def __init__(self, store, says):
        self._store, self._says = store, says
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.005):
            for key in self._store.values(DEPLOYMENTS).keys() - self._store.values(STATUS).keys():
                self._store.put(STATUS, key, dumps({"v": 1, "allocations": [], "reason": "", **self._says}))

    def end(self):
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def manager(fake_store, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    found = Manager(fake_store)
    save(found, a_template(a_task()))
    return found


def save(manager, body):
    """Store a template as it is."""
    return templates.save(manager.store, body)


def create(manager, expect=202, **body):
    answer = manager.post("/v1/deployments", {"template": "etl", **body})
    assert answer.status_code == expect, answer.text
    return answer.json


def record(manager, deployment):
    return loads(manager.store.get(DEPLOYMENTS, deployment).value)


def say(manager, deployment, **status):
    """What the leader would."""
    whole = {"v": 1, "status": "RUNNING", "reason": "", "allocations": [], **status}
    manager.store.put(STATUS, deployment, dumps(whole))


def act(manager, deployment, what, body=None, expect=200):
    answer = manager.post(f"/v1/deployments/{deployment}/{what}", body or {})
    assert answer.status_code == expect, answer.text
    return answer.json


def ids(manager, question=""):
    return [row["id"] for row in manager.get(f"/v1/deployments{question}").json["data"]]


# -- create


def test_create_answers_202_with_its_place(manager):
    answer = manager.post("/v1/deployments", {"template": "etl"})
    assert answer.status_code == 202
    assert answer.json == {"id": answer.json["id"], "status": "PENDING", "created": True}
    assert answer.headers["Location"] == f"/v1/deployments/{answer.json['id']}"
    kept = record(manager, answer.json["id"])
    assert kept.keys() == {"v", "template", "version", "wanted", "created"}, "sparse, as contract 1 writes it"


def test_everything_asked_for_is_in_the_record_and_in_the_view(manager):
    body = a_template(a_task(), name="shop", ttl="8h")
    body = {"parameters": {"user": {"required": True}, "port": {"default": "80"}}, "ttl": "8h", **body}
    body["task_groups"][0].pop("ttl")
    save(manager, body)
    found = create(
        manager, template="shop", name="web", parameters={"user": "ann"}, wait=True, scale={"group-0": 3}
    )
    kept = record(manager, found["id"])
    wanted = {"name": "web", "parameters": {"user": "ann", "port": "80"}, "ttl": duration("8h")}
    assert {**wanted, "wait": True, "scale": {"group-0": 3}}.items() <= kept.items()
    view = manager.get(f"/v1/deployments/{found['id']}").json
    assert {**wanted, "ends": kept["created"] + duration("8h")}.items() <= view.items()
    assert manager.get("/v1/deployments").json["data"] == [view]
    sooner = create(manager, template="shop", parameters={"user": "x"}, ttl="5m")
    assert record(manager, sooner["id"])["ttl"] == 300.0


def test_a_version_is_deployed_by_its_number(manager):
    save(manager, a_template(a_task(command="/bin/false")))
    assert record(manager, create(manager)["id"])["version"] == 2
    assert record(manager, create(manager, version=1)["id"])["version"] == 1
    answer = create(manager, expect=404, version=7)
    assert answer["detail"] == "there is no version 7 of 'etl'; kept are 1, 2"
    assert "no template named 'x'" in create(manager, expect=404, template="x", version=7)["detail"]


def test_a_refusal_keeps_nothing_not_even_the_name(fake_store, monkeypatch):
    manager = Manager(fake_store)
    monkeypatch.setattr(deployments, "DECIDED_WITHIN", 20.0)
    save(manager, a_template(a_task()))
    nodes = [{"node": "web-1", "reason": "is offline"}]
    leader = Leader(fake_store, {"status": "FAILED", "refused": True, "reason": "no room", "nodes": nodes})
    answer = create(manager, expect=409, name="web")
    leader.end()
    assert (answer["nodes"], answer["detail"]) == (nodes, "no room")
    assert manager.store.values(DEPLOYMENTS) == {}
    assert manager.store.values(NAMES) == {}


# -- names


def test_the_same_name_with_the_same_content_is_the_same_deployment(manager):
    first = create(manager, name="web", ttl="1h")
    again = create(manager, name="web", ttl="60m")
    assert again == {**first, "created": False}
    assert ids(manager) == [first["id"]]


def test_the_same_name_with_other_content_is_refused_with_what_differs(manager):
    first = create(manager, name="web", ttl="1h")
    save(manager, a_template(a_task(command="/bin/false")))
    save(manager, a_template(a_task(), name="other"))
    before = manager.store.meta().rev
    answer = create(manager, expect=409, name="web")
    assert answer["id"] == first["id"]
    assert "version 1, not 2; ttl 3600, not none" in answer["detail"]
    answer = create(manager, expect=409, name="web", template="other", ttl="1h")
    assert "which has template 'etl', not 'other':" in answer["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize("how", ["stopped", "ended", "expired", "gone"])
def test_the_name_of_what_is_over_is_free(manager, how):
    first = create(manager, name="web")["id"]
    if how == "stopped":
        act(manager, first, "stop")
    elif how == "gone":
        manager.store.txn([], [_dropped(first)])
    else:
        more = {"expired": True} if how == "expired" else {"status": "COMPLETED"}
        say(manager, first, **more)
    second = create(manager, name="web")
    assert second["created"]
    assert loads(manager.store.get(NAMES, "web").value)["deployment"] == second["id"] != first


def _dropped(deployment):
    from store.kv.api import Change

    return Change(DEPLOYMENTS, deployment, None)


def test_what_has_ended_lives_again_under_its_name_only_while_that_is_free(manager):
    first = create(manager, name="web")["id"]
    say(manager, first, status="FAILED")
    act(manager, first, "restart")
    assert create(manager, name="web")["id"] == first, "asked to start again, it lives"
    say(manager, first, status="FAILED", restarted=1)
    second = create(manager, name="web")["id"]
    answer = act(manager, first, "restart", expect=409)
    assert f"'web' is deployment {second} by now" in answer["detail"]
    assert record(manager, first)["restart"] == 1


def test_an_undecided_one_that_was_answered_under_its_name_is_not_withdrawn(manager):
    first = create(manager, name="web")["id"]
    rev = manager.store.get(DEPLOYMENTS, first).rev
    assert create(manager, name="web")["id"] == first
    deployments._withdraw(manager.store, first, rev, "web")  # as who asked first, and is refused now
    assert record(manager, first)["name"] == "web"


def test_who_joins_an_undecided_one_waits_for_its_decision(fake_store, monkeypatch):
    manager = Manager(fake_store)
    save(manager, a_template(a_task()))
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    first = create(manager, name="web")["id"]
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 20.0)
    leader = Leader(fake_store, {"status": "RUNNING"})
    assert create(manager, name="web") == {"id": first, "status": "RUNNING", "created": False, "name": "web"}
    leader.end()


def test_twenty_at_once_with_one_name_get_one_deployment(store):
    manager = Manager(store)
    save(manager, a_template(a_task()))
    leader = Leader(store, {"status": "RUNNING"})
    start = threading.Barrier(20)

    def one(_):
        start.wait(20)
        return create(manager, name="web")

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(one, range(20)))
    leader.end()
    assert len({each["id"] for each in found}) == 1
    assert sorted(each["created"] for each in found) == [False] * 19 + [True]
    assert list(store.values(DEPLOYMENTS)) == [found[0]["id"]]


def test_twenty_at_once_whose_deployment_is_refused_keep_nothing(store, monkeypatch):
    manager = Manager(store)
    monkeypatch.setattr(deployments, "DECIDED_WITHIN", 20.0)
    save(manager, a_template(a_task()))
    leader = Leader(store, {"status": "FAILED", "refused": True, "nodes": []})
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: manager.post("/v1/deployments", {"template": "etl", "name": "x"}), range(20))
        )
    leader.end()
    assert {each.status_code for each in answers} == {409}
    assert store.values(DEPLOYMENTS) == {}


# -- dry run


@pytest.fixture
def leader(monkeypatch):
    """Answers every question with a plan, and keeps what was asked."""
    asked = []

    def ask(_services, kind, body, within=5.0):
        asked.append((kind, body))
        return {"would": "place", "allocations": [], "nodes": []}

    monkeypatch.setattr("manager_api.http.frame.questions.ask", ask)
    return asked


def dry(manager, expect=200, **body):
    before = manager.store.meta().rev
    answer = manager.post("/v1/deployments?dry_run=1", {"template": "etl", **body})
    assert answer.status_code == expect, answer.text
    assert manager.store.meta().rev == before, "nothing was written"
    return answer.json


def test_a_dry_run_asks_the_leader_and_writes_nothing(manager, leader):
    answer = dry(manager, ttl="1h")
    assert answer == {"id": "dry-run", "would": "place", "allocations": [], "nodes": [], "diff": []}
    ((kind, body),) = leader
    assert (kind, body["id"]) == ("plan", "dry-run")
    assert {"template": "etl", "version": 1, "ttl": 3600.0, "wanted": "running"}.items() <= body[
        "record"
    ].items()


def test_a_dry_run_with_a_living_name_is_that_of_its_update(manager, leader):
    first = create(manager, name="web", scale={"group-0": 4})["id"]
    assert dry(manager, name="web")["would"] == "nothing"
    assert leader == []
    save(manager, a_template(a_task(command="/bin/false"), count=2))
    answer = dry(manager, name="web")
    assert answer["id"] == first
    assert answer["diff"] == [
        {"field": "version", "old": 1, "new": 2},
        {"field": "groups.group-0.tasks.main.config.command", "old": "/bin/true", "new": "/bin/false"},
    ], "the count was set by scaling, and stays"
    ((_, body),) = leader
    assert (body["id"], body["record"]["change"], body["record"]["version"]) == (first, 1, 2)
    save(manager, a_template(a_task(), name="other"))
    assert "has template 'etl'" in dry(manager, expect=409, name="web", template="other")["detail"]


# -- list


def test_pages_are_newest_first_and_survive_what_goes(manager):
    made = []
    for n in range(7):
        manager.services.clock.wall = lambda n=n: 1000.0 + n // 2  # two of the same time
        made.append(create(manager)["id"])
    whole = ids(manager)
    assert sorted(whole) == sorted(made)
    assert {whole[0]} == {made[6]}
    first = manager.get("/v1/deployments?limit=3").json
    assert ([row["id"] for row in first["data"]], first["total"]) == (whole[:3], 7)
    manager.store.txn([], [_dropped(whole[2]), _dropped(whole[3])])
    second = manager.get(f"/v1/deployments?limit=2&cursor={first['next']}").json
    assert ([row["id"] for row in second["data"]], second["total"]) == (whole[4:6], 5)
    third = manager.get(f"/v1/deployments?limit=2&cursor={second['next']}").json
    assert ([row["id"] for row in third["data"]], third["next"]) == (whole[6:], None)


def test_filters(manager):
    save(manager, a_template(a_task(), name="other"))
    plain, named, other = create(manager), create(manager, name="web"), create(manager, template="other")
    plain, named, other = plain["id"], named["id"], other["id"]
    where = [{"id": f"{named}.0", "node": "n1", "tasks": ["main"]}]
    say(manager, named, allocations=where)
    large = {"allocations": [], "placed": [[0, 900]], "status": "PENDING"}
    say(manager, plain, **large)
    manager.store.client.hset(manager.store.keys.node("n4").desired, f"{plain}.7", b"{}")
    say(manager, other, status="FAILED", tasks=[{"name": "main", "node": "n2", "state": "failed"}])
    for question, found in {
        "": {plain, named, other}, "?template=etl": {plain, named}, "?name=web": {named},
        "?status=RUNNING": {named}, "?status=running,FAILED": {named, other}, "?over=true": {other},
        "?over=false": {plain, named}, "?node=n1": {named}, "?node=n2": {other}, "?node=n3": set(),
        "?node=n4": {plain}, "?node=%7B%7D": set(),
        f"?id={plain[:12]}": {plain}, "?template=other&status=RUNNING": set(),
    }.items():  # fmt: skip
        answer = manager.get(f"/v1/deployments{question}").json
        assert {row["id"] for row in answer["data"]} == found, question
        assert answer["total"] == len(found)


def test_only_the_rows_of_a_page_are_built(manager, monkeypatch):
    from manager_api.http.deployments import instance_view

    for _ in range(5):
        create(manager)
    built, rows = [], instance_view.rows
    monkeypatch.setattr(instance_view, "rows", lambda store, pairs: built.extend(pairs) or rows(store, pairs))
    page = manager.get("/v1/deployments?limit=2").json
    assert [row["id"] for row in page["data"]] == built


def test_more_rows_than_a_page_may_have_come_whole_without_a_limit(manager, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.listing.MOST_ROWS", 2)
    made = [create(manager)["id"] for _ in range(5)]
    assert sorted(ids(manager)) == sorted(made)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            "color=red",
            "color: unknown; there are after, wait, limit, cursor, fields, sort, status, ",
        ),
        ("limit=0", "limit: not a whole number from 1 to 1000"),
        ("limit=1001", "limit: not a whole number"),
        ("limit=" + "9" * 5000, "limit: not a whole number"),
        ("limit=%D9%A3", "limit: not a whole number"),
        ("limit=", "limit: not a whole number"),
        ("status=DEAD", "status: not one or several of PENDING, RUNNING"),
        ("over=maybe", "over: 'maybe' is neither true nor false"),
        ("cursor=x", "cursor: not a cursor that was given"),
        ("cursor=%C3%A4", "cursor: not a cursor"),
        ("cursor=WzEsMl0=", "cursor: not a cursor"),
        ("name=a&name=b", "name: given more than once"),
    ],
)
def test_questions_that_are_none(manager, question, says):
    answer = manager.get(f"/v1/deployments?{question}")
    assert answer.status_code == 400, answer.text
    assert says in answer.json["detail"]


# -- scale, and confirm


def groups(**placed):
    return {name: {"wanted": n, "placed": n, "up": n} for name, n in placed.items()}


@pytest.fixture
def shop(manager):
    """A living deployment of ten."""
    body = {
        "name": "shop",
        "task_groups": [
            {"name": "web", "count": 10, "tasks": [a_task("web")]},
            {"name": "db", "count": 2, "tasks": [a_task("db")]},
        ],
    }
    save(manager, body)
    found = create(manager, template="shop")["id"]
    say(manager, found, groups=groups(web=10, db=2))
    return found


def test_scale_changes_what_is_named_and_says_what_is_so(manager, shop):
    assert act(manager, shop, "scale", {"groups": {"web": 12}}) == {
        "id": shop,
        "groups": {"web": 12, "db": 2},
    }
    assert act(manager, shop, "scale", {"groups": {"db": 0}})["groups"] == {"web": 12, "db": 0}
    assert record(manager, shop)["scale"] == {"web": 12, "db": 0}
    assert "change" not in record(manager, shop)
    before = manager.store.meta().rev
    assert act(manager, shop, "scale", {"groups": {"db": 0}})["groups"] == {"web": 12, "db": 0}
    assert manager.store.meta().rev == before, "nothing to change, nothing written"


def test_scaling_what_runs_on_every_node_or_is_not_there_is_refused(manager):
    save(manager, {"name": "all", "task_groups": [{"name": "agent", "count": "all", "tasks": [a_task()]}]})
    found = create(manager, template="all")["id"]
    before = manager.store.meta().rev
    answer = act(manager, found, "scale", {"groups": {"agent": 2}}, expect=400)
    assert "groups.agent: it runs once on every node" in answer["detail"]
    answer = act(manager, found, "scale", {"groups": {"web": 2}}, expect=400)
    assert "groups.web: there is no such group; there are agent" in answer["detail"]
    answer = act(manager, found, "scale", {"groups": {"agent": -1}}, expect=400)
    assert "groups.agent: not a whole number from 0" in answer["detail"]
    assert manager.store.meta().rev == before


def test_more_allocations_than_a_deployment_may_have(manager, shop, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.composing.MOST_ALLOCATIONS", 20)
    answer = act(manager, shop, "scale", {"groups": {"web": 19}}, expect=400)
    assert answer["detail"] == "groups: 21 allocations in all, at most 20"
    act(manager, shop, "scale", {"groups": {"db": 0}})
    act(manager, shop, "scale", {"groups": {"web": 19}})
    assert create(manager, expect=400, template="shop", scale={"web": 19})["detail"].startswith("groups: 21")


@pytest.mark.parametrize(
    ("what", "body", "says"),
    [
        ("scale", {"groups": {"web": 2}}, "stops 8 of 10 of group web at once"),
        ("stop", {}, "stops 10 of 10 of group web at once"),
        ("restart", {}, "restarts 10 of 10 of group web at once"),
    ],
)
def test_what_touches_much_wants_to_be_confirmed(manager, shop, what, body, says):
    before = manager.store.meta().rev
    for unmeant in (body, {**body, "confirm": False}):
        answer = act(manager, shop, what, unmeant, expect=409)
        assert answer == {
            "error": "This needs confirmation",
            "detail": f'{says}; say "confirm": true if that is meant',
            "confirm": True,
        }
    assert manager.store.meta().rev == before, "nothing is changed"
    act(manager, shop, what, {**body, "confirm": True})
    assert manager.store.meta().rev > before


def test_what_touches_half_or_is_small_or_new_or_over_needs_no_word(manager, shop):
    act(manager, shop, "scale", {"groups": {"web": 5, "db": 0}})
    for status in ({"groups": groups(web=4)}, {"status": "COMPLETED", "groups": groups(web=10)}):
        found = create(manager, template="shop")["id"]
        act(manager, found, "restart")
        say(manager, found, **status)
        act(manager, found, "stop")
    act(manager, found, "stop")


def test_contract_1_stops_without_a_word(manager, shop):
    answer = manager.post("/api/task/task_group/stop", {"id": shop})
    assert answer.status_code == 200
    assert act(manager, shop, "stop") == {"id": shop, "status": "STOPPING"}, (
        "there is nothing left to confirm"
    )


def test_what_an_earlier_release_placed_is_counted_by_its_tasks(manager, shop):
    briefs = [{"id": f"{shop}.{n}", "node": "n", "tasks": ["web" if n < 6 else "db"]} for n in range(9)]
    say(manager, shop, allocations=briefs)
    answer = act(manager, shop, "stop", expect=409)
    assert answer["detail"].startswith("stops 6 of 6 of group web at once;")


# -- update, rollback, promote, pause


def a_release(manager, command, **group):
    return save(manager, {"name": "shop", "task_groups": [
        {"name": "web", "count": 10, "tasks": [a_task("web", command)], **group},
        {"name": "db", "count": 2, "tasks": [a_task("db")]},
    ]})  # fmt: skip


def test_an_update_raises_the_change_and_remembers_what_was_before(manager, shop):
    a_release(manager, "/new")
    answer = act(manager, shop, "update")
    wanted = {"version": 2, "change": 1, "changed": True, "parameters": {}}
    assert answer == {"id": shop, **wanted}
    kept = record(manager, shop)
    assert (kept["version"], kept["change"], kept["before"]) == (2, 1, {"version": 1})
    before = manager.store.meta().rev
    again = act(manager, shop, "update")
    assert (again["changed"], again["change"]) == (False, 1)
    assert again["detail"] == "nothing changed: it is at version 2 with these parameters already"
    assert manager.store.meta().rev == before
    assert "kept are 1, 2" in act(manager, shop, "update", {"version": 9}, expect=404)["detail"]
    say(manager, shop, rollout={"state": "failed", "change": 1})
    assert act(manager, shop, "update")["change"] == 2, (
        "what failed is tried again when it is asked for again"
    )


def test_an_update_of_more_than_half_of_a_group_at_a_time_is_confirmed(manager, shop):
    a_release(manager, "/bin/true", update={"max_parallel": 6})
    act(manager, shop, "update")  # the tasks are the same: nothing is touched
    a_release(manager, "/new", update={"max_parallel": 6})
    answer = act(manager, shop, "update", expect=409)
    assert answer["detail"].startswith("replaces 6 of 10 of group web at once;")
    assert record(manager, shop)["version"] == 2
    act(manager, shop, "update", {"confirm": True})
    act(manager, shop, "rollback", {"version": 1})  # one at a time, as that version says
    act(manager, shop, "rollback", {"version": 3}, expect=409)


def test_other_limits_alone_touch_nothing(manager, shop):
    body = {"name": "shop", "task_groups": [
        {"name": "web", "count": 10, "update": {"max_parallel": 10},
         "tasks": [a_task("web", resources={"limits": {"memory": "1G"}})]},
        {"name": "db", "count": 2, "tasks": [a_task("db")]}]}  # fmt: skip
    save(manager, body)
    assert act(manager, shop, "update")["version"] == 2


def declaring(manager, **parameters):
    body = a_template(a_task(command="/x ${param.user}"), name="user")
    return save(manager, {**body, "parameters": parameters})


def test_parameters_go_along_from_version_to_version(manager):
    declaring(manager, user={"required": True}, port={"default": "80"}, old={"default": "x"})
    found = create(manager, template="user", parameters={"user": "ann", "old": "y"})["id"]
    declaring(manager, user={"required": True}, port={"default": "8080"})
    assert act(manager, found, "update")["parameters"] == {"user": "ann", "port": "8080"}
    assert act(manager, found, "update", {"parameters": {"port": 9}})["parameters"] == {
        "user": "ann",
        "port": "9",
    }
    assert act(manager, found, "update", {"parameters": {"port": None}})["parameters"]["port"] == "8080"
    before = manager.store.meta().rev
    assert "'user'" in act(manager, found, "update", {"parameters": {"user": None}}, expect=400)["detail"]
    assert "'old'" in act(manager, found, "update", {"parameters": {"old": "z"}}, expect=400)["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize("value", ["--privileged", "a b"])
def test_a_value_never_becomes_what_the_template_could_not_have_said(manager, value):
    task = a_task(config={"driver": "container", "image": "${param.image}"})
    body = {"name": "box", "parameters": {"image": {"required": True}}, "task_groups": [{"tasks": [task]}]}
    save(manager, body)
    answer = create(manager, template="box", parameters={"image": value}, expect=400)
    assert "task_groups.0.tasks.0.config.image: not an image" in answer["detail"]
    found = create(manager, template="box", parameters={"image": "nginx:1"})["id"]
    before = manager.store.meta().rev
    assert (
        "not an image"
        in act(manager, found, "update", {"parameters": {"image": value}}, expect=400)["detail"]
    )
    assert manager.store.meta().rev == before


def test_a_rollback_goes_once_to_the_last_good_release(manager, shop):
    for command in ("/two", "/three"):
        a_release(manager, command)
        act(manager, shop, "update")
    say(manager, shop, stable={"change": 0, "version": 1}, rollout={"state": "failed", "change": 2})
    answer = act(manager, shop, "rollback")
    assert (answer["version"], answer["change"], answer["changed"]) == (1, 3, True)
    kept = record(manager, shop)
    assert (kept["version"], kept["promote"]) == (1, 3), "without canaries"
    assert "before" not in kept
    say(manager, shop, stable={"change": 2, "version": 3})
    again = act(manager, shop, "rollback")
    assert (again["version"], again["changed"]) == (1, False), "the same asked for twice goes back once"
    assert act(manager, shop, "rollback", {"version": 2})["version"] == 2


def test_a_rollback_of_what_came_up_goes_to_what_was_before_it(manager):
    declaring(manager, user={"required": True})
    found = create(manager, template="user", parameters={"user": "ann"})["id"]
    act(manager, found, "update", {"parameters": {"user": "bob"}})
    say(manager, found, stable={"change": 1, "version": 1, "parameters": {"user": "bob"}})
    answer = act(manager, found, "rollback")
    assert (answer["version"], answer["parameters"]) == (1, {"user": "ann"})


def test_a_rollback_without_a_memory_goes_to_the_version_before_or_says_what_is_kept(manager, shop):
    before = manager.store.meta().rev
    answer = act(manager, shop, "rollback", expect=409)
    assert answer["detail"] == "it is at version 1, and there is nothing before it to go back to; kept are 1"
    answer = act(manager, shop, "rollback", {"version": 5}, expect=409)
    assert answer["detail"] == "it is at version 1, and version 5 is not kept; kept are 1"
    assert manager.store.meta().rev == before
    a_release(manager, "/two")
    newest = create(manager, template="shop")["id"]
    assert act(manager, newest, "rollback")["version"] == 1


def test_promote_is_for_an_update_that_waits_for_it(manager, shop):
    answer = act(manager, shop, "promote", expect=409)
    assert "no update of it waits to be promoted: there is none" in answer["detail"]
    a_release(manager, "/new")
    act(manager, shop, "update")
    say(manager, shop, rollout={"state": "running", "change": 1})
    assert "it is running" in act(manager, shop, "promote", expect=409)["detail"]
    waits = {"state": "promotion", "change": 1}
    say(manager, shop, rollout=waits)
    for _ in range(2):
        assert act(manager, shop, "promote") == {"id": shop, "promoted": 1, "rollout": waits}
    assert record(manager, shop)["promote"] == 1
    a_release(manager, "/newer")
    assert "rollout" not in act(manager, shop, "update"), "what is known is the last change's"
    assert "it is promotion" in act(manager, shop, "promote", expect=409)["detail"], (
        "that was the last change's"
    )


def test_pause_and_resume(manager, shop):
    for _ in range(2):
        assert act(manager, shop, "pause") == {"id": shop, "paused": True}
    assert record(manager, shop)["paused"] is True
    for _ in range(2):
        assert act(manager, shop, "resume") == {"id": shop, "paused": False}
    assert "paused" not in record(manager, shop)


CALLS = {
    "scale": {"groups": {"web": 1}}, "update": {}, "rollback": {}, "promote": {}, "pause": {}, "resume": {},
}  # fmt: skip


OVER = [
    ({"wanted": "stopped"}, "it was stopped, and that is for ever"),
    ({"refused": True, "status": "FAILED"}, "it was refused"),
    ({"expired": True}, "its ttl is over"),
]
ENDED = ({"status": "COMPLETED"}, "it has ended (COMPLETED): restart it first")


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        *((what, *over) for what in CALLS for over in OVER),
        *((what, *ENDED) for what in CALLS if what not in ("update", "rollback")),
    ],
)
def test_what_is_over_is_not_changed(manager, shop, what, status, says):
    if "wanted" in status:
        manager.post("/api/task/task_group/stop", {"id": shop})
    else:
        say(manager, shop, **status)
    before = manager.store.meta().rev
    assert says in act(manager, shop, what, CALLS[what], expect=409)["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
def test_what_has_ended_lives_again_by_an_update(manager, state):
    found = create(manager, name="job")["id"]
    say(manager, found, status=state)
    assert act(manager, found, "update")["changed"] is (state == "FAILED"), "a job that is done is done"
    save(manager, a_template(a_task(command="/bin/other")))
    say(manager, found, status=state, release={"change": 1, "version": 1, "parameters": {}})
    change = act(manager, found, "update")["change"]
    assert record(manager, found)["change"] == change
    say(manager, found, status=state, release={"change": change - 1, "version": 1, "parameters": {}})
    assert manager.get(f"/v1/deployments/{found}").json["status"] == "PENDING"
    assert create(manager, 409, name="job", version=1)["id"] == found, "its name is its own again"


def test_what_has_ended_lives_again_only_while_its_name_is_free(manager):
    found = create(manager, name="job")["id"]
    say(manager, found, status="FAILED")
    other = create(manager, name="job")["id"]
    assert other != found
    before = manager.store.meta().rev
    assert other in act(manager, found, "update", expect=409)["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize("what", [*CALLS, "stop", "restart"])
def test_what_nobody_knows_is_not_found(manager, what):
    assert (
        "there is no deployment with id 'x'" in act(manager, "x", what, CALLS.get(what), expect=404)["detail"]
    )


def test_the_view_says_how_an_update_stands(manager, shop):
    a_release(manager, "/new")
    act(manager, shop, "update")
    act(manager, shop, "pause")
    rollout = {"state": "reverted", "change": 1, "reason": "web.0 is not healthy"}
    missing = [{"group": "web", "index": 0, "reason": "no room", "nodes": []}]
    release = {"change": 1, "version": 1}
    say(manager, shop, rollout=rollout, release=release, missing=missing, groups=groups(web=9))
    view = manager.get(f"/deployments/{shop}").json
    wanted = {
        "version": 2,
        "change": 1,
        "paused": True,
        "rollout": rollout,
        "release": release,
        "missing": missing,
    }
    assert wanted.items() <= view.items()
    assert DeploymentSchema().validate(view) == {}, "it has the shape that is documented"
    say(manager, shop, release={"change": 1, "version": 2, "parameters": {}})
    assert "release" not in manager.get(f"/deployments/{shop}").json, "what is run is what is wanted"


def test_changes_made_at_once_are_all_kept(store):
    manager = Manager(store)
    a_release(manager, "/x")
    leader = Leader(store, {"status": "RUNNING"})
    found = create(manager, template="shop")["id"]
    eventually(lambda: store.get(STATUS, found))
    leader.end()
    counts = [("web", n) for n in range(10, 20)] + [("db", n) for n in range(2, 12)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda each: act(manager, found, "scale", {"groups": dict([each])}), counts))
    kept = record(manager, found)["scale"]
    assert kept.keys() == {"web", "db"}, "neither lost the other"


def test_with_the_real_leader_a_refusal_frees_the_name_and_the_next_one_runs(store, server):
    manager = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: manager.get("/readyz").status_code == 200)
    node = Puppet(manager)
    save(manager, a_template(a_task(config={"node": "10.0.0.9"})))
    save(manager, a_template(a_task()))
    refused = create(manager, expect=409, name="web", version=1)
    assert [each["node"] for each in refused["nodes"]] == ["web-1"]
    found = create(manager, name="web")["id"]
    eventually(node.orders)
    node.obey()
    eventually(lambda: ids(manager, "?status=RUNNING&name=web&node=web-1") == [found])
    assert create(manager, name="web") == {"id": found, "status": "RUNNING", "created": False, "name": "web"}
    manager.end()


def test_whatever_rows_have_may_be_asked_for(manager):
    """What the description lacked was refused, though the rows had it."""
    there = {
        "/v1/deployments": (*instance_view._OF_RECORD, *instance_view._OF_STATUS),
        "/v1/nodes": node_rows._MORE,
    }
    for path, names in there.items():
        answer = manager.http.simulate_get(path, params={"fields": ",".join(names)})
        assert answer.status_code == 200, answer.text
