"""Exports and imports: one moment under writers, from any store into any other, whole or not at all."""

import hashlib
import json
import threading
from unittest.mock import ANY

import falcon.testing
import pytest

from manager_api.core import devices as shapes
from manager_api.http.app import create_app
from manager_api.http.inventory import regrouping
from manager_api.http.services import Services
from manager_api.inventory import devices, groups
from manager_api.settings import StoreAccess
from store import bootstrap, portable
from store.clock import SystemClock
from store.codec import dumps, loads
from store.embedded import EmbeddedServer
from store.errors import Unsupported
from store.home import Files
from store.keys import (
    ALLOCATIONS,
    CLAIMS,
    CONTROLS,
    CONTROLS_STATUS,
    DEPLOYMENTS,
    DEVICES,
    GROUPS,
    NAMES,
    NODES,
    STATUS,
    TEMPLATES,
    VERSIONS,
)
from store.kv import presence as presence_store
from store.kv.api import Change
from store.kv.store import Store
from tests.conftest import SOAK, server_binary
from tests.inventory import peak, seed

pytestmark = pytest.mark.integration

MANY = 100_000 if SOAK else 5000
TASK = {"name": "t", "config": {"command": "sleep 1"}}
DEVICE = {
    "name": "d", "type": "laptop", "hardware": {"model": "M", "sn": "S"}, "software": {"version": "1", "last_update": ""},
    "nic": [], "status": "online",
}  # fmt: skip
ALLOCATION = {
    "v": 1, "deployment": "11111111-1", "template": "etl", "version": 1, "group": "main", "index": 0, "node": "web-1",
    "uid": "u", "generation": 3, "wanted": "running",
}  # fmt: skip


class House:
    """An API over a server of its own, with the manager's directory."""

    def __init__(self, home, kind, presence=None):
        self.files = Files(home)
        self.server = EmbeddedServer(self.files, binary=server_binary(kind))
        self.server.start()
        self.store = Store(self.server.client("test"))
        meta = bootstrap.begin(self.store, None)
        self.files.cluster.write_text(meta.cluster)
        access = StoreAccess(
            url=f"redis://127.0.0.1:{self.server.port}/0", advertised_port=None,
            password_file=str(self.files.password), holder="t", home=home,
            presence_url=presence,
        )  # fmt: skip
        self.http = falcon.testing.TestClient(create_app(Services(access, SystemClock())))

    def export(self):
        answer = self.http.simulate_get("/v1/export")
        assert answer.status_code == 200, answer.text
        return answer.content

    def take(self, body, **query):
        return self.http.simulate_post("/v1/import", body=body, params={"dry_run": "false", **query})

    def template(self, name, command="sleep 1"):
        body = {"name": name, "task_groups": [{"tasks": [{"name": "t", "config": {"command": command}}]}]}
        answer = self.http.simulate_post("/v1/templates", json=body)
        if answer.status_code == 405:
            answer = self.http.simulate_post("/api/task/task_group", json=body)
        assert answer.status_code < 300, answer.text

    def deployment(self, key, template, **more):
        record = {"v": 1, "template": template, "version": 1, "wanted": "running", "created": 1.0, **more}
        changes = [Change(DEPLOYMENTS, key, dumps(record))]
        if "name" in more:
            changes.append(Change(NAMES, more["name"], dumps({"v": 1, "deployment": key})))
        self.store.txn([], changes)


@pytest.fixture
def house(tmp_path):
    built = []

    def build(kind, **more):
        home = tmp_path / f"{kind}-{len(built)}"
        home.mkdir()
        built.append(House(home, kind, **more))
        return built[-1]

    yield build
    for each in built:
        each.server.stop()


def furnish(there):
    there.template("etl")
    there.template("etl", "sleep 2")
    there.deployment("11111111-1", "etl", name="night")
    there.deployment("22222222-2", "etl", wanted="stopped")
    there.store.put(STATUS, "22222222-2", dumps({"v": 1, "status": "STOPPED", "tasks": []}))
    there.store.put(ALLOCATIONS, "11111111-1.0", dumps(ALLOCATION))
    group = groups.create(there.store, {"name": "edge"})
    kept = devices.create(there.store, {**DEVICE, "groups": [group.data["id"]]})
    return group.data["id"], kept.data["id"]


@pytest.mark.parametrize(("old", "new"), [("valkey", "redis"), ("redis", "valkey")])
def test_a_cluster_moves_whole_into_an_empty_store_of_another_kind(house, old, new):
    there, here = house(old), house(new)
    group, device = furnish(there)
    body = there.export()
    before = here.store.meta()
    dry = here.take(body, dry_run="true")
    assert (dry.status_code, dry.json["mode"]) == (200, "move"), dry.text
    assert here.store.meta() == before
    assert here.store.client.keys("muster:restoring*") == []

    done = here.take(body)
    assert done.status_code == 200, done.text
    assert done.json["records"]["devices"]["made"] == 1
    meta, source = here.store.meta(), there.store.meta()
    assert meta.cluster == source.cluster == here.files.known_cluster() == done.json["cluster"]
    assert meta.rev > source.rev
    assert meta.epoch == done.json["epoch"]
    assert int(meta.epoch.split("-")[0]) > int(source.epoch.split("-")[0])
    assert meta.flavour.startswith(new)
    here.store.attach()
    for name in portable.COLLECTIONS:
        assert here.store.values(name) == there.store.values(name), name
    assert here.store.lines(DEVICES, f"group:{group}:", f"group:{group};", 9) == [f"group:{group}:{device}"]
    # What has moved in can be written to: records have revisions.
    devices.change(here.store, device, lambda record: shapes.in_groups(record, []))
    assert here.store.lines(DEVICES, "group:", "group;", 9) == []
    again = here.take(body, mode="move")
    assert again.status_code == 409, "it is not empty any more"


def test_what_people_said_comes_into_a_living_system(house):
    there, here = house("redis"), house("valkey")
    group, device = furnish(there)
    there.template("other")
    there.deployment("33333333-3", "other")
    here.template("other", "sleep 99")
    mine = groups.create(here.store, {"name": "edge"}).data["id"]
    body, meta = there.export(), here.store.meta()

    refused = here.take(body)
    assert refused.status_code == 409, refused.text
    assert [row["kind"] for row in refused.json["conflicts"]] == ["templates", "deployments"]
    here.store.attach()
    assert here.store.meta().rev == meta.rev, "nothing was changed"

    done = here.take(body, conflict="skip")
    assert done.status_code == 200, done.text
    assert done.json["mode"] == "merge"
    counts = done.json["records"]
    assert (counts["groups"]["same"], counts["devices"]["made"], counts["templates"]["made"]) == (1, 1, 1)
    assert (counts["deployments"]["made"], counts["deployments"]["skipped"]) == (1, 1)
    assert here.store.meta().cluster == meta.cluster
    assert devices.find(here.store, device).data["groups"] == [mine], (
        "the group of that name, whatever its id"
    )
    assert set(here.store.values(DEPLOYMENTS)) == {"11111111-1"}, "what is over is history there"
    assert here.store.get(ALLOCATIONS, "11111111-1.0") is None, "placed anew"
    assert loads(here.store.get(TEMPLATES, "etl").value)["version"] == 2
    third = here.take(body, conflict="skip").json["records"]
    assert third["devices"] == {"made": 0, "same": 1, "replaced": 0, "skipped": 0, "conflicts": 0}
    assert sum(row["made"] for row in third.values()) == 0, "again is the same"

    replaced = here.take(body, conflict="replace")
    assert replaced.status_code == 200, replaced.text
    assert set(here.store.values(DEPLOYMENTS)) == {"11111111-1", "33333333-3"}
    assert loads(here.store.get(DEPLOYMENTS, "33333333-3").value)["version"] == 2
    assert loads(here.store.get(TEMPLATES, "other").value)["version"] == 2
    assert group in there.store.values(GROUPS)


def test_versions_of_a_template_that_was_deleted_are_not_made_others(house):
    """Deployments that ended name them; a template that comes in under the name has versions of its own."""
    there, here = house("redis"), house("redis")
    there.template("etl")
    here.template("etl", "sleep 99")
    here.template("other")
    here.store.attach()
    old = here.store.values(VERSIONS)
    here.store.put(TEMPLATES, "etl", None)
    refused = here.take(there.export(), mode="merge")
    assert refused.status_code == 409, refused.text
    assert [row["name"] for row in refused.json["conflicts"]] == ["etl"]
    done = here.take(there.export(), mode="merge", conflict="skip")
    assert done.json["records"]["templates"]["skipped"] == 1
    here.store.attach()
    assert here.store.values(VERSIONS) == old


def test_the_presence_store_of_who_moves_in_is_that_cluster_s(house):
    """Else the next start of the manager would refuse it, and nobody could move in with one."""
    there, beats = house("redis"), house("valkey")
    here = house(
        "redis",
        presence=f"redis://:{beats.files.password.read_text().strip()}@127.0.0.1:{beats.server.port}/0",
    )
    furnish(there)
    presence_store.own(beats.store.client, here.store.keys, here.store.meta().cluster)
    assert here.take(there.export()).status_code == 200
    presence_store.own(beats.store.client, here.store.keys, there.store.meta().cluster)


def test_a_device_that_cannot_be_read_moves_as_it_is(house):
    there, here = house("redis"), house("valkey")
    _, device = furnish(there)
    there.store.put(DEVICES, "1111111111", b"\xff not json")
    done = here.take(there.export())
    assert done.status_code == 200, done.text
    here.store.attach()
    assert here.store.values(DEVICES) == there.store.values(DEVICES)
    assert here.store.lines(DEVICES, "id:", "id;", 9) == [f"id:{device}"]


def test_an_inventory_that_went_elsewhere_and_came_back_takes_no_node_from_its_device(house):
    """There its nodes were none. Here they are, or will be again."""
    here, there = house("redis"), house("valkey")
    node = {"v": 1, "uid": "u", "hostname": "h", "ip": "10.0.0.1", "version": "1", "secret_sha256": "0" * 64}
    node["device"] = "1000000001"
    here.store.put(NODES, "web-1", dumps(node))
    for number, name in ((1, "web-1"), (2, "web-2")):  # the second is removed, and may come back
        record = {**DEVICE, "name": name, "node": name, "edited": ["name"]}
        devices.create(here.store, record, wanted=f"100000000{number}")
    there.template("makes it a living system")
    assert there.take(here.export()).json["records"]["devices"]["made"] == 2
    there.store.attach()
    for number in (1, 2):
        devices.change(there.store, f"100000000{number}", lambda old: {**old, "type": "edited there"})
    done = here.take(there.export(), mode="merge", conflict="replace")
    assert done.status_code == 200, done.text
    counts = done.json["records"]["devices"]
    assert (counts["skipped"], counts["replaced"]) == (1, 1)
    here.store.attach()
    one, two = (devices.find(here.store, f"100000000{number}").data for number in (1, 2))
    assert (one["node"], one["type"]) == ("web-1", "laptop")
    assert (two["node"], two["edited"], two["type"]) == ("web-2", ["name"], "edited there")


def test_a_group_that_comes_back_has_no_members_that_it_had_before_it_went(house):
    here = house("redis")
    group, device = furnish(here)
    body = here.export()
    groups.remove(here.store, group)
    devices.create(here.store, {**DEVICE, "groups": []})
    done = here.take(body, mode="merge", conflict="skip")
    assert done.status_code == 200, done.text
    here.store.attach()
    back = groups.named(here.store, "edge")
    assert back not in (None, group), "somebody still names it"
    assert devices.find(here.store, device).data["groups"] == [group], "which leads nowhere"


def test_what_a_group_that_comes_in_would_stop_is_told_and_to_be_meant(house, monkeypatch):
    there, here = house("redis"), house("valkey")
    groups.create(there.store, {"name": "edge", "rule": {"labels": {"zone": "a"}}})
    body = {"name": "etl", "task_groups": [{"placement": {"group": "edge"}, "count": "all", "tasks": [TASK]}]}
    assert here.http.simulate_post("/v1/templates", json=body).status_code < 300
    here.deployment("11111111-1", "etl")
    here.store.attach()
    meta, sent = here.store.meta(), there.export()
    ask = regrouping.ask
    monkeypatch.setattr(regrouping, "ask", lambda *asked: ask(*asked, within=0.1))
    for query in ({"dry_run": "true"}, {}):
        answer = here.take(sent, **query)
        assert (answer.status_code, answer.json["error"]) == (503, "No controller answers"), answer.text
    asked = []
    plan = {"groups": [{"group": "main", "here": 4, "of": 6, "deployment": "11111111-1"}]}
    monkeypatch.setattr(regrouping, "ask", lambda *call: asked.append(call) or plan)
    stops = ["group edge: this stops 4 of 6 of group main at once of deployment 11111111-1"]
    assert here.take(sent, dry_run="true").json["stops"] == stops
    assert asked[0][1:] == (
        "group",
        {"group": ANY, "record": {**A_GROUP, "id": ANY, "rule": {"labels": {"zone": "a"}}}},
    )
    refused = here.take(sent)
    assert (refused.status_code, refused.json["confirm"], refused.json["stops"]) == (409, True, stops)
    assert here.store.meta() == meta, "nothing was changed"
    done = here.take(sent, confirm="true")
    assert (done.status_code, "stops" in done.json) == (200, False), done.text
    assert len(asked) == 2, "who has said it is meant needs nobody who leads"
    assert here.take(sent).status_code == 200, "the same stops nothing"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda raw: raw[:-30], "breaks off"),
        (lambda raw: raw[: raw.rindex(b'{"end"')], "no end line"),
        (lambda raw: raw.replace(b"sleep 1", b"sleep 7"), "changed, or damaged"),
        (lambda raw: raw + b"{}\n", "follows the end"),
        (lambda raw: b"", "empty"),
        (lambda raw: b"[]\n", "not a JSON object"),
        (lambda raw: raw.replace(b'"v":1', b'"v":99', 1), "format 99"),
        (lambda raw: raw.replace(b'"schema":', b'"schema":9', 1), "or later"),
        (lambda raw: raw.replace(b'"collection":"templates"', b'"collection":"secrets"', 1), "is known"),
    ],
)
def test_what_is_no_whole_export_changes_nothing(house, spoil, says):
    here = house("valkey")
    here.template("etl")
    meta = here.store.meta()
    answer = here.take(spoil(here.export()), conflict="replace")
    assert answer.status_code == 422, answer.text
    assert says in answer.json["detail"]
    assert here.store.meta() == meta
    assert here.store.client.keys("muster:restoring*") == []


def test_an_export_is_one_moment_while_others_write(any_store, tmp_path):
    """Two records always say the same number; one that is deleted and made again is there or not, with its pair."""
    store, stop = any_store, threading.Event()
    for number in range(1500):
        store.put(DEVICES, f"filler-{number}", b'{"v":1}')
    count = 0

    def write():
        nonlocal count
        while not stop.is_set():
            count += 1
            value = dumps({"v": 1, "n": count})
            there = value if count % 3 else None
            store.txn(
                [], [Change(TEMPLATES, "a", value), Change(DEVICES, "b", value), Change(GROUPS, "c", there)]
            )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for round_ in range(5):
            path = tmp_path / f"{round_}.jsonl"
            path.write_bytes(b"".join(portable.write(store, now=1.0, server="x")))
            portable.check(path)
            last = {(name, key): value for name, key, value in portable.pairs(path)}
            numbers = {
                key: json.loads(value)["n"] for (_, key), value in last.items() if value and len(key) == 1
            }
            if (TEMPLATES, "a") in last:
                assert numbers["a"] == numbers["b"]
                assert numbers.get("c") == (numbers["a"] if numbers["a"] % 3 else None)
    finally:
        stop.set()
        thread.join()
    assert len([key for _, key in last if key.startswith("filler")]) == 1500


def send(house, path):
    """An export, as it comes, into a file."""
    with path.open("wb") as out:
        for piece in house.http.app(falcon.testing.create_environ("/v1/export"), lambda *_: None):
            out.write(piece)


def take_file(house, path, mode):
    """An import out of a file, read as it is asked for; the report."""
    query = f"dry_run=false&mode={mode}"
    env = falcon.testing.create_environ("/v1/import", method="POST", query_string=query)
    with path.open("rb") as body:
        env |= {"wsgi.input": body, "CONTENT_LENGTH": str(path.stat().st_size)}
        return json.loads(b"".join(house.http.app(env, lambda *_: None)))


@pytest.mark.timeout(1800 if SOAK else 120)
def test_many_devices_move_in_bounded_memory(house, tmp_path):
    """Out, into an empty house, and into one that has them all. A merge remembers ids, about 120 bytes each."""
    there, here, bound = house("valkey"), house("valkey"), 4 << 20
    bounds = {"move": bound, "merge": bound + 160 * MANY}
    seed(there.store, MANY)
    file = tmp_path / "house.jsonl"
    _, most = peak(lambda: send(there, file))
    assert most < bound
    for mode, result in (("move", "made"), ("merge", "same")):
        told, most = peak(lambda mode=mode: take_file(here, file, mode))
        assert told["records"]["devices"][result] == MANY, told
        assert most < bounds[mode]
        here.store.attach()


def test_what_is_no_json_goes_along_as_it_is(any_store, tmp_path):
    any_store.put(TEMPLATES, "odd", b"\xff not json")
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(portable.write(any_store, now=1.0, server="x")))
    portable.check(path)
    assert list(portable.pairs(path)) == [(TEMPLATES, "odd", b"\xff not json")]
    path.write_bytes(b"{}")
    with pytest.raises(Unsupported):
        portable.check(path)


A_DEVICE = {"v": 1, "id": "1234567890", **DEVICE}
A_GROUP = {"v": 1, "id": "1234567890", "name": "edge"}
A_TEMPLATE = {"v": 1, "version": 1, "body": {"name": "t", "task_groups": [{"tasks": [TASK]}]}}
A_DEPLOYMENT = {"v": 1, "template": "t", "version": 1, "wanted": "running", "created": 1.0}
A_NODE = {
    "v": 1, "uid": "u", "hostname": "h", "ip": "10.0.0.1", "addresses": [], "version": "1", "features": [],
    "secret_sha256": "0" * 64,
}  # fmt: skip


def written(*records, **head):
    """An export that somebody has written by hand, whole as far as can be told."""
    said = {
        "muster": "export", "v": 1, "release": "0.2.0", "schema": 1, "cluster": "0" * 32, "epoch": "3-ab", "rev": 9,
        "time": 1.0, "server": "redis", **head,
    }  # fmt: skip
    lines = [said, *({"collection": name, "field": key, "record": record} for name, key, record in records)]
    raw = b"".join(dumps(each) + b"\n" for each in lines)
    end = {"lines": len(lines), "rev": 9, "sha256": hashlib.sha256(raw).hexdigest()}
    return raw + dumps({"end": end}) + b"\n"


HOSTILE = [
    (DEVICES, "1234567890", {"v": 1}),
    (DEVICES, "x:y", {**A_DEVICE, "id": "x:y"}),
    (DEVICES, "1234567890", {**A_DEVICE, "id": "1234567891"}),
    (DEVICES, "1234567890", {**A_DEVICE, "name": "a\0b"}),
    (DEVICES, "1234567890", {**A_DEVICE, "groups": 5}),
    (DEVICES, "1234567890", {**A_DEVICE, "node": {"a": 1}}),
    (GROUPS, "1234567890", {"v": 1}),
    (GROUPS, "../x", A_GROUP),
    (GROUPS, "1234567890", {**A_GROUP, "rule": {"facts": 5}}),
    (TEMPLATES, "t", {"v": 1}),
    (TEMPLATES, "t", {**A_TEMPLATE, "version": 10**15}),
    (TEMPLATES, "other", A_TEMPLATE),
    (TEMPLATES, "t", {**A_TEMPLATE, "body": {"name": "t", "task_groups": 5}}),
    (DEPLOYMENTS, "d", {"v": 1}),
    (DEPLOYMENTS, "../d", A_DEPLOYMENT),
    (DEPLOYMENTS, "d", {**A_DEPLOYMENT, "ttl": "x"}),
    (NODES, "../n", A_NODE),
    (NODES, "n", {**A_NODE, "secret_sha256": "0" * 64 + " allkeys"}),
    (STATUS, "d", {"v": 1, "allocations": [5]}),
    (STATUS, "d", {"v": 1, "status": "RUNNING", "placed": [[0, 10**15]]}),
    (STATUS, "d", {"v": 1, "status": "RUNNING", "groups": 5}),
    (ALLOCATIONS, "d.0", {**ALLOCATION, "generation": "x"}),
    (CONTROLS, "brake", {"v": 1, "release": "x"}),
    (CONTROLS_STATUS, "brake", {"v": 1, "engaged": "x"}),
    (CLAIMS, "d.0", {"v": 1}),
]


def test_records_that_nobody_could_have_written_are_refused(house):
    here = house("valkey")
    meta = here.store.meta()
    for mode in ("merge", "move"):
        for record in HOSTILE:
            answer = here.take(written(record), mode=mode, conflict="replace")
            assert answer.status_code == 422, (mode, record, answer.text)
            assert answer.json["detail"].startswith(f"{record[0]}/"), answer.text
    for head in ({"cluster": 5}, {"cluster": "../x\n"}, {"epoch": "x"}, {"rev": 2**62}, {"rev": "9"}):
        answer = here.take(written(**head), mode="move")
        assert answer.status_code == 422, (head, answer.text)
    version = (VERSIONS, "1:t", A_TEMPLATE)
    unasked = (DEPLOYMENTS, "d", {**A_DEPLOYMENT, "scale": {"none": 3}})
    answer = here.take(written((TEMPLATES, "t", A_TEMPLATE), version, unasked), mode="merge")
    assert (answer.status_code, "there is no such group" in answer.text) == (422, True), answer.text
    assert here.store.meta() == meta, "nothing was changed"
    assert here.store.client.keys("muster:restoring*") == []
    assert not here.files.spool.exists()
    mine = [
        (GROUPS, "1234567890", A_GROUP),
        (DEVICES, "1234567890", A_DEVICE),
        (TEMPLATES, "t", A_TEMPLATE),
        version,
    ]
    assert here.take(written(*mine), mode="merge").status_code == 200, "as they should be, they are taken"
