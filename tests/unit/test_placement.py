"""Where allocations go and why not elsewhere, rule by rule."""

import pytest

from manager_api.core.capacity import GIB, MIB, Host, Need, host_reserve
from manager_api.core.eligible import eligible, labels_of
from manager_api.core.fleet import Stored
from manager_api.core.layout import parts
from manager_api.core.placement import Chosen, Placer, Refused, Request, Taken
from manager_api.core.preemption import standing
from store.keys import version_field
from store.model import spec
from store.model.lifecycle import Deployment
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit
FEATURES = ["process", "ports", "container"]


def a_group(*tasks, **group):
    return spec.groups(a_template(*tasks, **{"name": "etl", **group}))[0]


def reserving(memory=None, cpus=None, name="t", **more):
    wanted = {"memory": memory, "cpus": cpus}
    return a_task(
        name, resources={"reservations": {key: each for key, each in wanted.items() if each}}, **more
    )


def asked(group, index=0, deployment="dep", **more):
    return Request(deployment=deployment, group=group, index=index, part=parts(group)[0], **more)


def nodes(fleet, *names, **more):
    for name in names:
        add_node(fleet, name, **{"features": FEATURES, **more})
    return fleet


def put(
    fleet, alloc_id, node, *, group="group-0", memory=0, cpus=0.0, wanted="running", template="etl", **more
):
    deployment = alloc_id.rpartition(".")[0]
    data = {
        "v": 1, "deployment": deployment, "template": template, "version": 1, "group": group, "index": 0,
        "part": 0, "node": node, "uid": f"uid-{node}", "generation": 1, "wanted": wanted,
        "memory": memory, "cpus": cpus, **more,
    }  # fmt: skip
    fleet.put_allocation(alloc_id, Stored(data, 4))


def place(fleet, group, number=1, taken=None, **more):
    placer = Placer(fleet, taken or Taken())
    return [placer.place(asked(group, index, **more)) for index in range(number)]


def names(chosen):
    return [each.node for each in chosen]


# -- who is meant, who is there


@pytest.mark.parametrize(
    ("record", "placement", "why"),
    [
        ({"labels": {"zone": "b"}}, {"labels": {"zone": "a"}}, "has label zone=b; zone a is wanted"),
        ({}, {"labels": {"zone": ["a", "c"]}}, "has no label zone; zone a or c is wanted"),
        ({"own_labels": {"zone": "a"}}, {"labels": {"zone": "a"}}, None),
        ({"own_labels": {"zone": "a"}, "labels": {"zone": None}}, {"labels": {"zone": "a"}},
         "has no label zone; zone a is wanted"),
        ({"own_labels": {"zone": "b"}, "labels": {"zone": "a"}}, {"labels": {"zone": ["a"]}}, None),
        ({"groups": ["core"]}, {"group": "edge"}, "is not in group edge: there is no group of that name"),
        ({"groups": ["core", "edge"]}, {"group": "edge"}, None),
        ({}, {"group": "edge"}, "is not in group edge: there is no group of that name"),
        ({}, {"node": "web-9"}, "is not web-9"),
        ({"hostname": "web-9"}, {"node": "web-9"}, None),
        ({"cordoned": {"since": 1.0}}, {}, "is cordoned"),
        ({"cordoned": {"since": 1.0, "reason": "new disk"}}, {}, "is cordoned: new disk"),
        ({"cordoned": {"since": 1.0}, "drain": {"since": 1.0, "deadline": None}}, {}, "is being drained"),
        ({"removing": 1.0, "cordoned": {"since": 1.0}}, {}, "is being removed"),
        ({"features": ["ports"]}, {}, "runs agent 0.1.0, which does not offer process"),
    ],
)  # fmt: skip
def test_whom_a_group_means(record, placement, why):
    fleet = nodes(a_fleet(), "web-1", **record)
    group = a_group(placement=placement)
    assert eligible(fleet, "web-1", group) == why
    assert Placer(fleet, Taken()).refusal("web-1", asked(group)) == why
    (found,) = place(fleet, group)
    assert isinstance(found, Chosen if why is None else Refused)


def test_who_is_offline_or_full_is_meant_all_the_same():
    fleet = nodes(a_fleet(), "web-1", online=False, percent=99)
    assert eligible(fleet, "web-1", a_group()) is None


@pytest.mark.parametrize(
    ("state", "beat", "why"),
    [
        ({"online": False, "settled": False}, {}, "is not known to be online"),
        ({"online": False}, {}, "is offline"),
        ({}, {"uid": "another"}, "is offline"),
        ({}, {"frozen": "the store fell back"}, "is frozen: the store fell back"),
        ({}, {"memory_percent": 97.2}, "is full: 97 % of its memory is in use"),
        ({}, {"disk_percent": 98}, "is full: 98 % of its disk is in use"),
        ({}, {"memory_percent": 94.9, "disk_percent": 97.9}, None),
    ],
)
def test_who_is_there(state, beat, why):
    fleet = nodes(a_fleet(), "web-1")
    for key, value in state.items():
        setattr(fleet.states["web-1"], key, value)
    fleet.states["web-1"].beat.update(beat)
    assert Placer(fleet, Taken()).refusal("web-1", asked(a_group())) == why


def test_a_node_record_of_an_older_release_has_no_labels_and_is_in_no_group():
    assert labels_of({"uid": "x"}) == {}
    assert labels_of({"own_labels": None, "labels": "nonsense"}) == {}


# -- pins


def test_a_group_is_pinned_by_its_placement_and_its_tasks_alike():
    fleet = nodes(a_fleet(), "a", "b")
    (found,) = place(fleet, a_group(placement={"node": "host-b"}))
    assert (found.node, found.why) == ("b", "it is pinned to host-b")
    (found,) = place(fleet, a_group(a_task(config={"node": "b"}), placement={"node": "host-b"}))
    assert found.node == "b"
    (found,) = place(fleet, a_group(a_task(config={"node": "a"}), placement={"node": "b"}))
    assert found.reason == "it is pinned to b and to a"


def test_a_pin_that_is_several_nodes_is_refused_by_name():
    fleet = nodes(a_fleet(), "b", "a")
    (found,) = place(fleet, a_group(placement={"node": "10.0.0.1"}))
    assert found.reason == "10.0.0.1 is several nodes: a, b; pin by node id"
    assert eligible(fleet, "a", a_group(placement={"node": "10.0.0.1"})) == found.reason


def test_a_request_may_name_its_node_or_nodes_to_leave():
    fleet = nodes(a_fleet(), "a", "b", "c")
    group = a_group()
    placer = Placer(fleet, Taken())
    assert placer.place(asked(group, node="b")).node == "b"
    assert placer.place(asked(group, avoid=frozenset("ab"))).node == "c"
    assert placer.place(asked(group, avoid=frozenset("bc"))).node == "a"
    found = placer.place(asked(group, avoid=frozenset("abc")))
    assert found.nodes == dict.fromkeys("abc", "is the one that it is to leave")
    assert isinstance(placer.place(asked(group)), Chosen), "the next one may go there"
    assert placer.place(asked(group, node="gone")).reason == "there is no node gone"
    fleet.states["b"].online = False
    assert Placer(fleet, Taken()).place(asked(group, node="b")).nodes == {"b": "is offline"}


# -- room


@pytest.mark.parametrize(
    ("total", "kept"),
    [(512 * MIB, 64 * MIB), (GIB, 128 * MIB), (8 * GIB, int(0.05 * 8 * GIB)), (128 * GIB, 2 * GIB)],
)
def test_what_a_host_keeps_for_itself(total, kept):
    assert host_reserve(total) == kept
    assert Host.of({"memory_total": total}).capacity == total - kept


def test_a_foreign_process_that_fills_a_node_makes_it_refuse():
    fleet = nodes(a_fleet(), "a")
    group = a_group(reserving("4G"))
    fleet.states["a"].beat.update(memory_used=5 * GB, tasks={"d.0/t": {"rss": 4 * GB}})
    assert isinstance(place(fleet, group)[0], Chosen), "what our own tasks use is reserved, or not counted"
    fleet.states["a"].beat.update(memory_used=5 * GB, tasks={"d.0/t": {"rss": GB // 2}})
    (found,) = place(fleet, group)
    assert found.nodes == {
        "a": "has 8.0 GiB of memory, 0 MiB of it reserved, 4.5 GiB used by others than Muster; 4.0 GiB are wanted"
    }


def test_what_the_system_keeps_is_named_only_where_it_is_the_cause():
    fleet = nodes(a_fleet(), "a")
    (found,) = place(fleet, a_group(reserving("8G")))
    kept = "has 8.0 GiB of memory, 0 MiB of it reserved, 410 MiB kept for its system; 8.0 GiB are wanted"
    assert found.nodes == {"a": kept}
    (found,) = place(fleet, a_group(reserving("9G")))
    assert found.nodes == {"a": "has 8.0 GiB of memory, 0 MiB of it reserved; 9.0 GiB are wanted"}


def test_busiest_tasks_stand_for_those_that_a_heartbeat_leaves_out():
    tasks = {f"d.{n}/t": {"rss": 10 * MIB} for n in range(200)}
    beat = {"memory_total": 8 * GB, "memory_used": 4 * GB, "tasks": tasks}
    assert Host.of({**beat, "running": 200}).others == 4 * GB - 2000 * MIB
    assert Host.of({**beat, "running": 400}).others == 4 * GB - 4000 * MIB


@pytest.mark.parametrize("rss", [-5, "much", None, True, 2**80, [], float("nan"), float("inf")])
def test_a_node_that_talks_nonsense_of_its_tasks_harms_nobody(rss):
    host = Host.of({"memory_total": 8 * GB, "memory_used": GB, "tasks": {"x": {"rss": rss}, "y": rss}})
    assert host.others == GB
    assert Host.of({"memory_total": "8", "memory_used": rss, "tasks": rss, "cpus": None}).capacity == 0


def test_our_tasks_may_use_more_than_all_that_is_in_use():
    assert Host.of({"memory_total": 8 * GB, "memory_used": GB, "tasks": {"x": {"rss": 2 * GB}}}).others == 0


def test_processors_add_up_in_decimals():
    fleet = nodes(a_fleet(), "a", cpus=0.3)
    found = place(fleet, a_group(reserving(cpus=0.1)), 4)
    assert [type(each) for each in found] == [Chosen, Chosen, Chosen, Refused]
    assert found[3].nodes == {"a": "has 0.3 cpus, 0.3 of them reserved; 0.1 are wanted"}


def test_measured_processor_time_ranks_and_refuses_nothing():
    fleet = nodes(a_fleet(), "a", "b", cpu=100.0)
    fleet.states["b"].beat["cpu_percent"] = 50
    assert names(place(fleet, a_group(reserving(cpus=1)))) == ["b"]
    fleet.states["b"].online = False
    assert names(place(fleet, a_group(reserving(cpus=4)))) == ["a"]


def test_what_has_a_place_keeps_it_on_a_cordoned_full_node():
    fleet = nodes(a_fleet(), "a", cordoned={"since": 1.0}, percent=99)
    put(fleet, "dep.0", "a", memory=7 * GB)
    fleet.states["a"].beat.update(memory_used=8 * GB)
    same = asked(a_group(reserving("7G")), node="a", free=frozenset({"dep.0"}))
    assert isinstance(Placer(fleet, Taken()).place(same), Chosen)
    more = asked(a_group(reserving("7.5G")), node="a", free=frozenset({"dep.0"}))
    assert "7.5 GiB are wanted" in Placer(fleet, Taken()).place(more).reason
    elsewhere = asked(a_group(reserving("7G")), free=frozenset({"dep.0"}))
    assert Placer(fleet, Taken()).place(elsewhere).nodes == {"a": "is cordoned"}, "that is no place in place"


def test_what_gives_way_gives_way_once():
    fleet = nodes(a_fleet(), "a")
    put(fleet, "dep.0", "a", memory=6 * GB)
    group, free = a_group(reserving("4G")), frozenset({"dep.0"})
    placer = Placer(fleet, Taken())
    assert placer.place(asked(group)).nodes["a"].startswith("has 8.0 GiB of memory, 6.0 GiB of it reserved")
    assert placer.place(asked(group, free=free)).why == "it takes the place of another there"
    assert isinstance(placer.place(asked(group, 1, free=free)), Refused)
    assert isinstance(placer.place(asked(a_group(reserving("3G")), 2)), Chosen), "the rest of it is free"


def test_a_shortage_counts_ports_too():
    fleet = nodes(a_fleet(), "a")
    add_deployment(fleet, "other")
    put(fleet, "other.0", "a", ports={"t": {"http": 8080}})
    back = {"node": "a", "memory": 5 * GB, "cpus": 0.0}
    placer = Placer(fleet, Taken())
    assert placer.shortage([back]) is None
    assert placer.shortage([back]).startswith("node a has 8.0 GiB of memory, 5.0 GiB of it reserved")
    back = {**back, "memory": 0, "ports": {"t": {"http": 8080}}}
    assert placer.shortage([back]) == "node a cannot take it: port 8080 is taken by deployment other (etl)"


# -- which is best


def test_instances_that_reserve_nothing_are_spread_all_the_same():
    fleet = nodes(a_fleet(), "a", "b", "c")
    assert sorted(names(place(fleet, a_group(), 6))) == ["a", "a", "b", "b", "c", "c"]


def test_another_instance_that_reserves_nothing_goes_where_there_are_fewer():
    fleet = nodes(a_fleet(), "a", "b")
    put(fleet, "dep.9", "a")
    assert names(place(fleet, a_group())) == ["b"]


def test_a_moments_difference_in_load_does_not_put_a_whole_group_on_one_node():
    fleet = nodes(a_fleet(), "a", "b", "c")
    for node, percent in {"a": 99.3, "b": 98.9, "c": 100.0}.items():
        fleet.states[node].beat["cpu_percent"] = percent
    assert sorted(names(place(fleet, a_group(), 6))) == ["a", "a", "b", "b", "c", "c"]


def test_an_idle_node_takes_more_of_a_group_than_a_busy_one():
    fleet = nodes(a_fleet(), "a", "b")
    fleet.states["a"].beat["cpu_percent"], fleet.states["b"].beat["cpu_percent"] = 5, 90
    assert names(place(fleet, a_group(), 5)) == ["a", "a", "a", "a", "b"]


def test_binpack_fills_one_node_before_the_next():
    fleet = nodes(a_fleet(), "a", "b", "c")
    put(fleet, "other.0", "b", memory=GB)
    found = place(fleet, a_group(reserving("2G"), placement={"strategy": "binpack"}), 5)
    assert names(found) == ["b", "b", "b", "a", "a"]
    assert found[0].why == "the fullest of 3 nodes that can take it"


def test_spread_takes_the_least_loaded_and_ties_go_by_id():
    fleet = nodes(a_fleet(), "b", "c", "a")
    fleet.states["a"].beat["memory_percent"] = 60
    found = place(fleet, a_group(reserving("1G")), 3)
    assert names(found) == ["b", "c", "b"]
    assert found[0].why == "the least loaded of 3 nodes that can take it"


def test_a_label_is_spread_over_evenly_and_nodes_without_it_come_last():
    fleet = nodes(a_fleet(), "a1", "a2", "a3", labels={"zone": "a"})
    nodes(fleet, "b1", labels={"zone": "b"}, percent=90)
    nodes(fleet, "none", percent=1)
    put(fleet, "dep.9", "a1")
    put(fleet, "dep.8", "a2", wanted="stopped")
    put(fleet, "dep.6", "a2", group="another")
    put(fleet, "other.0", "b1")
    group = a_group(reserving("3G"), placement={"spread": "zone"})
    found = place(fleet, group, 9)
    assert names(found) == ["b1", "a3", "b1", "a2", "a1", "a3", "a2", "a1", "none"]
    assert found[0].why == "the least loaded of 5 nodes that can take it, spread over zone (here b)"
    assert found[-1].why.endswith("spread over zone (here none)")


def test_a_group_keeps_away_from_itself():
    fleet = nodes(a_fleet(), "a", "b")
    put(fleet, "dep.9", "a")
    put(fleet, "other.0", "b")
    group = a_group(placement={"max_replicas_per_node": 1})
    first, second = place(fleet, group, 2)
    assert first.node == "b"
    why = "already runs 1 of group group-0 of this deployment, at most 1 per node is wanted"
    assert second.nodes == {"a": why, "b": why}
    (again,) = place(fleet, group, free=frozenset({"dep.9"}), node="a")
    assert again.node == "a", "what takes its place is no second one"


@pytest.mark.parametrize("done", ["failed", "completed"])
def test_what_has_ended_keeps_its_place_among_its_group(done):
    """An update may begin it anew, right there."""
    fleet = nodes(a_fleet(), "a")
    put(fleet, "dep.9", "a", done=done)
    (found,) = place(fleet, a_group(placement={"max_replicas_per_node": 1}), 1)
    assert "already runs 1" in found.nodes["a"]


# -- ports


def with_ports(**ports):
    return a_group(a_task("t", ports=ports))


def test_ports_are_given_out_and_kept_apart():
    fleet = nodes(a_fleet(), "a")
    found = place(fleet, with_ports(http=0, admin=0, fixed=8080), node="a")[0]
    given = found.ports["t"]
    assert given["fixed"] == 8080
    assert len(set(given.values())) == 3
    assert all(20000 <= given[name] <= 31999 for name in ("http", "admin"))
    assert place(fleet, with_ports(http=0, admin=0, fixed=8080))[0].ports == found.ports, "the same again"
    put(fleet, "other.0", "a", ports={"t": {"x": given["http"]}})
    assert place(fleet, with_ports(http=0))[0].ports["t"]["http"] == given["http"] + 1


def test_the_same_instance_gets_other_numbers_on_another_node():
    """Its predecessor still runs while it starts, and several agents may share one host."""
    fleet = nodes(a_fleet(), "a", "b")
    given = [place(fleet, with_ports(http=0), node=node)[0].ports["t"]["http"] for node in ("a", "b")]
    assert given[0] != given[1]


def test_a_fixed_port_is_refused_where_it_is_taken():
    fleet = nodes(a_fleet(), "a", "b")
    add_deployment(fleet, "other", template="shop")
    put(fleet, "other.0", "a", ports={"web": {"http": 8080}}, wanted="stopped")
    placer, group = Placer(fleet, Taken()), with_ports(http=8080)
    assert placer.place(asked(group)).node == "b", "a stopped one has it until its record is collected"
    assert placer.place(asked(group, 1)).nodes == {
        "a": "cannot take it: port 8080 is taken by deployment other (shop)",
        "b": "cannot take it: port 8080 is taken by another allocation of this deployment",
    }
    fleet.drop_allocation("other.0")
    assert place(fleet, group, 2)[1].node in ("a", "b")


def test_what_has_ended_has_no_ports():
    fleet = nodes(a_fleet(), "a")
    add_deployment(fleet, "other")
    put(fleet, "other.0", "a", ports={"t": {"http": 8080}})
    assert isinstance(place(fleet, with_ports(http=8080))[0], Refused)
    fleet.status["other"] = Stored({"status": Deployment.FAILED}, 5)
    fleet.recount("other")
    assert isinstance(place(fleet, with_ports(http=8080))[0], Chosen)
    assert not fleet.ports
    assert not fleet._taken._held


def test_two_allocations_that_say_they_have_one_port_both_hold_it():
    fleet = nodes(a_fleet(), "a")
    for alloc_id in ("x.0", "y.0"):
        put(fleet, alloc_id, "a", ports={"t": {"http": 8080}})
    fleet.drop_allocation("x.0")
    assert "deployment y" in place(fleet, with_ports(http=8080))[0].reason
    fleet.drop_allocation("y.0")
    assert isinstance(place(fleet, with_ports(http=8080))[0], Chosen)


def test_a_replacement_keeps_its_predecessors_numbers():
    fleet = nodes(a_fleet(), "a")
    put(fleet, "dep.0", "a", ports={"t": {"http": 20777, "fixed": 8080}})
    found = place(fleet, with_ports(http=0, fixed=8080), node="a", free=frozenset({"dep.0"}))[0]
    assert found.ports == {"t": {"http": 20777, "fixed": 8080}}


def test_published_ports_of_containers_are_taken_too():
    fleet = nodes(a_fleet(), "a")
    config = {"driver": "container", "image": "x", "ports": ["127.0.0.1:8080:80", "53:53/udp", "9:9/tcp"]}
    group = a_group({"name": "t", "config": config})
    placer = Placer(fleet, Taken())
    found = placer.place(asked(group))
    assert found.published == (9, 8080)
    assert "port 9 is taken by another allocation" in placer.place(asked(group, 1)).reason
    put(fleet, "other.0", "a", published=[8080])
    assert "port 8080 is taken by deployment other" in place(fleet, with_ports(http=8080))[0].reason


def test_a_node_runs_out_of_ports(monkeypatch):
    from manager_api.core import ports

    monkeypatch.setattr(ports, "SIZE", 3)
    monkeypatch.setattr(ports, "LAST", ports.FIRST + 2)
    fleet = nodes(a_fleet(), "a")
    put(fleet, "other.0", "a", ports={"t": {"low": 80, "high": 40000}})
    found = place(fleet, with_ports(http=0), 4)
    assert sorted(each.ports["t"]["http"] for each in found[:3]) == [20000, 20001, 20002]
    assert found[3].nodes == {"a": "has no free port left"}


# -- priority


def a_crowd(**body):
    fleet = nodes(a_fleet(), "a", "b")
    for name, priority in (("low", 10), ("mid", 40), ("high", 90)):
        add_template(fleet, {**a_template(reserving("3G"), name=name), "priority": priority})
    add_template(fleet, a_template(reserving("3G"), name="plain"))
    return fleet


def test_nobody_has_to_go_unless_the_template_says_so():
    fleet = a_crowd()
    for node in "ab":
        put(fleet, f"low-{node}.0", node, memory=6 * GB, template="low")
    group = a_group(reserving("3G"))
    assert isinstance(place(fleet, group, priority=90)[0], Refused)
    assert place(fleet, group, priority=90, preempt=True)[0].victims == ("low-a.0",)
    assert isinstance(place(fleet, group, priority=10, preempt=True)[0], Refused), "equals do not yield"


def test_the_fewest_and_least_important_have_to_go():
    fleet = a_crowd()
    put(fleet, "x.0", "a", memory=3 * GB, template="mid")
    put(fleet, "x.1", "a", memory=3 * GB, template="plain")
    put(fleet, "y.0", "b", memory=2 * GB, template="low")
    put(fleet, "y.1", "b", memory=3 * GB, template="low")
    put(fleet, "y.2", "b", memory=2 * GB, template="mid")
    (found,) = place(fleet, a_group(reserving("3G")), priority=60, preempt=True)
    assert (found.node, found.victims) == ("b", ("y.1",))
    assert found.why == "it takes the place of y.1, of lower priority"
    (found,) = place(fleet, a_group(reserving("7G")), priority=60, preempt=True)
    assert (found.node, found.victims) == ("b", ("y.0", "y.1", "y.2"))


def test_a_victim_goes_once_and_what_it_leaves_is_given_away():
    fleet = a_crowd()
    put(fleet, "low-a.0", "a", memory=7 * GB, template="low")
    put(fleet, "low-b.0", "b", memory=7 * GB, template="low")
    found = place(fleet, a_group(reserving("3G")), 5, priority=60, preempt=True)
    assert [(each.node, each.victims) for each in found[:4]] == [
        ("a", ("low-a.0",)), ("a", ()), ("b", ("low-b.0",)), ("b", ())
    ]  # fmt: skip
    assert isinstance(found[4], Refused)


def test_pre_emption_makes_room_and_nothing_else():
    fleet = a_crowd()
    put(fleet, "low.0", "a", memory=7 * GB, template="low", ports={"t": {"http": 8080}})
    put(fleet, "low.1", "b", memory=7 * GB, template="low")
    fleet.nodes["b"].data["cordoned"] = {"since": 1.0}
    group = a_group(reserving("3G", ports={"http": 8080}))
    (found,) = place(fleet, group, priority=60, preempt=True)
    assert found.nodes["b"] == "is cordoned"
    assert "port 8080 is taken by deployment low" in found.nodes["a"], "its tasks need time to end"
    (found,) = place(fleet, a_group(reserving("3G")), deployment="low", priority=60, preempt=True)
    assert isinstance(found, Refused), "none of its own"


def test_pre_emption_keeps_to_pins_and_named_nodes():
    fleet = a_crowd()
    put(fleet, "low.0", "a", memory=4 * GB, template="low")
    put(fleet, "low.1", "b", memory=7 * GB, template="low")
    taken = Taken()
    place(fleet, a_group(reserving("6G")), taken=taken)  # the round's first look knows both nodes
    group = a_group(reserving("6G"), placement={"node": "b"})
    assert place(fleet, group, taken=taken, priority=60, preempt=True)[0].victims == ("low.1",)
    assert place(fleet, a_group(reserving("6G")), node="b", priority=60, preempt=True)[0].victims == (
        "low.1",
    )


def test_what_cannot_be_read_is_no_victim():
    fleet = a_crowd()
    put(fleet, "lost.0", "a", memory=7 * GB, template="missing")
    put(fleet, "odd.0", "b", memory=7 * GB, template="low")
    fleet.unreadable.add(("allocations", "odd.0"))
    assert isinstance(place(fleet, a_group(reserving("3G")), priority=99, preempt=True)[0], Refused)


def test_processors_are_made_room_for_too():
    fleet = a_crowd()
    fleet.states["b"].online = False
    put(fleet, "x.0", "a", memory=GB, template="low")
    put(fleet, "x.1", "a", cpus=4.0, template="mid")
    (found,) = place(fleet, a_group(reserving(cpus=1)), priority=60, preempt=True)
    assert found.victims == ("x.1",)


@pytest.mark.parametrize(
    ("more", "expected"),
    [({}, (50, False)), ({"priority": 7, "preempt": True}, (7, True)), ({"priority": "x"}, (50, False))],
)
def test_a_templates_standing(more, expected):
    fleet = a_fleet()
    add_template(fleet, {**a_template(), **more})
    assert standing(fleet, version_field("etl", 1)) == expected


# -- rounds and large fleets


def test_a_round_gives_nothing_twice_and_forgets_what_was_not_kept():
    fleet, taken = nodes(a_fleet(), "a"), Taken()
    group = a_group(reserving("3G", ports={"http": 8080}), placement={"max_replicas_per_node": 1})
    assert isinstance(Placer(fleet, taken).place(asked(group)), Chosen)
    first = Placer(fleet, taken)
    assert isinstance(first.place(asked(group)), Chosen), "the one before was not kept"
    first.keep()
    other = Placer(fleet, taken).place(asked(group, deployment="other"))
    assert other.nodes == {"a": "cannot take it: port 8080 is taken by deployment dep"}
    free = a_group(reserving("6G"))
    assert "3.0 GiB of it reserved" in Placer(fleet, taken).place(asked(free, deployment="third")).reason
    assert "already runs 1" in Placer(fleet, taken).place(asked(group, 1)).reason


def a_large_fleet(number=1500, **more):
    fleet = a_fleet()
    for each in range(number):
        zone = "small" if each % 300 == 7 else "large"
        add_node(fleet, f"n{each:04}", features=FEATURES, labels={"zone": zone}, **more)
    return fleet


def looks_of(monkeypatch):
    from manager_api.core.judge import Judge

    looks, look = [], Judge.look
    monkeypatch.setattr(Judge, "look", lambda self, *args: looks.append(args[-1]) or look(self, *args))
    return looks


def test_one_placement_looks_at_few_of_many_nodes(monkeypatch):
    fleet, looks = a_large_fleet(), looks_of(monkeypatch)
    (found,) = place(fleet, a_group(reserving("1G")))
    assert found.why.endswith(", of those looked at")
    assert len(looks) < 150
    seen = set(looks)
    place(fleet, a_group(reserving("1G")), deployment="another")
    assert set(looks) != seen, "another one looks elsewhere"


def test_many_placements_use_all_of_a_large_fleet(monkeypatch):
    fleet, looks = a_large_fleet(), looks_of(monkeypatch)
    found = place(fleet, a_group(reserving("3G")), 3001)
    assert isinstance(found.pop(), Refused)
    assert {names(found).count(node) for node in fleet.nodes} == {2}
    assert len(looks) < 3 * 3001


def test_the_one_node_with_room_is_found_among_many():
    fleet = a_large_fleet(percent=99)
    fleet.states["n1234"].beat["memory_percent"] = 10
    assert names(place(fleet, a_group())) == ["n1234"]


def test_a_refusal_has_a_reason_for_each_of_many_nodes():
    fleet = a_large_fleet(percent=99)
    (found,) = place(fleet, a_group())
    assert found.nodes.keys() == fleet.nodes.keys()


def test_spreading_over_a_label_sees_every_value_of_a_large_fleet():
    fleet = a_large_fleet()
    found = place(fleet, a_group(placement={"spread": "zone"}), 10)
    zones = [fleet.nodes[each.node].data["labels"]["zone"] for each in found]
    assert zones.count("small") == zones.count("large") == 5


def test_binpack_meets_on_the_same_nodes_of_a_large_fleet():
    fleet, taken = a_large_fleet(), Taken()
    group = a_group(reserving("1G"), placement={"strategy": "binpack"})
    found = set()
    for number in range(14):
        placer = Placer(fleet, taken)
        found.add(placer.place(asked(group, deployment=f"d{number}")).node)
        placer.keep()
    assert len(found) == 2


def test_a_need_is_that_of_all_tasks():
    group = a_group(reserving("1G", 0.5, "x"), reserving("2G", 0.25, "y", ports={"a": 0}))
    assert Need.of(parts(group)[0]) == Need(3 * GB, 0.75, frozenset({"process", "ports"}))


def test_the_ports_of_one_allocation_differ(monkeypatch):
    from manager_api.core import ports

    monkeypatch.setattr(ports, "SIZE", 3)
    fleet = nodes(a_fleet(), "a")
    (found,) = place(fleet, with_ports(x=0, y=0, fixed=20001))
    assert sorted(found.ports["t"].values()) == [20000, 20001, 20002]


def test_nobody_has_to_go_who_need_not():
    fleet = a_crowd()
    fleet.states["b"].online = False
    put(fleet, "small.0", "a", memory=GB, template="low")
    put(fleet, "large.0", "a", memory=6 * GB, template="mid")
    (found,) = place(fleet, a_group(reserving("6G")), priority=60, preempt=True)
    assert found.victims == ("large.0",), "the less important one alone is not enough, the other one is"


def test_the_order_in_which_nodes_became_known_decides_nothing():
    fleet = a_large_fleet()
    other = a_large_fleet(0)
    for node in reversed(fleet.nodes):
        other.nodes[node], other.states[node] = fleet.nodes[node], fleet.states[node]
    for deployment in ("d1", "d2", "d3"):
        first, second = (place(each, a_group(), 3, deployment=deployment) for each in (fleet, other))
        assert first == second


def test_those_who_wait_for_the_same_room_are_refused_at_one_look(monkeypatch):
    fleet, taken = nodes(a_fleet(), "a", "b"), Taken()
    looks = looks_of(monkeypatch)
    (first,) = place(fleet, a_group(reserving("9G")), taken=taken)
    assert sorted(looks) == ["a", "b"]
    assert place(fleet, a_group(reserving("9G")), taken=taken, deployment="another") == [first]
    assert sorted(looks) == ["a", "b"]
    assert isinstance(place(fleet, a_group(reserving("5G")), taken=taken)[0], Chosen)


def test_what_was_refused_is_not_once_something_gave_way():
    fleet, taken = a_crowd(), Taken()
    for node in "ab":
        put(fleet, f"low-{node}.0", node, memory=6 * GB, template="low")
    group = a_group(reserving("3G"))
    assert isinstance(place(fleet, group, taken=taken)[0], Refused)
    placer = Placer(fleet, taken)
    assert placer.place(asked(a_group(reserving("2G")), preempt=True, priority=60)).victims
    placer.keep()
    assert isinstance(place(fleet, group, taken=taken, deployment="another")[0], Chosen)


def test_a_refusal_after_taking_says_nothing_of_others():
    fleet, taken = nodes(a_fleet(), "a"), Taken()
    assert isinstance(place(fleet, a_group(reserving("5G")), 2, taken=taken)[1], Refused)
    assert isinstance(place(fleet, a_group(reserving("5G")), taken=taken, deployment="another")[0], Chosen)
