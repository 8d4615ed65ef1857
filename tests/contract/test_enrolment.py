"""Nodes as devices: made and renewed by joins, and by the leader's care; groups of nodes; who is there."""

import threading

import pytest

from manager_api.core import confirm
from manager_api.core.devices import in_groups
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.questions import ask
from manager_api.http.inventory.device_release import FIELDS
from manager_api.http.inventory.device_schema import DEVICE
from manager_api.http.system.merging import Merge
from manager_api.http.templates.schemas import TemplateSchema
from manager_api.http.templates.templates import save
from manager_api.inventory import devices, enrolment, groups
from manager_api.inventory.enrolment import device_of, regroup
from manager_api.inventory.errors import TooMany, Unknown
from manager_api.inventory.presence import present, statuses
from manager_api.inventory.targets import used_by
from store.codec import dumps, loads
from store.keys import DEPLOYMENTS, DEVICES, GROUPS, NODES, STATUS
from store.kv.api import Change
from store.kv.swap import Swap
from tests.builders import a_task, a_template
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

FACTS = {
    "hardware": {"model": "R640", "sn": "SN-1", "machine": "x86_64", "cores": 8, "memory": 16 << 30,
                 "disks": [{"name": "sda", "bytes": 1 << 40}]},
    "software": {"version": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.1.0"},
    "nic": [{"type": "ethernet", "mac": "02:00:00:00:00:01", "ipv4": "192.168.10.100"}],
}  # fmt: skip


@pytest.fixture
def manager(store):
    return Manager(store)


@pytest.fixture
def node(manager):
    return Puppet(manager)


def join(puppet, **more):
    answer = puppet.manager.post("/v1/nodes/join", puppet.join_body(**more))
    assert answer.status_code == 200, answer.text


def record(manager, node="web-1"):
    return loads(manager.store.get(NODES, node).value)


def device(manager, node="web-1"):
    return device_of(manager.store, node, record(manager, node)).data


def say(manager, device_id, **fields):
    devices.change(manager.store, device_id, lambda old: {**old, **fields})


def test_a_node_that_joins_is_a_device(manager, node):
    join(node, facts=FACTS)
    found = device(manager)
    assert found["id"] == record(manager)["device"]
    assert (found["name"], found["type"], found["node"]) == ("web-1", "node", "web-1")
    assert found["hardware"] == {
        "model": "R640", "sn": "SN-1", "cores": 8, "memory": 16 << 30, "disks": [{"name": "sda", "bytes": 1 << 40}],
    }  # fmt: skip
    assert found["software"].pop("last_update").startswith("20")
    assert found["software"] == {"version": FACTS["software"]["version"], "kernel": "6.1.0", "agent": "0.1.0"}
    assert found["nic"] == FACTS["nic"]
    assert record(manager)["facts"] == {
        "cores": 8, "memory": 16 << 30, "disk": 1 << 40, "model": "R640", "sn": "SN-1", "machine": "x86_64",
        "os": FACTS["software"]["version"], "kernel": "6.1.0",
    }  # fmt: skip
    store = manager.store
    assert store.revisions(DEVICES)[found["id"]] == store.revisions(NODES)["web-1"], "one transaction"
    assert store.lines(DEVICES, "sn:SN-1:", "sn:SN-1;", 9) == [f"sn:SN-1:{found['id']}"]
    shown = manager.get("/v1/nodes/web-1").json
    assert (shown["device"], shown["facts"]["cores"]) == (found["id"], 8)


def test_an_agent_that_says_nothing_of_its_machine_is_a_device_all_the_same(manager, node):
    found = device(manager)
    assert (found["hardware"], found["software"]["agent"]) == ({"model": "", "sn": ""}, "0.1.0")
    assert found["nic"] == [{"type": "unknown", "mac": "", "ipv4": "192.168.10.100"}]
    assert "facts" not in record(manager)
    join(node, facts=FACTS)
    assert device(manager)["id"] == found["id"]
    assert device(manager)["nic"] == FACTS["nic"]
    join(node)  # an older agent again
    assert device(manager)["hardware"]["model"] == "R640"
    assert device(manager)["nic"] == FACTS["nic"]


def test_joining_again_writes_nothing_if_nothing_has_changed(manager, node):
    join(node, facts=FACTS)
    rev = manager.store.meta().rev
    join(node, facts=FACTS)
    assert manager.store.meta().rev == rev


def test_what_people_edited_stays_edited(manager, node):
    join(node, facts=FACTS)
    known = device(manager)
    say(
        manager, known["id"], name="Front desk", hardware={**known["hardware"], "sn": "by hand"},
        nic=[], edited=["name", "hardware.sn", "nic", "software.last_update"],
        software={**known["software"], "last_update": ""},
    )  # fmt: skip
    more = {**FACTS["hardware"], "cores": 16, "sn": "SN-2"}
    join(node, facts={**FACTS, "hardware": more, "software": {"version": "Debian 13", "kernel": "6.12"}})
    found = device(manager)
    assert (found["name"], found["hardware"]["sn"], found["hardware"]["cores"]) == (
        "Front desk",
        "by hand",
        16,
    )
    assert (found["software"]["version"], found["software"]["last_update"], found["nic"]) == (
        "Debian 13",
        "",
        [],
    )
    assert record(manager)["facts"]["sn"] == "SN-2", "rules go by what is so"


def edit(manager, device_id, **said):
    answer = manager.http.simulate_put(f"/v1/devices/{device_id}", json=said)
    assert answer.status_code == 200, answer.text


def release(manager, device_id, *names, **more):
    body = {"fields": list(names)} if names else None
    return manager.http.simulate_post(f"/v1/devices/{device_id}/release", json=body, **more)


def test_what_people_edited_is_given_back_to_the_agent(manager, node):
    join(node, facts=FACTS)
    known = device(manager)
    path = known["id"]
    here = {**FACTS, "hardware": {**FACTS["hardware"], "model": "said to the store alone"}}
    node.link.describe({key: dumps(said) for key, said in here.items()})
    edit(
        manager, path, name="Front desk", type="terminal", nic=[], hardware={"model": "M", "sn": "by hand", "cores": 1, "disks": []},
        software={"version": "x", "kernel": "x", "agent": "x", "last_update": "2001-01-01"},
    )  # fmt: skip
    some = release(manager, path, "hardware.sn", "nic")
    assert (some.status_code, some.json["hardware"]["sn"], some.json["nic"]) == (200, "SN-1", FACTS["nic"])
    assert some.json["name"] == "Front desk"
    assert set(some.json["edited"]) == set(FIELDS) - {"hardware.sn", "nic", "hardware.memory"}
    store = manager.store
    assert store.lines(DEVICES, "sn:", "sn;", 9) == [f"sn:SN-1:{path}"]
    rev = store.meta().rev
    assert release(manager, path, "nic", "hardware.memory").json == some.json
    assert store.meta().rev == rev, "again is the same"
    assert release(manager, path, headers={"If-Match": f'"{rev - 1}"'}).status_code == 412
    done = release(manager, path, headers={"If-Match": some.headers["ETag"]})
    assert done.status_code == 200, done.text
    software = {**known["software"], "last_update": "2001-01-01"}
    assert device(manager) == {**known, "software": software}, "its update was when people say it was"
    join(node, facts={**FACTS, "hardware": {**FACTS["hardware"], "model": "R650"}})
    assert device(manager)["hardware"]["model"] == "R650", "the agent has the word"


def test_what_the_agent_does_not_know_is_empty_once_it_is_given_back(manager, node):
    join(node, facts={**FACTS, "hardware": {"cores": 8}})
    known = device(manager)
    edit(manager, known["id"], hardware={"model": "a guess", "memory": 1, "cores": 1})
    assert (
        release(manager, known["id"]).json["hardware"]
        == known["hardware"]
        == {"model": "", "sn": "", "cores": 8}
    )


def test_a_field_is_given_back_only_to_an_agent(manager, node):
    path, desk = device(manager)["id"], devices.create(manager.store, DEVICE).data["id"]
    for body in (
        {"fields": []},
        {"fields": ["status"]},
        {"fields": "name"},
        {"fields": ["hardware"]},
        {"x": 1},
    ):
        answer = manager.post(f"/v1/devices/{path}/release", body)
        assert answer.status_code == 400, answer.text
    assert release(manager, "1234567890").status_code == 404
    refused = release(manager, desk)
    assert (refused.status_code, refused.json["error"]) == (409, "The device is no node")
    edit(manager, path, hardware={"sn": "by hand"}, name="mine")
    assert release(manager, path, "hardware.sn").json["hardware"]["sn"] == "by hand", "its agent knows none"
    manager.store.put(NODES, "web-1", None)
    gone = release(manager, path)
    assert (gone.status_code, gone.json["name"], "edited" in gone.json) == (200, "web-1", False)
    join(node, facts=FACTS)
    assert device(manager)["hardware"]["sn"] == "SN-1", "it is back, and has the word"


def test_facts_that_come_while_a_field_is_given_back_are_not_undone(manager, node, monkeypatch):
    join(node, facts=FACTS)
    path = device(manager)["id"]
    edit(manager, path, hardware={"sn": "by hand"})
    moved = {**FACTS, "hardware": {**FACTS["hardware"], "sn": "SN-2"}}
    told = iter([lambda: join(node, facts=moved)])
    real = enrolment.said
    monkeypatch.setattr(enrolment, "said", lambda *those: (next(told, lambda: None)(), real(*those))[1])
    assert release(manager, path).json["hardware"]["sn"] == "SN-2"


def test_software_says_when_it_became_other(manager, node):
    join(node, facts=FACTS)
    say(manager, device(manager)["id"], software={**device(manager)["software"], "last_update": "2001-01-01"})
    join(node, facts={**FACTS, "hardware": {**FACTS["hardware"], "cores": 9}})
    assert device(manager)["software"]["last_update"] == "2001-01-01"
    join(node, facts={**FACTS, "software": {"version": "Debian 13"}})
    assert device(manager)["software"]["last_update"] > "2001-01-01"


def test_a_node_that_was_removed_finds_its_device_when_it_is_back(manager, node):
    join(node, facts=FACTS)
    known = device(manager)
    manager.post("/v1/nodes/web-1/groups", {"groups": {"edge": True}})
    store = manager.store
    assert not devices.remove(store, known["id"]), "it is a node of the fleet"
    store.txn([], [Change(NODES, "web-1", None)])
    join(node, uid="another machine", facts=FACTS)
    assert device(manager)["id"] == known["id"]
    assert manager.get("/v1/nodes/web-1").json["groups"] == ["edge"]


def test_a_device_whose_node_is_gone_can_go_and_another_comes(manager, node):
    join(node, facts=FACTS)
    known = device(manager)["id"]
    manager.store.client.hdel(manager.store.keys.collection(NODES), "web-1")
    manager.store.client.hdel(manager.store.keys.revisions(NODES), "web-1")
    assert devices.remove(manager.store, known)
    join(node, facts=FACTS)
    assert device(manager)["id"] != known
    assert manager.store.values(DEVICES).keys() == {device(manager)["id"]}


def test_groups_of_a_node_are_memberships(manager, node):
    answer = manager.post("/v1/nodes/web-1/groups", {"groups": {"lab": True, "edge": True}})
    assert answer.json["groups"] == ["edge", "lab"]
    ids = {loads(raw)["name"]: key for key, raw in manager.store.values(GROUPS).items()}
    assert device(manager)["groups"] == record(manager)["member_of"] == sorted(ids.values())
    device_id = device(manager)["id"]
    devices.change(manager.store, device_id, lambda old: in_groups(old, [ids["lab"]]))
    assert manager.get("/v1/nodes/web-1").json["groups"] == ["lab"], "the inventory's word is the node's"
    assert (
        manager.post("/v1/nodes/web-1/groups", {"groups": {"lab": False, "none": False}}).json["groups"] == []
    )
    assert ids.keys() == {loads(raw)["name"] for raw in manager.store.values(GROUPS).values()}
    groups.change(manager.store, ids["edge"], lambda old: {**old, "name": "The edge of it"})
    manager.post("/v1/nodes/web-1/groups", {"groups": {"The edge of it": True}})
    assert [each["id"] for each in _nodes(manager, "group=The edge of it")] == ["web-1"]
    assert manager.post("/v1/nodes/web-9/groups", {"groups": {"edge": True}}).status_code == 404


def _nodes(manager, query):
    return manager.http.simulate_get("/v1/nodes", query_string=query.replace(" ", "%20")).json["data"]


def test_a_group_by_rule_is_listed_and_not_left(manager, node):
    Puppet(manager, "web-2")
    join(node, facts=FACTS)
    rule = {"facts": {"cores": ">=8"}}
    groups.create(manager.store, {"name": "big", "rule": rule})
    groups.create(manager.store, {"name": "zone-a", "rule": {"labels": {"zone": "a"}}})
    assert [each["id"] for each in _nodes(manager, "group=big")] == ["web-1"]
    assert _nodes(manager, "group=zone-a") == []
    manager.post("/v1/nodes/web-2/labels", {"labels": {"zone": "a"}})
    assert {each["id"]: each["groups"] for each in _nodes(manager, "")} == {
        "web-1": ["big"],
        "web-2": ["zone-a"],
    }
    refused = manager.post("/v1/nodes/web-1/groups", {"groups": {"new": True, "big": False}})
    assert (refused.status_code, refused.json["error"]) == (409, "Node is in the group by its rule")
    assert groups.named(manager.store, "new") is None, "nothing is changed"
    manager.store.put(GROUPS, "1", b'{"v": 1, "id": "1", "name": "odd", "rule": {"moon": "full"}}')
    assert len(_nodes(manager, "")) == 2, "what cannot be read holds nothing up"


# -- nodes of earlier releases


def old_node(manager, node, **more):
    fields = {
        "v": 1, "uid": f"uid-{node}", "hostname": f"host-{node}", "ip": "10.0.0.7", "addresses": ["10.0.0.7", "fd00::7"],
        "version": "0.2.0", "features": ["process"], "secret_sha256": "0" * 64, "joined": 1.0, **more,
    }  # fmt: skip
    manager.store.put(NODES, node, dumps(fields))
    facts = {
        "hardware": dumps({"cpus": 4, "memory": 1 << 30, "machine": "armv7l"}),
        "software": dumps({"system": "Linux", "kernel": "5.10.1", "python": "3.11", "muster": "0.2.0"}),
        "addresses": b'["10.0.0.7"]',
    }
    manager.store.client.hset(manager.store.keys.node(node).facts, mapping=facts)


def test_nodes_of_earlier_releases_become_devices_and_their_groups_memberships(manager):
    for number in range(30):
        old_node(manager, f"old-{number}", groups=["edge", "lab"] if number == 7 else ["edge"])
    many = [f"g{number}" for number in range(65)]
    old_node(manager, "crowded", groups=many)
    old_node(manager, "leaving", removing=1.0)
    keys = manager.store.keys
    manager.store.client.set(keys.node("old-3").facts, "no hash")
    manager.store.client.hset(keys.node("old-4").facts, "hardware", "nonsense")
    manager.lead()
    try:
        eventually(lambda: all("device" in record(manager, f"old-{n}") for n in range(30)))
    finally:
        manager.end()
    found = device(manager, "old-7")
    assert (found["hardware"]["cores"], found["software"]["kernel"]) == (4, "5.10.1")
    assert found["nic"] == [{"type": "unknown", "mac": "", "ipv4": "10.0.0.7"}]
    assert record(manager, "old-7")["facts"]["machine"] == "armv7l"
    assert "groups" not in record(manager, "old-7")
    assert manager.get("/v1/nodes/old-7").json["groups"] == ["edge", "lab"]
    assert device(manager, "old-3")["hardware"] == {"model": "", "sn": ""}
    assert len(found["groups"]) == 2
    assert record(manager, "crowded")["groups"] == many, "they count as they are"
    assert "device" not in record(manager, "leaving")
    names = [loads(raw)["name"] for raw in manager.store.values(GROUPS).values()]
    assert sorted(names) == ["edge", "lab"]


def test_bringing_in_what_is_in_already_changes_nothing(manager, node):
    rev = manager.store.meta().rev
    regroup(manager.store, "web-1", {}, 1.0)
    assert manager.store.meta().rev == rev
    with pytest.raises(Unknown):
        regroup(manager.store, "web-9", {}, 1.0)
    with pytest.raises(TooMany):
        regroup(manager.store, "web-1", {f"g{n}": True for n in range(65)}, 1.0)
    with pytest.raises(ValueError, match="1 to 63"):
        regroup(manager.store, "web-1", {"no such name!": True}, 1.0)
    assert manager.store.meta().rev == rev


def test_all_at_once_and_nothing_is_lost(store):
    """Joins, groups by the node, memberships by the device, renamed and labelled: from six sides."""
    manager = Manager(store)
    node = Puppet(manager)
    device_id = device(manager)["id"]
    kept = groups.create(store, {"name": "kept"}).data["id"]
    rounds, failed = 6, []

    def run(work):
        try:
            for number in range(rounds):
                work(number)
        except Exception as error:
            failed.append(error)

    def joins(number):
        join(node, facts={**FACTS, "hardware": {"cores": number + 1}})

    def by_node(number):
        assert manager.post("/v1/nodes/web-1/groups", {"groups": {f"n{number}": True}}).status_code == 200

    def by_other(number):
        regroup(store, "web-1", {f"n{number}": True, f"o{number}": True}, 1.0)

    def by_device(_):
        devices.change(store, device_id, lambda old: in_groups(old, {*old.get("groups", ()), kept}))

    def named(number):
        devices.change(store, device_id, lambda old: {**old, "name": f"name {number}", "edited": ["name"]})

    def labels(number):
        manager.post("/v1/nodes/web-1/labels", {"labels": {f"l{number}": "x"}})

    threads = [threading.Thread(target=run, args=(each,)) for each in (joins, by_node, by_other, by_device, named, labels)]  # fmt: skip
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert failed == []
    found, said = device(manager), record(manager)
    assert store.values(DEVICES).keys() == {device_id}
    assert found["groups"] == said["member_of"]
    wanted = {"kept", *(f"n{n}" for n in range(rounds)), *(f"o{n}" for n in range(rounds))}
    assert set(manager.get("/v1/nodes/web-1").json["groups"]) == wanted
    assert (found["name"], found["hardware"]["cores"], said["facts"]["cores"]) == (
        f"name {rounds - 1}",
        rounds,
        rounds,
    )
    assert len(said["labels"]) == rounds
    lines = store.lines(DEVICES, "", "\U0010ffff", 1000)
    assert len(lines) == 1 + 1 + 1 + 1 + 1 + len(wanted)
    names = [loads(raw)["name"] for raw in store.values(GROUPS).values()]
    assert len(names) == len(set(names)) == len(wanted)


# -- who is there, and who is used


def test_whether_a_device_is_there(manager, node):
    other = Puppet(manager, "web-2")
    other.link.leave()
    assert statuses(manager.store, ["web-1", "web-2", "web-9"]) == {
        "web-1": "online", "web-2": "offline", "web-9": "offline",
    }  # fmt: skip
    manager.store.client.set(manager.store.keys.doubt, "just begun")
    assert statuses(manager.store, ["web-1", "web-2"]) == {"web-1": "online", "web-2": "unknown"}
    node.beat(uid="another")
    rows = present(
        manager.store, [{"id": "1", "node": "web-1", "status": "x"}, {"id": "2", "status": "busy"}]
    )
    assert [each["status"] for each in rows] == ["offline", "busy"]
    assert statuses(manager.store, []) == {}


def test_which_deployments_are_placed_on_a_group(manager):
    store = manager.store
    edge, lab = (groups.create(store, {"name": name}).data["id"] for name in ("edge", "lab"))
    body = a_template(a_task("t"), name="etl", placement={"group": "${param.where}"})
    save(store, TemplateSchema().load({**body, "parameters": {"where": {"required": True}}}))
    save(store, TemplateSchema().load(a_template(name="free")))
    common = {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": 1.0}
    for name, where in (("one", "edge"), ("two", "edge"), ("three", "lab")):
        store.put(DEPLOYMENTS, name, dumps({**common, "parameters": {"where": where}}))
    store.put(DEPLOYMENTS, "free", dumps({**common, "template": "free"}))
    store.put(STATUS, "two", dumps({"v": 1, "status": "STOPPED"}))
    stable = {"change": 0, "version": 1, "parameters": {"where": "edge"}}
    store.put(STATUS, "three", dumps({"v": 1, "status": "RUNNING", "stable": stable}))
    assert (used_by(store, edge), used_by(store, lab)) == (["one", "three"], ["three"])
    with pytest.raises(Unknown):
        used_by(store, "1234567890")


def test_a_change_that_stops_much_of_what_follows_a_group_needs_to_be_meant(manager, monkeypatch):
    puppets = [Puppet(manager, f"web-{number}") for number in range(6)]
    rule = {"facts": {"node": "web-*"}}
    answer = manager.post("/v1/groups", {"name": "edge", "rule": rule})
    path, few = f"/v1/groups/{answer.json['data']}", {"facts": {"node": ["web-1", "web-2"]}}
    body = TemplateSchema().load(
        a_template(a_task("t"), name="etl", count="all", placement={"group": "edge"})
    )
    save(manager.store, body)
    manager.lead()
    try:
        deployed = manager.post("/api/task/task_group/deploy", {"name": "etl"})
        assert deployed.status_code == 200, deployed.text
        eventually(lambda: sum(len(each.orders()) for each in puppets) == 6)
        refused = manager.http.simulate_put(path, json={"rule": few})
        assert (refused.status_code, refused.json["error"]) == (409, "This needs confirmation")
        assert refused.json["confirm"] is True
        assert "this stops 4 of 6 of group group-0 at once" in refused.json["detail"]
        assert manager.get(path).json["rule"] == rule
        kept = manager.http.simulate_put(path, json={"rule": {"facts": {"node": ["web-[1-9]", "web-?"]}}})
        assert kept.status_code == 200, "it stops nothing"
        assert manager.http.simulate_put(path, json={"description": "x"}).status_code == 200
        assert manager.http.simulate_put(path, json={"rule": few, "confirm": True}).json["rule"] == few
        wanted = {"web-1": "running", "web-2": "running"}
        eventually(lambda: {each.node: next(iter(each.orders().values()))["wanted"] for each in puppets}
                   == {each.node: wanted.get(each.node, "stopped") for each in puppets})  # fmt: skip
        assert "confirm" not in manager.get(path).json
        _members_leave(manager, path.rpartition("/")[2], few)
        monkeypatch.setattr(confirm, "LEAST", 2)
        _a_merge_replaces(
            manager, path, {"facts": {"node": ["web-2", "web-1"]}}, {"facts": {"node": ["nobody"]}}
        )
    finally:
        manager.end()
    assert manager.http.simulate_put(path, json={"description": "y"}).status_code == 200, "asks nobody"


def _members_leave(manager, edge, rule):
    """All are members now, and two of them are in it by the rule."""
    nodes = [f"web-{number}" for number in range(6)]
    for node in nodes:
        assert manager.post(f"/v1/nodes/{node}/groups", {"groups": {"edge": True}}).status_code == 200
    its = [record(manager, node)["device"] for node in nodes]
    ids = [f"{device}-{edge}" for device in its]
    asked = {"group": edge, "leaving": its}
    eventually(lambda: ask(manager.services, "group", asked)["groups"][0]["here"] == 4)
    refused = _delete(manager, ids)
    assert "this stops 4 of 6 of group group-0 at once" in refused.json["detail"]
    assert refused.json["status"] == 409
    assert _delete(manager, ids[:3]).status_code == 200, "of these, two stay by the rule"
    assert _delete(manager, ids[3:], confirm=True).json["ids"] == ids[3:]
    assert [each["id"] for each in _nodes(manager, "group=edge")] == rule["facts"]["node"]


def _a_merge_replaces(manager, path, same, none):
    """The same holds for a group that comes in by `POST /v1/import`."""
    store, edge = manager.store, manager.get(path).json
    asked = {"group": edge["id"], "record": {**edge, "rule": none}}
    eventually(lambda: (row := ask(manager.services, "group", asked)["groups"][0])["here"] == row["of"] == 2)
    with Swap(store.client, store.keys) as swap:
        for rule, much in ((same, False), (none, True)):
            swap.fill([(GROUPS, edge["id"], dumps({**edge, "v": 1, "rule": rule}))], 1)
            merge = Merge(manager.services, store, swap, "replace")
            stops = merge.plan().stops
            assert ["this stops 2 of 2 of group group-0 at once" in each for each in stops] == [True] * much
            if much:
                before = store.meta().rev
                with pytest.raises(ApiError) as refused:
                    merge.run(confirmed=False)
                assert (refused.value.status, refused.value.body["stops"]) == (409, stops)
                assert refused.value.body["confirm"] is True
                assert store.meta().rev == before, "nothing was changed"
            assert merge.run(confirmed=much).counts["groups"]["replaced"] == 1
            assert manager.get(path).json["rule"] == rule


def _delete(manager, ids, **more):
    return manager.http.simulate_delete("/v1/memberships", json={"ids": ids, **more})
