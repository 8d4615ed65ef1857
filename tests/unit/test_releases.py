"""What earlier releases said and wrote, as it was recorded from them, is read by this one.

`tests/releases/record.py` records; two releases back must go on working.
"""

import ast
import json
import shutil
from pathlib import Path

import pytest

from agentd.core import obey
from agentd.identity import Identity
from agentd.join import Joiner
from manager_api.controller.mirror import Mirror
from manager_api.core.actions import SetStatus
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from manager_api.http.nodes import nodes
from manager_api.http.nodes.join_schema import JoinSchema
from store.codec import dumps
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS, TEMPLATES, VERSIONS
from store.kv.api import Change
from store.model import beat, spec
from store.version import OLDEST, SCHEMA, WRITES

pytestmark = pytest.mark.unit

RELEASES = Path(__file__).parents[1] / "releases"
SHAPES = sorted(RELEASES.glob("*.json"))


@pytest.fixture(params=SHAPES, ids=lambda path: path.stem)
def said(request):
    """What a release said, by what it is."""
    return json.loads(request.param.read_text())


def fill(store, said):
    """Lay a release's records into a store, as if it had written them there."""
    records = {
        TEMPLATES: ("etl", "template"), VERSIONS: ("1:etl", "version"), NODES: ("web-1", "node"),
        DEPLOYMENTS: (said["id"], "deployment"), STATUS: (said["id"], "status"),
        ALLOCATIONS: (f"{said['id']}.0", "allocation"),
    }  # fmt: skip
    store.txn([], [Change(name, field, dumps(said[what])) for name, (field, what) in records.items()])
    node, rev = store.keys.node("web-1"), said["desired"]["rev"]
    epoch, uid = store.epoch, said["node"]["uid"]
    store.client.set(store.keys.rev, rev)
    entry, alloc_id = dumps(said["desired"]), f"{said['id']}.0"
    store.client.hset(node.desired, mapping={"@rev": rev, "@epoch": epoch, "@node": uid, alloc_id: entry})
    store.client.hset(node.actual, alloc_id, dumps(said["actual"] | {"epoch": epoch}))
    store.client.set(node.beat, dumps(said["heartbeat"] | {"epoch": epoch}), px=60_000)
    store.attach()


def test_a_manager_of_today_has_nothing_to_do_about_what_an_earlier_one_wrote(said, fake_store, clock):
    """Else an upgrade would restart, or stop, or project anew."""
    fill(fake_store, said)
    mirror = Mirror(fake_store, clock)
    mirror.load()
    assert mirror.fleet.unreadable == set()
    assert mirror.fleet.states["web-1"].online
    actions = plan_deployments(mirror.fleet, Moment(said["deployment"]["created"] + 60, 1e3), [said["id"]])
    # What this release says beside: how many of it are up, and that this is a release to go back to.
    [told] = actions
    assert isinstance(told, SetStatus)
    before, after = said["status"], told.status
    assert {key: after[key] for key in ("status", "reason")} == {
        key: before[key] for key in ("status", "reason")
    }
    assert [each["id"] for each in after["allocations"]] == [each["id"] for each in before["allocations"]]
    assert after["stable"]["version"] == said["deployment"]["version"]
    assert plan_nodes(mirror.fleet, ["web-1"]) == []


def test_an_order_of_an_earlier_manager_is_obeyed(said):
    offer = obey.Offer("1-a", 10, "u", {"d.0": said["desired"]})
    found = obey.consider(offer, obey.Orders(), "u")
    assert (found.oddities, found.orders.entries) == ({}, {"d.0": said["desired"]})
    (task,) = spec.allocation("d.0", said["desired"]).tasks
    assert (task.argv[0], task.reserved_memory, task.stop.timeout) == ("/bin/sh", 16 << 20, 5.0)


def test_an_earlier_agent_is_taken_in_and_listed(said, fake_store):
    asked = JoinSchema().load(said["join_request"])
    record = nodes.join(fake_store, asked, "10.0.0.1", said["node"]["joined"])
    assert said["node"].items() <= record.items()
    node = fake_store.keys.node("web-1")
    fake_store.client.set(node.beat, dumps(said["heartbeat"]), px=60_000)
    (row,) = nodes.listing(fake_store)
    assert (row["status"], row["running"], row["frozen"]) == (0, 1, None)


def test_a_later_agent_may_say_more(said, fake_store):
    asked = JoinSchema().load(said["join_request"] | {"zone": "a"})
    assert nodes.join(fake_store, asked, "10.0.0.1", 1.0)["uid"] == said["node"]["uid"]
    assert beat.heartbeat(said["heartbeat"] | {"zone": "a"})["zone"] == "a"
    assert beat.actual(said["actual"] | {"zone": "a"})["zone"] == "a"


def test_an_earlier_manager_s_answer_is_understood_and_a_later_one_may_say_more(said, tmp_path, monkeypatch):
    who = Identity("web-1", said["node"]["uid"], "s", "m")
    joiner = Joiner(tmp_path, who, "http://127.0.0.1:1", ["process"])
    answer = said["join_answer"]
    monkeypatch.setattr(joiner, "_post", lambda _: answer)
    joiner.connect(anew=True).close()
    more = answer | {"later": 1, "store": answer["store"] | {"later": 1}}
    monkeypatch.setattr(joiner, "_post", lambda _: more)
    joiner.connect(anew=True).close()
    path = tmp_path / "join.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    again = Joiner(tmp_path, who, "http://127.0.0.1:1", ["process"])
    monkeypatch.setattr(again, "_post", lambda _: pytest.fail("it had known where the store is"))
    again.connect(anew=False).close()


def numbers(archive, home):
    """The schemas that a release reads and writes; the first releases named only one."""
    shutil.unpack_archive(archive, home)
    found = {"OLDEST": 1}
    for each in ast.parse((home / "store" / "version.py").read_text()).body:
        if isinstance(each, ast.Assign):
            (target,), value = each.targets, ast.literal_eval(each.value)
            if isinstance(target, ast.Tuple):
                found |= dict(zip([name.id for name in target.elts], value, strict=True))
            else:
                found[target.id] = value
    return {"WRITES": found["SCHEMA"], **found}


def order(archive):
    return [int(part) for part in archive.name.removesuffix(".tar.gz").split(".")]


def test_two_releases_back_fit(tmp_path):
    """A release writes what the one before it reads, and reads what the two before it wrote."""
    archives = sorted(RELEASES.glob("*.tar.gz"), key=order)[-2:]
    known = [numbers(archive, tmp_path / archive.name) for archive in archives]
    assert OLDEST <= WRITES <= min(SCHEMA, known[-1]["SCHEMA"])
    assert min(each["WRITES"] for each in known) >= OLDEST
