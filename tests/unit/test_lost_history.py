"""Who may say that history was lost, what becomes of allocations then, and of claims on unclaimed work."""

import contextlib

import pytest

from manager_api.controller import history
from manager_api.controller.history import DOUBTED_FOR, History
from manager_api.controller.mirror import Mirror
from manager_api.core.actions import Adopt, Collect, Place, Project, Reorder, SetStatus
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from manager_api.http.deployments.unclaimed import adopt, listing
from manager_api.http.frame.errors import ApiError
from manager_api.http.system.recover import recover
from store import bootstrap, highest
from store.codec import dumps
from store.errors import EpochChanged, HistoryLost, StoreEmpty, StoreError
from store.home import Files
from store.keys import ALLOCATIONS, CLAIMS, DEVICES, GROUPS, NAMES, NODES, STATUS
from store.kv.lease import Lease
from store.kv.server import Server
from store.kv.store import Store
from store.model.epoch import MOST_AHEAD, MOST_EPOCHS_AHEAD, Seen, above, contradicts, credible
from tests.builders import a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit

FOUND = Seen("the store", "3-aa", 100)


@pytest.mark.parametrize(
    ("epoch", "rev", "lost"),
    [
        ("3-aa", 100, False), ("3-aa", 99, False), ("2-bb", 500, False), ("junk", 500, False),
        ("3-aa", 101, True), ("4-cc", 1, True), ("3-bb", 50, True),
    ],
)  # fmt: skip
def test_who_saw_more_than_the_store_remembers_saw_it_lose_something(epoch, rev, lost):
    assert (contradicts(FOUND, Seen("w", epoch, rev)) is not None) is lost


def test_claims_beyond_reason_are_not_believed():
    good = [Seen("a", "3-aa", 100 + MOST_AHEAD), Seen("b", f"{3 + MOST_EPOCHS_AHEAD}-x", 1)]
    bad = [Seen("c", "3-aa", 101 + MOST_AHEAD), Seen("d", f"{4 + MOST_EPOCHS_AHEAD}-x", 1), Seen("e", "?", 1)]
    assert credible(FOUND, [*good, *bad]) == good
    assert above(FOUND, good) == (3 + MOST_EPOCHS_AHEAD, 100 + MOST_AHEAD)


# -- what the nodes have obeyed


def a_case(generation=1, wanted="running"):
    fleet = a_fleet("2-bb")
    state = add_node(fleet)
    add_template(fleet, a_template(a_task("t0")))
    add_deployment(fleet)
    fleet.began = 1000
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert isinstance(place, Place)
    data = {**place.allocations["dep.0"], "generation": generation, "wanted": wanted}
    fleet.put_allocation("dep.0", Stored(data, 7))
    fleet.status["dep"] = Stored(place.status, 8)
    return fleet, state


def said(generation=1, wanted="running", state="running", uid="uid-web-1", **more):
    tasks = [{"name": "t0", "state": state, "pid": 5}]
    return {"generation": generation, "wanted": wanted, "uid": uid, "rev": 5, "tasks": tasks, **more}


def raised(fleet):
    actions = plan_nodes(fleet, ["web-1"])
    if not isinstance(actions[0], Reorder):
        return None
    (_, new) = actions[0].allocations["dep.0"]
    return new["generation"], new["wanted"]


@pytest.mark.parametrize(
    ("ours", "theirs", "restored", "then"),
    [
        ((1, "running"), (1, "running"), False, None),
        ((2, "running"), (1, "running"), False, None),
        ((2, "running"), (1, "stopped"), False, None),
        ((1, "stopped"), (1, "running"), False, None),
        ((1, "running"), (3, "running"), False, (3, "running")),  # nothing restarts
        ((1, "stopped"), (3, "running"), False, (3, "stopped")),
        ((1, "running"), (1, "stopped"), False, (1, "stopped")),  # stopped is terminal
        ((1, "running"), (2, "stopped"), False, (2, "stopped")),
        ((1, "running"), (1, "stopped"), True, (2, "running")),  # the backup is meant
        ((1, "running"), (2, "stopped"), True, (3, "running")),
        ((1, "running"), (10**9, "running"), False, None),  # not believed
    ],
)
def test_allocations_catch_up_with_what_their_node_has_obeyed(ours, theirs, restored, then):
    fleet, state = a_case(*ours)
    fleet.restored = restored
    state.actual["dep.0"] = said(*theirs, state="running" if theirs[1] == "running" else "stopped")
    assert raised(fleet) == then


def test_an_order_to_stop_that_the_store_forgot_does_not_fail_its_deployment():
    """It is raised first; what becomes of the deployment is judged by what its node says then."""
    fleet, state = a_case()
    fleet.status["dep"].data["status"] = "RUNNING"
    state.actual["dep.0"] = said(1, "stopped", state="stopped")
    statuses = [
        each for each in plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) if isinstance(each, SetStatus)
    ]
    assert [each.status["status"] for each in statuses] in ([], ["RUNNING"])


def test_another_machine_cannot_raise_anything():
    fleet, state = a_case()
    state.actual["dep.0"] = said(5, uid="somebody else")
    assert raised(fleet) is None


def test_what_runs_already_is_decided_as_it_was():
    fleet, _ = a_case()
    fleet.drop_allocation("dep.0")
    del fleet.status["dep"]
    add_node(fleet, "web-2").actual["dep.0"] = said(4, uid="uid-web-2")
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert (place.allocations["dep.0"]["node"], place.allocations["dep.0"]["generation"]) == ("web-2", 4)


@pytest.mark.parametrize("state", ["running", "completed", "failed"])
def test_a_decision_lost_within_an_epoch_is_found_again(state):
    """Neither a second copy of a service, nor a second run of a job."""
    fleet, _ = a_case()
    fleet.deployments["dep"].rev = fleet.began + 1
    add_node(fleet, "web-2").actual["dep.0"] = said(1, state=state, uid="uid-web-2")
    if state == "running":
        add_node(fleet, "web-3").actual["dep.0"] = said(1, state="failed", uid="uid-web-3")
    fleet.drop_allocation("dep.0")
    del fleet.status["dep"]
    fleet.recount("dep")
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert place.allocations["dep.0"]["node"] == "web-2"
    del fleet.deployments["dep"]
    fleet.prune()
    assert fleet.doubtful == set()


def test_nothing_old_is_decided_while_nodes_may_yet_tell_what_they_run():
    fleet, _ = a_case()
    fleet.drop_allocation("dep.0")
    del fleet.status["dep"]
    fleet.catching_up = True
    assert plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) == []
    fleet.deployments["dep"].rev = fleet.began + 1  # asked for in this epoch: nothing can run of it
    assert len(plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])) == 1


# -- records that were lost one by one


def test_what_runs_of_a_deployment_whose_record_is_gone_is_unclaimed_not_stopped():
    fleet, state = a_case()
    state.actual["dep.0"] = said()
    state.desired["dep.0"] = {"rev": 5, "generation": 1, "wanted": "running", "adjusted": 0}
    del fleet.deployments["dep"]
    (action,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert isinstance(action, Collect)
    assert {record[:2] for record in action.records} == {(ALLOCATIONS, "dep.0"), (STATUS, "dep")}
    fleet.drop_allocation("dep.0")
    (project,) = plan_nodes(fleet, ["web-1"])
    assert (project.puts, project.deletes) == ({}, ("dep.0",))


def test_what_runs_on_a_node_whose_record_is_gone_has_not_failed():
    fleet, state = a_case()
    state.actual["dep.0"] = said()
    record = fleet.nodes.pop("web-1")
    for known in (False, True):
        if known:
            fleet.nodes["web-1"] = record
        for action in plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]):
            fleet.status["dep"] = Stored(action.status, 9)
        assert fleet.status["dep"].data["status"] == "RUNNING"


def test_an_order_whose_allocation_cannot_be_read_stays():
    fleet, state = a_case()
    state.desired["dep.0"] = {"rev": 5, "generation": 1, "wanted": "running", "adjusted": 0}
    fleet.drop_allocation("dep.0")
    fleet.unreadable.add((ALLOCATIONS, "dep.0"))
    assert plan_nodes(fleet, ["web-1"]) == []


# -- claims


def claim(fleet, wanted, deployment="dep", node="web-1", uid="uid-web-1", tasks=("t0",), alloc="dep.0"):
    order = {
        "v": 1, "deployment": deployment, "template": "etl", "version": 1, "group": "group-0", "index": 0,
        "generation": 3, "wanted": "running", "rev": 5, "tasks": [a_task(name) for name in tasks],
    }  # fmt: skip
    record = {"v": 1, "node": node, "uid": uid, "alloc": alloc, "wanted": wanted, "order": order}
    fleet.put_claim(f"{node}/{alloc}", Stored({**record, "template": "etl", "version": 1}, 9))


def unclaimed_case(*, adopted=True):
    fleet, state = a_case()
    fleet.drop_allocation("dep.0")
    del fleet.status["dep"]
    if adopted:
        fleet.deployments["dep"].data["adopted"] = 1e9
    return fleet, state


def test_adopted_work_becomes_an_allocation_of_the_same_generation():
    fleet, _ = unclaimed_case()
    claim(fleet, "running")
    (action,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    assert isinstance(action, Adopt)
    allocation = action.allocations["dep.0"]
    assert (allocation["node"], allocation["generation"], allocation["wanted"]) == ("web-1", 3, "running")
    assert action.status["allocations"] == [{"id": "dep.0", "node": "web-1", "tasks": ["t0"]}]
    assert action.claims == {"web-1/dep.0": 9}


def test_adopted_work_is_named_once_and_not_restarted_again():
    fleet, _ = unclaimed_case()
    fleet.deployments["dep"].data["restart"] = 2
    briefs = [{"id": each, "node": "web-1", "tasks": ["t0"]} for each in ("dep.0", "dep.1")]
    for status in (None, {"v": 1, "status": "RUNNING", "restarted": 1, "allocations": briefs}):
        if status is not None:
            fleet.status["dep"] = Stored(status, 8)
        claim(fleet, "running")
        (action,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
        assert action.status["restarted"] == (1 if status else 2)
        assert len(action.status["allocations"]) == (2 if status else 1)


def test_what_is_found_again_is_not_restarted_for_what_was_asked_before():
    fleet, state = unclaimed_case(adopted=False)
    fleet.deployments["dep"].data["restart"] = 2
    state.actual["dep.0"] = said(3)
    (place,) = plan_deployments(fleet, Moment(1e9, 1e3), ["dep"])
    for alloc_id, data in place.allocations.items():
        fleet.put_allocation(alloc_id, Stored(data, 11))
    fleet.status["dep"] = Stored(place.status, 11)
    assert not [
        each for each in plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) if isinstance(each, Reorder)
    ]


def test_an_adopted_deployment_is_never_placed_by_itself():
    fleet, _ = unclaimed_case()
    assert plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) == []


@pytest.mark.parametrize(
    "wrong", [{"uid": "another"}, {"node": "gone"}, {"tasks": ("other",)}, {"deployment": "none"}]
)
def test_claims_to_which_nothing_can_come_are_dropped(wrong):
    fleet, _ = unclaimed_case()
    claim(fleet, "running", **wrong)
    (action,) = plan_deployments(fleet, Moment(1e9, 1e3), [wrong.get("deployment", "dep")])
    assert isinstance(action, Collect)
    assert action.records[0][0] == CLAIMS


def test_a_copy_elsewhere_is_not_adopted_but_can_be_stopped():
    fleet, _ = a_case()  # dep.0 is listed on web-1
    state = add_node(fleet, "web-2")
    state.actual["dep.0"] = said(3, uid="uid-web-2")
    claim(fleet, "running", node="web-2", uid="uid-web-2")
    (action,) = [
        each for each in plan_deployments(fleet, Moment(1e9, 1e3), ["dep"]) if isinstance(each, Collect)
    ]
    assert action.subject == "web-2/dep.0"
    claim(fleet, "stopped", node="web-2", uid="uid-web-2")
    (project,) = plan_nodes(fleet, ["web-2"])
    tombstone = project.puts["dep.0"]
    assert (tombstone["wanted"], tombstone["generation"], "rev" in tombstone) == ("stopped", 3, False)

    state.desired["dep.0"] = {"rev": 11, "generation": 3, "wanted": "stopped", "adjusted": 0}
    assert plan_nodes(fleet, ["web-2"]) == [], "it is asked for once"
    state.actual["dep.0"] = said(3, "stopped", "stopped", "uid-web-2", epoch="2-bb") | {"rev": 11}
    fleet.status["dep"] = Stored({**fleet.status["dep"].data, "status": "STOPPED"}, 8)
    collect, drop = plan_nodes(fleet, ["web-2"])
    assert (collect.subject, drop.deletes) == ("web-2/dep.0", ("dep.0",))


def test_a_claim_on_what_the_node_forgot_is_dropped():
    fleet, _ = unclaimed_case()
    claim(fleet, "stopped")
    (action,) = plan_nodes(fleet, ["web-1"])
    assert isinstance(action, Collect)
    fleet.states["web-1"].beat["epoch"] = "1-aa"  # it has not heard of this epoch yet
    (action,) = plan_nodes(fleet, ["web-1"])
    assert isinstance(action, Project)


def test_what_was_listed_again_since_the_heartbeat_is_not_unclaimed(fake_store):
    store, keys = fake_store, fake_store.keys.node("web-1")
    store.put(NODES, "web-1", dumps({"uid": "uid-web-1"}))
    store.client.set(keys.beat, dumps({"unclaimed": ["listed.0", "unclaimed.0", "untold.0"]}))
    store.client.hset(keys.actual, "listed.0", dumps(said()))
    store.client.hset(keys.actual, "unclaimed.0", dumps(said(order={"deployment": "unclaimed"})))
    assert [row["allocation"] for row in listing(store)] == ["unclaimed.0", "untold.0"]
    with pytest.raises(ApiError) as refused:
        adopt(store, "untold", 1e9)
    assert refused.value.body["detail"].startswith("web-1 has not told")


@pytest.mark.parametrize("nodes", [1, 3, 4, 9])
def test_each_slice_of_a_small_fleet_has_a_node(leader, nodes):
    """A tick that asks nobody is taken for a break, for which nodes get grace: it would never end."""
    for number in range(nodes):
        leader.add(f"n{number}")
    leader.lead()
    slices = [leader.mirror.next_slice(4) for _ in range(4)]
    assert all(slices)
    assert len(set().union(*slices)) == nodes


# -- the leader's judgement, on a store


@pytest.fixture
def lineage(monkeypatch):
    found = {"ids": ("r1", "")}
    monkeypatch.setattr(Server, "lineage", lambda _: found["ids"])
    return found


class Leader:
    def __init__(self, store, clock, files=None):
        self.store, self.clock = store, clock
        self.history = History(store, clock, files)
        self.lease = Lease(store, "leader", "me", 60_000)
        self.before = None

    def lead(self):
        """Whether a new epoch began."""
        self.history.enter()
        mirror = Mirror(self.store, self.clock)
        mirror.load()
        minted = self.history.settle(mirror, self.before, self.lease.acquire())
        if minted:
            mirror = Mirror(self.store, self.clock)
            mirror.load()
        self.mirror, self.before = mirror, mirror.fleet
        return minted

    def beat(self, node, epoch, rev):
        beat = {"uid": f"uid-{node}", "instance": "i", "epoch": epoch, "rev": rev, "ttl": 15.0}
        self.store.client.set(self.store.keys.node(node).beat, dumps(beat))

    def add(self, node):
        self.store.put(NODES, node, dumps({"uid": f"uid-{node}", "features": [], "secret_sha256": "0" * 64}))


@pytest.fixture
def leader(fake_store, clock, lineage):
    return Leader(fake_store, clock)


def fall_back(store, by):
    store.client.decrby(store.keys.rev, by)


def test_a_whole_history_stays_in_its_epoch(leader):
    leader.add("web-1")
    epoch = leader.store.epoch
    leader.beat("web-1", epoch, 1)
    assert not leader.lead()
    assert not leader.lead()
    assert leader.store.epoch == epoch
    assert leader.store.meta().replid == "r1"


def test_the_leaders_own_memory_bears_witness_and_names_what_is_gone(leader):
    leader.add("web-1")
    leader.add("web-2")
    leader.lead()
    store = leader.store
    fall_back(store, 1)
    store.client.hdel(store.keys.collection(NODES), "web-2")
    with pytest.raises(HistoryLost):
        store.get(NODES, "web-1")
    seen = store.seen
    assert leader.lead()
    about = store.epoch_record()
    assert (about["kind"], about["lost"]) == ("lost", ["nodes/web-2"])
    assert store.meta().lost == ""
    assert store.seen > seen
    leader.add("web-3")


def test_the_disk_bears_witness(fake_store, clock, lineage, tmp_path):
    files = Files(tmp_path)
    leader = Leader(fake_store, clock, files)
    for node in ("a", "b"):
        leader.add(node)
    assert not leader.lead()
    leader.history.remember()
    fall_back(fake_store, 1)
    fake_store.enter(fake_store.meta())
    another = Leader(fake_store, clock, files)  # a new process: it remembers nothing itself
    assert another.lead()
    assert "disk" in fake_store.epoch_record()["reason"]
    clock.advance(history.WRITTEN_EVERY)
    another.history.remember()
    assert highest.recorded(files) == (2, fake_store.seen)


def test_a_node_that_obeyed_more_bears_witness_while_we_lead(leader):
    leader.add("web-1")
    leader.lead()
    leader.beat("web-1", leader.store.epoch, leader.store.seen + 5)
    leader.mirror.look(["web-1"])
    with pytest.raises(HistoryLost, match="node web-1"):
        leader.history.check(leader.mirror)
    assert leader.lead()
    assert leader.store.seen > bootstrap.LEAP


def test_an_epoch_passes_all_that_any_node_has_seen(leader):
    for node in ("web-1", "web-2"):
        leader.add(node)
    leader.beat("web-1", "7-xx", 5_000_000)
    leader.beat("web-2", "9-yy", 3_000_000)
    assert leader.lead()
    assert leader.store.epoch.startswith("10-")
    assert leader.store.seen > 5_000_000


def test_one_node_alone_does_not_make_epoch_after_epoch(leader, clock):
    leader.add("liar")
    for expected in (True, False):
        leader.beat("liar", leader.store.epoch, leader.store.seen + 1000)
        assert leader.lead() is expected
    leader.mirror.look(["liar"])
    leader.history.check(leader.mirror)
    clock.advance(DOUBTED_FOR + 1)
    assert leader.lead()


def test_one_node_that_says_this_and_that_has_us_lead_anew_once(leader, clock):
    """Else one stolen credential would keep the leader from ever taking a silent node for gone."""
    leader.add("liar")
    leader.beat("liar", leader.store.epoch, 1)
    assert not leader.lead()
    for expected in (True, False):
        leader.beat("liar", leader.store.epoch, leader.store.seen + 1000)
        leader.mirror.look(["liar"])
        with pytest.raises(HistoryLost) if expected else contextlib.nullcontext():
            leader.history.check(leader.mirror)
        leader.beat("liar", leader.store.epoch, 1)
        assert not leader.lead()
    clock.advance(DOUBTED_FOR + 1)
    leader.beat("liar", leader.store.epoch, leader.store.seen + 1000)
    leader.mirror.look(["liar"])
    with pytest.raises(HistoryLost):
        leader.history.check(leader.mirror)
    assert leader.lead(), "it says the same when it is asked again"


def test_a_few_nodes_of_many_do_not_either(leader):
    liars = ["liar-1", "liar-2"]
    for node in [*liars, *(f"web-{number}" for number in range(4))]:
        leader.add(node)
        leader.beat(node, leader.store.epoch, 0)
    for expected in (True, False):
        for node in liars:
            leader.beat(node, leader.store.epoch, leader.store.seen + 1000)
        assert leader.lead() is expected


def test_what_cannot_be_true_is_not_believed(leader):
    leader.add("liar")
    leader.beat("liar", "999999-zz", 2**51)
    assert not leader.lead()
    assert leader.store.seen < 100


def test_a_mark_that_anybody_left_is_enough(leader):
    leader.lead()
    store = leader.store
    store.client.hset(store.keys.meta, "lost", "somebody saw it")
    with pytest.raises(HistoryLost, match="somebody saw it"):
        leader.add("web-1")
    assert leader.lead()
    leader.add("web-1")


def test_a_promoted_replica_begins_an_epoch_a_restarted_server_does_not(leader, lineage):
    leader.lead()
    lineage["ids"] = ("r2", "")
    assert not leader.lead()
    assert leader.store.meta().replid == "r2"
    lineage["ids"] = ("r3", "r2")
    assert leader.lead()
    assert not leader.lead(), "once for each promotion"


@pytest.mark.parametrize("key", ["meta", "rev", "both"])
def test_a_store_that_lost_only_its_head_keeps_its_records(leader, key):
    leader.add("web-1")
    leader.lead()
    store, cluster = leader.store, leader.store.meta().cluster
    for name in {"both": ["meta", "rev"]}.get(key, [key]):
        store.client.delete(getattr(store.keys, name))
    with pytest.raises(StoreEmpty):
        leader.history.enter()
    meta = bootstrap.recover(store, cluster, (1, 7))
    assert (meta.cluster, meta.lost, meta.rev > bootstrap.LEAP) == (cluster, "", True)
    assert bootstrap.epoch_number(meta.epoch) > 1
    leader.lead()
    leader.add("web-2")
    assert store.values(NODES).keys() == {"web-1", "web-2"}
    with pytest.raises(StoreError, match="not empty"):
        bootstrap.recover(store, cluster, (1, 7))


def test_nodes_that_only_knocked_do_not_keep_a_new_store_from_being_given_the_lost_cluster(leader):
    """Agents ask a new manager to take them in before they see that it serves another cluster."""
    store = leader.store
    leader.add("web-1")
    assert bootstrap.is_bare(store)
    bootstrap.rename(store, "f" * 32)
    assert store.meta().cluster == "f" * 32
    leader.beat("web-1", store.epoch, 1)
    assert not bootstrap.is_bare(store), "it has joined this one"


def test_an_inventory_is_no_cluster_s_and_stays_when_the_lost_one_is_given_back(leader):
    """A file of devices may have filled the new store before anybody said `muster recover`."""
    store = leader.store
    store.put(DEVICES, "1234567890", b"{}")
    bootstrap.rename(store, "f" * 32)
    assert store.meta().cluster == "f" * 32
    assert store.values(DEVICES) == {"1234567890": b"{}"}


@pytest.mark.parametrize("collection", [DEVICES, GROUPS, NODES])
def test_a_store_that_lost_its_head_is_not_empty_though_nothing_was_deployed(leader, collection):
    """It was taken for an empty one: its log was ahead, and every write refused for ever."""
    store, cluster = leader.store, leader.store.meta().cluster
    for _ in range(3):
        bootstrap.mint(store)
    rev = store.put(collection, "1", b"{}")
    store.client.delete(store.keys.meta, store.keys.rev)
    with pytest.raises(StoreEmpty, match="part of it was deleted"):
        bootstrap.begin(Store(store.client, store.keys), None)
    assert recover(store, None, cluster, dry_run=True)["kept"]
    assert bootstrap.recover(store, cluster).rev > rev
    assert store.put(collection, "1", b"[]") > rev
    assert "deleted" in store.epoch_record()["reason"]


def test_records_without_head_and_log_are_no_new_store(leader):
    """It was begun anew at revision 0, below the revisions of its records."""
    store = leader.store
    store.put(DEVICES, "1", b"{}")
    store.client.delete(store.keys.meta, store.keys.rev, store.keys.log)
    with pytest.raises(StoreEmpty, match="part of it was deleted"):
        bootstrap.begin(Store(store.client, store.keys), None)


@pytest.mark.parametrize("left", ["records", "epochs", "compacted"])
def test_a_store_without_head_and_log_goes_on_above_all_that_is_left_of_it(leader, left):
    """Given back on a host that knows nothing, it began below its own records after some epochs."""
    store, cluster = leader.store, leader.store.meta().cluster
    for _ in range(5):
        bootstrap.mint(store)
    before = store.meta()
    rev = store.put(DEVICES, "1", b"{}")
    client, keys = store.client, store.keys
    client.delete(keys.meta, keys.rev, keys.log)
    signs = {"records": keys.revisions(DEVICES), "epochs": keys.epochs, "compacted": keys.compacted}
    client.delete(*(key for name, key in signs.items() if name != left))
    if left != "records":
        client.delete(keys.collection(DEVICES))
    client.hset(keys.epochs, mapping={"9-": "x", "\udcff".encode(errors="surrogateescape"): "[]"})
    client.hset(keys.revisions(NAMES), "odd", "x")
    with pytest.raises(StoreEmpty, match="part of it was deleted"):
        bootstrap.begin(Store(client, keys), None)
    plan = recover(store, None, cluster, dry_run=True)
    assert plan["above_rev"] >= (rev if left == "records" else before.rev)
    found = bootstrap.recover(store, cluster)
    assert found.rev > (rev if left == "records" else before.rev)
    if left == "epochs":
        assert bootstrap.epoch_number(found.epoch) > bootstrap.epoch_number(before.epoch)
    assert store.put(DEVICES, "1", b"[]") > rev


def test_groups_that_were_lost_are_named(leader):
    leader.store.put(GROUPS, "1000000007", dumps({"v": 1, "id": "1000000007", "name": "edge"}))
    leader.lead()
    store = leader.store
    store.client.hdel(store.keys.collection(GROUPS), "1000000007")
    fall_back(store, 1)
    assert leader.lead()
    assert store.epoch_record()["lost"] == [f"{GROUPS}/1000000007"]


def test_a_leader_follows_a_store_that_was_given_the_lost_cluster(fake_store, clock, lineage, tmp_path):
    files = Files(tmp_path)
    files.cluster.write_text(fake_store.meta().cluster)
    leader = Leader(fake_store, clock, files)
    leader.lead()
    bootstrap.rename(fake_store, "f" * 32)
    with pytest.raises(EpochChanged):
        leader.lead()
    files.cluster.write_text("f" * 32)
    leader.lead()


def test_the_head_of_another_clusters_store_is_left_alone(leader):
    store = leader.store
    store.client.delete(store.keys.rev)
    with pytest.raises(StoreError, match="not empty"):
        bootstrap.recover(store, "f" * 32)
    assert not store.client.exists(store.keys.rev)


def test_another_clusters_store_is_left_alone(leader):
    leader.lead()
    store = leader.store
    store.client.hset(store.keys.meta, "cluster", "f" * 32)
    with pytest.raises(EpochChanged, match="cluster"):
        leader.history.enter()


def test_only_so_many_lost_records_are_named(leader):
    for number in range(history.MOST_NAMED + 5):
        leader.add(f"n{number}")
    leader.lead()
    store = leader.store
    store.client.delete(store.keys.collection(NODES))
    fall_back(store, 1)
    assert leader.lead()
    lost = store.epoch_record()["lost"]
    assert (len(lost), lost[-1]) == (history.MOST_NAMED + 1, "and 5 more")


def test_only_the_last_epochs_are_remembered(fake_store):
    for _ in range(bootstrap.EPOCHS_KEPT + 5):
        bootstrap.mint(fake_store)
    names = fake_store.client.hkeys(fake_store.keys.epochs)
    assert len(names) == bootstrap.EPOCHS_KEPT
    assert min(bootstrap.epoch_number(name.decode()) for name in names) == 7


def test_a_late_leader_cannot_begin_an_epoch(leader):
    from store.errors import Fenced

    leader.lead()
    with pytest.raises(Fenced):
        bootstrap.mint(leader.store, token=99)


def test_fenced_writes_are_counted(leader):
    from store.errors import Fenced
    from store.kv.api import Change

    leader.lead()
    for _ in range(2):
        with pytest.raises(Fenced):
            leader.store.txn([], [Change(NODES, "x", b"{}")], token=99)
    assert leader.store.client.hget(leader.store.keys.meta, "fenced") == b"2"


def test_under_sentinel_every_other_server_may_have_been_promoted(leader, lineage, monkeypatch):
    """A promoted replica that restarts before anybody looked has forgotten whose replica it was."""
    leader.lead()
    monkeypatch.setattr(history, "has_sentinels", lambda _: True)
    assert not leader.lead(), "it is the same server"
    lineage["ids"] = ("r2", "")
    assert leader.lead()


def test_judging_a_large_fleet_compares_no_node_with_every_other(leader, monkeypatch):
    """With 10,000 nodes that took a new leader half a minute, in which nothing was planned."""
    for number in range(60):
        leader.add(f"n{number}")
    assert not leader.lead()
    for number in range(60):
        leader.beat(f"n{number}", leader.store.epoch, 1)
    compared = []
    equal = Seen.__eq__
    monkeypatch.setattr(Seen, "__eq__", lambda one, other: (compared.append(one), equal(one, other))[1])
    assert not leader.lead()
    assert len(compared) < 60
