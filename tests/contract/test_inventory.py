"""Contract 5 in its own words: devices, groups, memberships; and the same as resources with ETags."""

import orjson
import pytest

from manager_api.http.inventory.device_schema import DEVICE
from manager_api.inventory import devices, groups, memberships
from store.keys import NODES
from store.kv.store import Store
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract


@pytest.fixture
def manager(store):
    return Manager(store)


def call(manager, method, path, body=None, **more):
    return manager.http.simulate_request(method, path, json=body, **more)


def ok(answer):
    """Contract 5: the HTTP code is `status`, and there is a message."""
    assert answer.status_code == 200, answer.text
    assert (answer.json["status"], type(answer.json["message"])) == (200, str)
    return answer.json


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.json["status"] == status
    assert answer.json["message"]
    assert answer.json["error"]
    return answer.json


def device(manager, **more):
    return ok(manager.post("/v1/devices", {**DEVICE, **more}))["data"]


def group(manager, name, **more):
    return ok(manager.post("/v1/groups", {"name": name, **more}))["data"]


def member(manager, of, into):
    return ok(manager.post("/v1/memberships", {"device_id": of, "group_id": into}))["data"]


def found(manager, path="/v1/devices", body=None, **query):
    return [each["id"] for each in ok(call(manager, "GET", path, body, params=query))["data"]]


def value(row, word):
    """By what a device is sorted; its id comes after it in any case."""
    return "" if word == "id" else row.get(word) or row["hardware"].get(word)


def index(manager):
    return {line.decode() for line in manager.store.client.zrange(manager.store.keys.index("devices"), 0, -1)}


# -- devices


def test_a_device_is_posted_found_changed_and_deleted(manager):
    new = device(manager)
    assert len(new) == 10
    assert new.isdigit()
    (row,) = ok(call(manager, "GET", "/v1/devices", {"id": new}))["data"]
    assert row == {"id": new, **DEVICE}
    answer = ok(
        call(manager, "PUT", "/v1/devices", {"id": new, "hardware": {"sn": "S2"}, "status": "offline"})
    )
    assert answer["data"] == {
        "id": new,
        **DEVICE,
        "hardware": {**DEVICE["hardware"], "sn": "S2"},
        "status": "offline",
    }
    nics = [{"type": "lan", "mac": "", "ipv4": "10.0.0.1"}]
    assert ok(call(manager, "PUT", "/v1/devices", {"id": new, "nic": nics}))["data"]["nic"] == nics
    gone = ok(call(manager, "DELETE", "/v1/devices", {"ids": [new, "1234567890", new]}))
    assert gone["ids"] == [new]
    assert found(manager) == []
    assert index(manager) == set()
    assert ok(call(manager, "DELETE", "/v1/devices", {"ids": [new]}))["ids"] == []


def test_id_and_sn_are_exact_and_model_is_a_part(manager):
    a = device(manager, hardware={"model": "T-1000", "sn": "a"})
    b = device(manager, hardware={"model": "T-2000", "sn": "a:b"})
    c = device(manager, hardware={"model": "t-1000", "sn": "a"})
    for ask in (lambda **words: found(manager, body=words), lambda **words: found(manager, **words)):
        assert ask(id=a) == [a]
        assert set(ask(sn="a")) == {a, c}
        assert ask(sn="a:b") == [b]
        assert ask(sn="b") == []
        assert set(ask(model="T-")) == {a, b}, "capitals matter"
        assert ask(sn="a", model="1000", id=a) == [a]
        assert ask(sn="a", model="T-1") == [a]
        assert ask(id=a, sn="a:b") == []
        assert ask(id="nonsense") == []
        assert set(ask()) == {a, b, c}
    refused(call(manager, "GET", "/v1/devices", {"colour": "red"}), 400)
    refused(call(manager, "GET", "/v1/devices", {"after": "0"}), 400)
    refused(call(manager, "GET", "/v1/devices", {"sn": 5}), 400)
    refused(call(manager, "GET", "/v1/devices", params={"sn": ["a", "b"]}), 400)


def test_pages_of_every_order_have_every_device_once(manager):
    made = {
        device(manager, name=f"n{n % 3}", hardware={"model": f"m{n % 2}:x", "sn": f"s{9 - n}"})
        for n in range(10)
    }
    into = group(manager, "g")
    for each in made:
        member(manager, each, into)
    for path, query in (
        ("/v1/devices", {}),
        ("/v1/devices", {"model": "m"}),
        (f"/v1/groups/{into}/devices", {}),
    ):
        whole = {each["id"]: each for each in manager.get("/v1/devices").json["data"]}
        for sort in ("id", "-id", "name", "-name", "sn", "-sn", "model", "-model"):
            seen, cursor = [], None
            while True:
                params = {**query, "sort": sort, "limit": 3} | ({"cursor": cursor} if cursor else {})
                answer = call(manager, "GET", path, params=params)
                assert answer.status_code == 200, answer.text
                assert answer.json["total"] == 10
                seen += [each["id"] for each in answer.json["data"]]
                cursor = answer.json["next"]
                if cursor is None:
                    break
                assert len(answer.json["data"]) == 3
            places = [(value(whole[one], sort.removeprefix("-")), one) for one in seen]
            assert places == sorted(places, reverse=sort[0] == "-"), (path, query, sort)
            assert set(seen) == made
            assert len(seen) == 10
    cursor = call(manager, "GET", "/v1/devices", params={"limit": 1}).json["next"]
    refused(call(manager, "GET", "/v1/devices", params={"limit": 1, "cursor": cursor, "sort": "name"}), 400)
    refused(call(manager, "GET", "/v1/devices", params={"limit": 0}), 400)


def test_only_some_keys(manager):
    new = device(manager)
    answer = ok(call(manager, "GET", "/v1/devices", params={"fields": "id,name"}))
    assert answer["data"] == [{"id": new, "name": DEVICE["name"]}]
    said = refused(call(manager, "GET", "/v1/devices", params={"fields": "id,colour"}), 400)
    assert "fields: 'colour' is not one of edited, groups, hardware, id" in said["detail"]


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("POST", {**DEVICE, "id": "1234567890"}, 400), ("POST", {}, 400), ("POST", {**DEVICE, "nic": {}}, 400),
        ("PUT", {"name": "x"}, 400), ("PUT", {"id": "1234567890", "name": "x"}, 404), ("PUT", {"id": "1234567890", "v": 1}, 400),
        ("DELETE", {}, 400), ("DELETE", {"ids": "x"}, 400), ("PATCH", {}, 405),
    ],
)  # fmt: skip
def test_errors_carry_status_message_and_error(manager, method, body, status):
    rev = manager.store.meta().rev
    refused(call(manager, method, "/v1/devices", body), status)
    assert manager.store.meta().rev == rev


def test_two_editors_of_one_device_do_not_overwrite_each_other(manager):
    new = device(manager)
    path = f"/v1/devices/{new}"
    tag = manager.get(path).headers["ETag"]
    first = call(manager, "PUT", path, {"name": "first"}, headers={"If-Match": tag})
    assert (first.status_code, first.json["name"]) == (200, "first")
    refused(call(manager, "PUT", path, {"name": "second"}, headers={"If-Match": tag}), 412)
    refused(
        call(manager, "PUT", "/v1/devices", {"id": new, "name": "second"}, headers={"If-Match": tag}), 412
    )
    refused(call(manager, "DELETE", path, headers={"If-Match": tag}), 412)
    refused(call(manager, "PUT", path, {"name": "x"}, headers={"If-Match": "yesterday"}), 400)
    refused(call(manager, "PUT", path, {"id": "1234567890"}), 400)
    assert manager.get(path).json["name"] == "first"
    assert call(manager, "DELETE", path, headers={"If-Match": first.headers["ETag"]}).status_code == 200
    refused(manager.get(path), 404)
    refused(call(manager, "DELETE", path), 404)


# -- devices that are nodes


def test_of_two_who_take_a_device_out_of_a_group_one_has_done_it(manager, monkeypatch):
    """Who found it gone at the second look said that it had done that."""
    store, txn = manager.store, Store.txn
    group = groups.create(store, {"name": "lab"}).data["id"]
    device = devices.create(store, {**DEVICE, "groups": [group]}).data["id"]
    quicker = []

    def overtaken(self, *args, **more):
        monkeypatch.setattr(Store, "txn", txn)
        quicker.append(memberships.take(store, device, group))
        return txn(self, *args, **more)

    monkeypatch.setattr(Store, "txn", overtaken)
    assert not memberships.take(store, device, group)
    assert quicker == [True]


@pytest.fixture
def node(manager):
    """The id of a device that is a node."""
    Puppet(manager)
    (new,) = found(manager, body={"node": "web-1"})
    return new


def test_the_status_of_a_node_is_its_heartbeat_s(manager, node):
    before = manager.get(f"/v1/devices/{node}").json
    assert before["status"] == "online"
    manager.store.client.delete(manager.store.keys.node("web-1").beat)
    for answer in (manager.get("/v1/devices"), call(manager, "GET", "/v1/devices", {"node": "web-1"})):
        assert [each["status"] for each in answer.json["data"]] == ["offline"]
    refused(call(manager, "PUT", "/v1/devices", {"id": node, "status": "online"}), 409)
    refused(call(manager, "PUT", f"/v1/devices/{node}", {"name": "x", "status": "online"}), 409)
    assert manager.get(f"/v1/devices/{node}").json == {**before, "status": "offline"}


def test_what_people_said_of_a_node_s_device_is_noted(manager, node):
    ok(call(manager, "PUT", "/v1/devices", {"id": node, "name": "x", "hardware": {"model": "mine"}}))
    ok(call(manager, "PUT", "/v1/devices", {"id": node, "nic": []}))
    assert manager.get(f"/v1/devices/{node}").json["edited"] == ["hardware.model", "name", "nic"]
    other = device(manager)
    assert "edited" not in ok(call(manager, "PUT", "/v1/devices", {"id": other, "name": "x"}))["data"]


def test_a_device_that_was_read_can_be_put_back_whole(manager, node):
    """Clients of the old service replace what they read; it has keys now that they have never heard of."""
    new, edge = device(manager), group(manager, "edge")
    for each in (new, node):
        member(manager, each, edge)
    read = ok(call(manager, "GET", "/v1/devices", {"id": new}))["data"][0]
    assert ok(call(manager, "PUT", "/v1/devices", {**read, "name": "desk"}))["data"] == {
        **read,
        "name": "desk",
    }
    assert ok(call(manager, "PUT", "/v1/devices", {**read, "groups": []}))["data"]["groups"] == [edge]
    ok(call(manager, "PUT", "/v1/devices", {"id": node, "type": "rack"}))
    read = manager.get(f"/v1/devices/{node}").json
    assert read["edited"] == ["type"]
    hardware = {**read["hardware"], "model": "mine"}
    whole = {key: value for key, value in read.items() if key != "status"}
    answer = call(manager, "PUT", f"/v1/devices/{node}", {**whole, "hardware": hardware})
    assert answer.status_code == 200, answer.text
    edited = ["hardware.model", "type"]
    assert answer.json == {**read, "hardware": hardware, "edited": edited}, "its agent keeps the rest true"


def test_a_node_s_device_stays_as_long_as_the_node(manager, node):
    answer = ok(call(manager, "DELETE", "/v1/devices", {"ids": [node]}))
    assert answer["ids"] == []
    assert "node" in answer["kept"][node]
    refused(call(manager, "DELETE", f"/v1/devices/{node}"), 409)
    manager.store.client.hdel(manager.store.keys.collection(NODES), "web-1")
    assert ok(call(manager, "DELETE", "/v1/devices", {"ids": [node]}))["ids"] == [node]


def test_a_node_s_record_says_its_device_s_groups(manager, node):
    into = group(manager, "edge")
    member(manager, node, into)

    def said():
        return orjson.loads(manager.store.get(NODES, "web-1").value).get("member_of")

    assert said() == [into]
    ok(call(manager, "DELETE", "/v1/groups", {"ids": [into]}))
    assert said() is None


# -- groups


def test_a_group_is_posted_found_changed_and_deleted(manager):
    new = group(manager, "edge", description="far away")
    assert len(new) == 10
    row = {"id": new, "name": "edge", "description": "far away"}
    for query in ({"id": new}, {"name": "edge"}, {}):
        assert ok(call(manager, "GET", "/v1/groups", query))["data"] == [row]
    assert ok(call(manager, "GET", "/v1/groups", {"name": "edg"}))["data"] == []
    rule = {"labels": {"zone": "a"}}
    answer = ok(call(manager, "PUT", "/v1/groups", {"id": new, "rule": rule, "description": None}))
    assert answer["data"] == {"id": new, "name": "edge", "rule": rule}
    assert ok(call(manager, "DELETE", "/v1/groups", {"ids": [new, "1234567890"]}))["ids"] == [new]
    assert found(manager, "/v1/groups") == []


def test_names_of_groups_are_unique(manager):
    first, second = group(manager, "edge"), group(manager, "lab")
    refused(manager.post("/v1/groups", {"name": "edge"}), 409)
    refused(call(manager, "PUT", "/v1/groups", {"id": second, "name": "edge"}), 409)
    ok(call(manager, "PUT", "/v1/groups", {"id": first, "name": "core"}))
    ok(call(manager, "PUT", "/v1/groups", {"id": second, "name": "edge"}))
    assert {each["name"] for each in ok(manager.get("/v1/groups"))["data"]} == {"core", "edge"}


def test_groups_as_resources(manager):
    new = group(manager, "edge")
    path = f"/v1/groups/{new}"
    tag = manager.get(path).headers["ETag"]
    assert call(manager, "PUT", path, {"name": "a"}, headers={"If-Match": tag}).json == {
        "id": new,
        "name": "a",
    }
    refused(call(manager, "PUT", path, {"name": "b"}, headers={"If-Match": tag}), 412)
    refused(call(manager, "DELETE", path, headers={"If-Match": tag}), 412)
    refused(call(manager, "PUT", path, {"rule": {}}), 400)
    assert call(manager, "DELETE", path).json["ids"] == [new]
    for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
        refused(call(manager, method, path, body), 404)


def test_a_group_that_something_is_placed_on_stays(manager):
    new = group(manager, "edge")
    template = {
        "name": "t",
        "task_groups": [
            {"placement": {"group": "edge"}, "tasks": [{"name": "a", "config": {"command": "/bin/true"}}]}
        ],
    }
    assert manager.post("/api/task/task_group", template).status_code == 200
    assert manager.post("/api/task/task_group/deploy", {"name": "t"}).status_code == 200
    answer = ok(call(manager, "DELETE", "/v1/groups", {"ids": [new]}))
    assert answer["ids"] == []
    assert "placed on it" in answer["kept"][new]
    refused(call(manager, "DELETE", f"/v1/groups/{new}"), 409)


# -- memberships


def test_memberships_are_read_from_both_ends(manager):
    a, b = device(manager), device(manager)
    edge, lab = group(manager, "edge"), group(manager, "lab")
    assert member(manager, a, edge) == f"{a}-{edge}"
    assert member(manager, a, edge) == f"{a}-{edge}", "again: the same"
    member(manager, a, lab)
    member(manager, b, lab)
    path = "/v1/memberships"
    assert set(found(manager, path)) == {f"{a}-{edge}", f"{a}-{lab}", f"{b}-{lab}"}
    assert set(found(manager, path, {"device_id": a})) == {f"{a}-{edge}", f"{a}-{lab}"}
    assert set(found(manager, path, {"group_id": lab})) == {f"{a}-{lab}", f"{b}-{lab}"}
    assert found(manager, path, {"device_id": b, "group_id": lab}) == [f"{b}-{lab}"]
    assert found(manager, path, id=f"{b}-{lab}") == [f"{b}-{lab}"]
    assert found(manager, path, id=f"{b}-{edge}") == []
    assert found(manager, path, id="nonsense") == []
    assert {each["id"] for each in manager.get(f"/v1/groups/{lab}/devices").json["data"]} == {a, b}
    assert {each["name"] for each in manager.get(f"/v1/devices/{a}/groups").json["data"]} == {"edge", "lab"}
    assert set(manager.get(f"/v1/devices/{a}").json["groups"]) == {edge, lab}
    assert set(found(manager, "/v1/devices", group=lab, sn=DEVICE["hardware"]["sn"])) == {a, b}
    refused(manager.get("/v1/groups/1234567890/devices"), 404)
    refused(manager.get("/v1/devices/1234567890/groups"), 404)


def test_pages_of_memberships(manager):
    made = [device(manager) for _ in range(4)]
    into = [group(manager, f"g{n}") for n in range(3)]
    pairs = {member(manager, each, into[n]) for n in range(3) for each in made[n:]}
    for sort in ("id", "-id"):
        seen, cursor = [], None
        while True:
            params = {"limit": 2, "sort": sort} | ({"cursor": cursor} if cursor else {})
            answer = ok(call(manager, "GET", "/v1/memberships", params=params))
            assert answer["total"] == len(pairs)
            seen += answer["data"]
            cursor = answer["next"]
            if cursor is None:
                break
        places = [(each["group_id"], each["device_id"]) for each in seen]
        assert places == sorted(places, reverse=sort == "-id")
        assert {each["id"] for each in seen} == pairs
        assert len(seen) == len(pairs)


def test_put_replaces_a_device_s_groups(manager):
    a = device(manager)
    one, two, three = (group(manager, name) for name in ("one", "two", "three"))
    member(manager, a, one)
    answer = ok(call(manager, "PUT", "/v1/memberships", {"device_id": a, "group_ids": [two, three, two]}))
    assert {each["group_id"] for each in answer["data"]} == {two, three}
    assert set(manager.get(f"/v1/devices/{a}").json["groups"]) == {two, three}
    ok(call(manager, "PUT", "/v1/memberships", {"device_id": a, "group_id": one}))
    assert manager.get(f"/v1/devices/{a}").json["groups"] == [one]
    refused(call(manager, "PUT", "/v1/memberships", {"device_id": a, "group_ids": [one, "1234567890"]}), 404)
    refused(call(manager, "PUT", "/v1/memberships", {"device_id": "1234567890", "group_ids": []}), 404)
    assert manager.get(f"/v1/devices/{a}").json["groups"] == [one]
    ok(call(manager, "PUT", "/v1/memberships", {"device_id": a, "group_ids": []}))
    assert "groups" not in manager.get(f"/v1/devices/{a}").json


def test_memberships_end_one_by_one_or_with_either_end(manager):
    a, b = device(manager), device(manager)
    edge, lab = group(manager, "edge"), group(manager, "lab")
    pairs = [member(manager, each, into) for each in (a, b) for into in (edge, lab)]
    path = "/v1/memberships"
    assert ok(call(manager, "DELETE", path, {"ids": [pairs[0], "nonsense"]}))["ids"] == [pairs[0]]
    assert ok(call(manager, "DELETE", path, {"device_id": a, "group_id": lab}))["ids"] == [pairs[1]]
    refused(call(manager, "DELETE", path, {"device_id": a}), 400)
    refused(call(manager, "DELETE", path, {}), 400)
    refused(call(manager, "DELETE", path, {"ids": [], "device_id": a, "group_id": lab}), 400)
    ok(call(manager, "DELETE", "/v1/groups", {"ids": [lab]}))
    assert found(manager, path) == [f"{b}-{edge}"]
    ok(call(manager, "DELETE", "/v1/devices", {"ids": [b]}))
    assert found(manager, path) == []
    assert not [line for line in index(manager) if line.startswith("group:")]


def test_nobody_is_in_more_groups_than_their_record_may_name(manager, monkeypatch):
    from manager_api.inventory import memberships

    monkeypatch.setattr(memberships, "MOST_GROUPS", 2)
    a = device(manager)
    made = [group(manager, f"g{n}") for n in range(3)]
    for each in made[:2]:
        member(manager, a, each)
    refused(manager.post("/v1/memberships", {"device_id": a, "group_id": made[2]}), 409)
    refused(manager.post("/v1/memberships", {"device_id": "1234567890", "group_id": made[2]}), 404)
    refused(manager.post("/v1/memberships", {"device_id": a, "group_id": "1234567890"}), 404)


def test_what_a_group_leaves_behind_counts_for_nothing_and_is_collected(manager):
    from manager_api.inventory import groups, leftovers

    some = [device(manager) for _ in range(5)]
    edge, lab = group(manager, "edge"), group(manager, "lab")
    for each in some:
        member(manager, each, edge)
        member(manager, each, lab)
    assert leftovers.collect(manager.store, edge) == 0, "it is there"
    groups.remove(manager.store, edge)  # as a process that dies right after it
    assert found(manager, "/v1/memberships", {"group_id": edge}) == []
    assert len(found(manager, "/v1/memberships")) == 5
    assert manager.get(f"/v1/devices/{some[0]}").json["groups"] == [lab]
    assert found(manager, group=edge) == []
    refused(manager.post("/v1/memberships", {"device_id": some[0], "group_id": edge}), 404)
    assert leftovers.collect_all(manager.store, 3) == 3
    assert leftovers.collect_all(manager.store, 3) == 2
    assert leftovers.collect_all(manager.store) == 0
    assert len([line for line in index(manager) if line.startswith("group:")]) == 5


def test_a_repeated_call_with_a_key_makes_one_record(manager, monkeypatch):
    import uuid

    from manager_api.http.inventory import devices as device_calls
    from manager_api.http.inventory import groups as group_calls

    first, second = (str(1_000_000_000 + uuid.uuid4().int % 9_000_000_000) for _ in range(2))
    assert device_calls.create(manager.store, DEVICE, first).data["id"] == first
    assert device_calls.create(manager.store, DEVICE, first).data["id"] == first
    assert device_calls.create(manager.store, {**DEVICE, "name": "x"}, first).data["id"] != first, (
        "somebody else's"
    )
    assert group_calls.create(manager.store, {"name": "g"}, second).data["id"] == second
    assert group_calls.create(manager.store, {"name": "g"}, second).data["id"] == second
    assert len(found(manager)) == 2
    assert len(found(manager, "/v1/groups")) == 1


def test_calls_of_the_inventory_are_told_of_by_what_they_are_about(manager):
    new = device(manager)
    call(manager, "PUT", f"/v1/devices/{new}", {"name": "x"})
    events = manager.get("/v1/events").json["data"]
    assert [each["data"]["device"] for each in events if each.get("data", {}).get("method") == "PUT"] == [new]
    assert all("deployment" not in each for each in events)
