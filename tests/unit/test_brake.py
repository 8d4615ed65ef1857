"""The brake: too much of the fleet vanishes at once, and nothing is rescheduled."""

import pytest

from manager_api.core import brake
from manager_api.core.actions import SetControl
from manager_api.core.fleet import Fleet, Stored
from manager_api.core.memory import Brake
from tests.core_world import Case

pytestmark = pytest.mark.unit
NODES = tuple(f"n{number}" for number in range(10))


def a_case():
    return Case(
        count=10, nodes=NODES, placement={"max_replicas_per_node": 2}, reschedule={"after": "10s"}
    ).begin()


def cut(case, *nodes):
    for node in nodes:
        case.cut(node)
    case.steady += 11


def test_a_few_losses_are_losses():
    case = a_case()
    cut(case, "n0", "n1")
    case.step()
    assert not {"n0", "n1"} & set(case.nodes())
    assert case.fleet.brake.reason is None


def test_more_than_its_share_engages_it_and_everything_says_why():
    case = a_case()
    before = dict(case.live)
    cut(case, "n0", "n1", "n2")
    said = [each for each in case.step() if isinstance(each, SetControl)]
    assert case.live == before
    assert "the brake is engaged: 3 of 10 nodes" in case.status["reason"]
    (control,) = said
    assert control.record["engaged"] == {
        "since": case.now.wall,
        "lost": 3,
        "of": 10,
        "nodes": ["n0", "n1", "n2"],
    }
    assert not [each for each in case.plan() if isinstance(each, SetControl)], "it is said once"


def test_those_whose_work_has_moved_already_have_vanished_with_the_others():
    """A busy leader misses them one after another."""
    case = a_case()
    for node in ("n0", "n1"):
        cut(case, node)
        case.step()
    assert not {"n0", "n1"} & set(case.nodes())
    held = "n2"
    cut(case, held)
    case.step()
    assert held in case.nodes()
    assert "3 of 10 nodes vanished" in case.fleet.brake.reason
    case.steady += brake.WINDOW + 1000
    case.step()
    assert held in case.nodes(), "time alone does not release it"
    case.back("n1")
    case.steady += 1
    case.step()
    case.steady += 1
    case.step()
    assert case.fleet.brake.reason is None
    assert held not in case.nodes()


def test_the_next_leader_knows_whose_work_had_moved():
    case = a_case()
    for node in ("n0", "n1", "n2"):
        cut(case, node)
        case.step()
    record = case.fleet.brake.as_record()
    assert record["moved"] == ["n0", "n1"]
    case.fleet.controls_status["brake"] = Stored(record, 60)
    case.fleet.brake = Brake()
    brake.resume(case.fleet)
    case.steady += brake.WINDOW
    case.step()
    assert "3 of 10 nodes vanished" in case.fleet.brake.reason
    assert "n2" in case.nodes()


def test_who_is_back_has_not_vanished_and_nor_has_who_leaves_again_without_work():
    case = a_case()
    for node in ("n0", "n1"):
        cut(case, node)
        case.step()
        case.back(node)
        case.step()
        cut(case, node)
    cut(case, "n2")
    case.step()
    assert case.fleet.brake.reason is None


def test_it_holds_until_enough_are_back():
    case = a_case()
    cut(case, "n0", "n1", "n2")
    case.step()
    case.steady += brake.WINDOW + 1000
    case.step()
    assert case.fleet.brake.reason is not None
    case.back("n0")
    case.steady += 1
    said = [each for each in case.step() if isinstance(each, SetControl)]
    assert said[0].record["engaged"] is None
    case.steady += 1
    case.step()
    assert not {"n1", "n2"} & set(case.nodes())


def test_it_is_released_by_hand():
    case = a_case()
    cut(case, "n0", "n1", "n2")
    case.step()
    case.fleet.controls["brake"] = Stored({"v": 1, "release": 1}, 50)
    case.steady += 1
    case.step()
    case.steady += 1
    case.step()
    assert not {"n0", "n1", "n2"} & set(case.nodes())
    said = {"v": 1, "engaged": None, "released": 1}
    assert case.fleet.brake.as_record() == {**said, "forgiven": ["n0", "n1", "n2"]}
    case.steady += brake.WINDOW
    case.step()
    assert case.fleet.brake.as_record() == said


def test_losses_far_apart_are_not_one():
    case = a_case()
    for node in ("n0", "n1", "n2", "n3"):
        cut(case, node)
        case.step()
        case.up()
        case.steady += brake.WINDOW
    assert case.fleet.brake.reason is None


def test_the_next_leader_goes_on_with_it():
    fleet = Fleet("1-aa")
    record = {"v": 1, "engaged": {"since": 5.0, "lost": 3, "of": 10, "nodes": []}, "released": 2}
    fleet.controls_status["brake"] = Stored(record, 1)
    brake.resume(fleet)
    assert (fleet.brake.since, fleet.brake.released) == (5.0, 2)


def test_nodes_without_work_do_not_count():
    case = Case(count=1, nodes=NODES, reschedule={"after": "10s"}).begin()
    (old,) = case.live
    cut(case, *[node for node in NODES if node != "n9"])
    case.back("n8") if case.live[old]["node"] != "n8" else None
    case.step()
    assert case.fleet.brake.reason is None


def test_what_becomes_due_long_after_nodes_vanished_together_is_held_as_well():
    case = Case(
        count=10, nodes=NODES, placement={"max_replicas_per_node": 2}, reschedule={"after": "1h"}
    ).begin()
    before = dict(case.live)
    cut(case, "n0", "n1", "n2")
    assert [each for each in case.step() if isinstance(each, SetControl)], "it is said at once"
    case.steady += 3600
    case.step()
    assert case.live == before
    case.back("n0")
    case.steady += 1
    case.step()
    assert not {"n1", "n2"} & set(case.nodes())


def test_the_fleet_is_not_looked_through_in_every_round(monkeypatch):
    case = a_case()
    case.step()
    looks = []
    look = brake._look
    monkeypatch.setattr(brake, "_look", lambda *known: (looks.append(1), look(*known)))
    for _ in range(20):
        case.steady += 0.1
        case.plan()
    assert looks == []
    cut(case, "n0", "n1", "n2")
    case.step()
    for _ in range(20):
        case.steady += 0.1
        case.plan()
    assert len(looks) <= 4


def led_anew(case):
    """Another leader: it has the records, and has yet to see who is there."""
    case.fleet.brake = Brake()
    brake.resume(case.fleet)
    for state in case.fleet.states.values():
        state.settled, state.away_since = state.online, None


def test_what_is_not_yet_seen_by_the_next_leader_is_not_back():
    case = a_case()
    before = dict(case.live)
    cut(case, "n0", "n1", "n2")
    said = next(each for each in case.step() if isinstance(each, SetControl))
    case.fleet.controls_status["brake"] = Stored(said.record, 60)
    led_anew(case)
    case.steady += 1
    assert not [each for each in case.step() if isinstance(each, SetControl)], "it holds"
    for node in ("n0", "n1", "n2"):  # seen to be away, one after the other
        case.fleet.states[node].settled = True
        case.cut(node)
        case.steady += 11
        case.step()
    assert case.live == before


def test_what_was_released_stays_so_under_the_next_leader():
    case = a_case()
    cut(case, "n0", "n1", "n2")
    case.step()
    case.fleet.controls["brake"] = Stored({"v": 1, "release": 1}, 50)
    for node in ("n3", "n4", "n5", "n6", "n7", "n8", "n9"):
        case.mark(node, cordoned={"since": 0.0})  # no room: nothing of it can be moved yet
    case.steady += 1
    said = next(each for each in case.step() if isinstance(each, SetControl))
    case.fleet.controls_status["brake"] = Stored(said.record, 60)
    led_anew(case)
    assert not [each for each in case.step() if isinstance(each, SetControl)]
    for node in ("n0", "n1", "n2"):
        case.fleet.states[node].settled = True
        case.cut(node)
    case.steady += 11
    assert not [each for each in case.step() if isinstance(each, SetControl)]
    assert case.fleet.brake.reason is None
    case.back("n0")
    case.steady += 1
    said = next(each for each in case.step() if isinstance(each, SetControl))
    assert said.record["forgiven"] == ["n1", "n2"], "who is back counts again"
