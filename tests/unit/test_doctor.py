"""What `muster doctor` makes of a fleet: the report, the findings, the page."""

import pytest

from manager_api.core import doctor
from muster.doctor import clean, head, sentences
from store.codec import dumps
from store.kv.api import MOST_LOGGED

pytestmark = pytest.mark.unit

REPORT = {
    "version": "0.5.0",
    "time": 100.0,
    "cluster": "c1",
    "epoch": {"id": "3-ab", "began": 1.0, "reason": "restored"},
    "revision": 70,
    "seen": 70,
    "lost": None,
    "fenced": 0,
    "log": {"entries": 9, "compacted": 60, "lag": 10},
    "leader": {"holder": "m1", "token": "4", "fence": "4", "seconds": 4.0},
    "store": {"embedded": True, "sentinel": False},
}


def record(uid="u", version="0.5.0"):
    return dumps({"uid": uid, "version": version})


def beat(uid="u", **more):
    return dumps({"uid": uid, "instance": "i", **more})


def fleet(**nodes):
    names = sorted(nodes)
    return doctor.fleet({name: nodes[name][0] for name in names}, [nodes[name][1] for name in names])


def index(**found):
    names = ("unreadable", "lacking", "extra")
    return {"records": 9} | {
        name: dict(zip(("count", "example"), found.get(name, (0, None)), strict=True)) for name in names
    }


def bad(**changes):
    report = {**REPORT, "nodes": fleet(a=(record(), beat())), **changes}
    return [(each.severity, each.name) for each in doctor.judge(report) if each.severity != "ok"]


def texts(**changes):
    return [str(each) for each in doctor.judge({**REPORT, **changes})]


def test_a_healthy_fleet():
    assert bad() == []
    assert bad(nodes=fleet()) == []
    assert "epoch: epoch 3-ab, revision 70: restored" in texts()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trouble": {"kind": "unavailable", "text": "away"}}, [("wrong", "store")]),
        ({"trouble": {"kind": "empty", "text": "empty"}}, [("wrong", "store")]),
        ({"lost": "the store fell back"}, [("wrong", "epoch")]),
        ({"seen": 71}, [("wrong", "epoch")]),
        ({"fenced": 3}, []),
        ({"log": {"entries": MOST_LOGGED, "compacted": 0, "lag": MOST_LOGGED}}, [("wrong", "log")]),
        ({"leader": None}, [("wrong", "leader")]),
        ({"leader": {"holder": "m1", "token": "4", "fence": "5", "seconds": 1.0}}, [("wrong", "leader")]),
        ({"nodes": fleet(a=(record(), beat(frozen="no")))}, [("wrong", "frozen")]),
        ({"nodes": fleet(a=(record(), None))}, [("wrong", "offline")]),
        ({"nodes": fleet(a=(record(), beat("another")))}, [("wrong", "offline")]),
        ({"nodes": fleet(a=(record(), b"nonsense"))}, [("wrong", "unreadable")]),
        ({"nodes": fleet(a=(b"nonsense", beat()))}, [("wrong", "unreadable")]),
        ({"nodes": fleet(a=(record(), beat(frozen=7)))}, [("wrong", "unreadable")]),
        ({"nodes": fleet(a=(record(), beat(unclaimed=["d.0", "d.1"])))}, [("wrong", "unclaimed")]),
        ({"nodes": fleet(a=(record(), beat(unclaimed="nonsense")))}, []),
        ({"nodes": fleet(a=(record(version="0.6.0"), beat()))}, [("warn", "versions")]),
        ({"devices": index()}, []),
        ({"devices": index(lacking=(2, "sn:S:1"))}, [("wrong", "devices")]),
        ({"devices": index(extra=(1, "sn:S:1"))}, [("wrong", "devices")]),
        ({"devices": index(unreadable=(1, "1"))}, [("warn", "devices")]),
        ({"device_file": {"file": "f", "kept": True, "written": 1.0, "why": None}}, []),
        (
            {"device_file": {"file": "f", "kept": False, "written": None, "why": None}},
            [("wrong", "device-csv")],
        ),
        ({"nodes": fleet(a=(record(version="0.3.9"), beat()))}, []),
        ({"nodes": fleet(a=(record(version="0.2.9"), beat()))}, [("wrong", "versions")]),
        ({"nodes": fleet(a=(record(version="?"), beat()))}, [("warn", "versions")]),
    ],
)
def test_each_fact_has_its_finding_and_no_other(changes, expected):
    assert bad(**changes) == expected
    for each in doctor.judge({**REPORT, **changes}):
        assert each.cure or each.severity == "ok", f"{each.name} says no cure"


def test_what_the_index_has_and_lacks_is_counted_and_one_of_it_named():
    (said,) = texts(devices=index(lacking=(2, "sn:S:1"), extra=(1, "name:x:1")))[-1:]
    assert (
        "2 lines (sn:S:1, …) not there, by which devices would be found; 1 line (name:x:1) of no device"
        in said
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (41.0, "last 59 seconds ago"),
        (-100.0, "last 3 minutes ago"),
        (-1e6, "last 11 days ago"),
        (None, "nor ever was"),
    ],
)
def test_since_when_the_file_is_not_kept_and_why(written, said):
    state = {"file": "/x/devices.csv", "kept": False, "written": written, "why": "its disk is full"}
    text = texts(device_file=state, time=100.0)[-1]
    assert f"/x/devices.csv is not kept like the inventory, {said}: its disk is full" in text


def test_a_report_that_stops_short_is_judged_as_far_as_it_goes():
    short = {"version": "0.5.0", "store": {}, "trouble": {"kind": "unavailable", "text": "away"}}
    assert [each.name for each in doctor.judge(short)] == ["store"]


def test_many_nodes_are_counted_and_few_are_named():
    frozen = {f"n{n:03}": (record(), beat(frozen="the store fell back")) for n in range(200)}
    nodes = fleet(**frozen, other=(record(), beat(frozen="does not answer")))
    assert [(group["count"], len(group["nodes"])) for group in nodes["frozen"]] == [(1, 1), (200, 100)]
    first, second = [each for each in texts(nodes=nodes) if each.startswith("frozen")]
    assert "nodes n000, n001, n002, n003, n004 and 195 more are frozen" in first
    assert "node other is frozen" in second
    assert "look at the network" in second


def test_thousands_of_reasons_do_not_make_thousands_of_findings():
    nodes = fleet(**{f"n{n:03}": (record(), beat(frozen=f"revision {n}")) for n in range(300)})
    said = [each for each in texts(nodes=nodes) if each.startswith("frozen")]
    assert len(said) == doctor.MOST_GROUPS + 1
    assert "280 more reasons" in said[-1]


def test_unclaimed_work_is_counted_by_node():
    nodes = fleet(a=(record(), beat(unclaimed=["x", "y"])), b=(record(), beat(unclaimed=["z"])))
    assert nodes["unclaimed"] == {"count": 3, "nodes": {"a": 2, "b": 1}, "on": 2}
    assert any(
        "3 allocations run though nobody lists them, on a (2), b (1)" in each for each in texts(nodes=nodes)
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"began": 5, "reason": "restored"}', "restored"),
        (None, None),
        (b"nonsense", None),
        (b'{"began": "x", "reason": 7}', None),
    ],
)
def test_why_an_epoch_began_is_told_if_it_is_written(raw, reason):
    found = doctor.epoch_of("3-ab", raw)
    assert (found["id"], found["reason"], found["began"]) == ("3-ab", reason, 5 if reason else None)


def test_the_page():
    store = {
        "embedded": False, "sentinel": True, "flavour": "redis", "version": "7.0.15", "role": "primary", "uptime": 7300,
        "connections": 3, "maxclients": None, "memory": 1 << 20, "appendonly": True, "appendfsync": "always",
        "save": "60 1", "replicas": [{"address": "h:1", "state": "online", "lag": 2}],
    }  # fmt: skip
    report = {**REPORT, "store": store, "nodes": fleet(a=(record(), beat()))}
    lines = head(report)
    assert lines[1] == (
        "store     redis 7.0.15, under Sentinel, primary, up 2h; 3 of ? connections; 1.0 MiB; appendfsync always; "
        'save "60 1"; replicas: h:1 online lag 2 s'
    )
    assert "c1, epoch 3-ab since" in lines[2]
    assert "(restored)" in lines[2]
    assert (
        lines[3] == "revision  70; change log: 9 entries, 10 revisions since compaction; 0 writes fenced off"
    )
    assert lines[5] == "nodes     1 of 1 online; agents: 1 of 0.5.0"
    assert head({"version": "1", "store": {"embedded": True, "sentinel": False}})[1] == "store     embedded"


def test_a_finding_is_two_lines_and_a_hostile_one_no_more():
    cured = {"severity": "wrong", "name": "frozen", "text": "web-1 \x1b[2J\n" + "x" * 1000, "cure": "do x"}
    first, second, third = sentences(
        [cured, {"severity": "ok", "name": "role", "text": "primary", "cure": ""}]
    )
    assert first.startswith("WRONG   frozen: web-1 ?[2J?xxx")
    assert len(first) < 450
    assert second == "        -> do x"
    assert third == "ok      role: primary"
    assert clean("grün") == "grün"
