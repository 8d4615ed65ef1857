"""A storm of hints is heard in part, and what a node says is bounded."""

import pytest

from manager_api.controller.complaints import EVERY, Complaints
from manager_api.controller.hearing import LOOKS, ROUND_COST, Hearing
from manager_api.controller.inbox import Inbox
from store.errors import BadRecord
from store.model.beat import MOST_TEXT, actual

pytestmark = pytest.mark.unit


def test_unknown_names_cost_nothing(clock):
    hearing = Hearing(clock)
    for _ in range(10):
        assert hearing.heed({f"forged-{number}" for number in range(10_000)}, {"a"}) == []
    assert hearing.heed({"a"}, {"a"}) == ["a"]


def test_hints_are_heeded_up_to_an_allowance_that_fills_up_again(clock):
    hearing, known = Hearing(clock), [f"n{number}" for number in range(20_000)]
    assert len(hearing.heed(known, set(known))) == LOOKS - ROUND_COST
    assert hearing.heed(known, set(known)) == []
    clock.advance(0.1)
    assert len(hearing.heed(known, set(known))) == pytest.approx(LOOKS / 10 - ROUND_COST, abs=1)


def test_many_rounds_for_one_node_have_an_end_too(clock):
    hearing = Hearing(clock)
    heeded = sum(bool(hearing.heed({"a"}, {"a"})) for _ in range(10_000))
    assert heeded <= LOOKS / ROUND_COST


def test_an_inbox_nobody_empties_does_not_grow_for_ever():
    inbox = Inbox()
    for start in range(0, 500_000, 50_000):
        inbox.hinted({f"n{number}" for number in range(start, start + 50_000)})
    assert len(inbox.take(0).hinted) <= 100_000


def test_a_long_reason_is_cut():
    said = actual({"tasks": [{"name": "t", "reason": "x" * 10**6, "health_reason": "y"}]})
    assert len(said["tasks"][0]["reason"]) == MOST_TEXT + 1
    assert said["tasks"][0]["health_reason"] == "y"


def test_of_how_far_files_are_three_numbers_pass_and_nothing_else():
    plain = {
        "tasks": [{"name": "t", "fetch": {"done": 1, "total": None, "rate": 2.5}}],
        "rev": 1,
        "generation": 1,
    }
    assert actual(plain) is plain
    giant = {"done": 1, "total": 2, "more": "x" * 10**6}
    (task,) = actual({"tasks": [{"name": "t", "fetch": giant}]})["tasks"]
    assert task["fetch"] == {"done": 1, "total": 2, "rate": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": {}}, {"reason": 5}, {"health": []}, {"health_reason": 1}, {"state": ["running"]}, {"restarts": "many"},
        {"pid": "1"}, {"exit_code": {}}, {"started": "now"}, {"oom_kills": []}, {"limits": "none"},
        {"limits": {"memory": "9" * 10_000}}, {"fetch": "all"}, {"fetch": [1]}, {"fetch": {}}, {"fetch": {"done": -1}},
        {"fetch": {"done": True}}, {"fetch": {"done": "x" * 10**6}}, {"fetch": {"done": 1, "total": {}}},
        {"fetch": {"done": 1, "rate": 1e300}},
    ],
)  # fmt: skip
def test_a_task_of_wrong_types_spoils_only_its_own_entry(wrong):
    with pytest.raises(BadRecord):
        actual({"tasks": [{"name": "t", **wrong}]})


@pytest.mark.parametrize("generation", ["2", None, {}, -1])
def test_a_generation_that_is_no_number_is_unreadable(generation):
    with pytest.raises(BadRecord):
        actual({"generation": generation, "tasks": []})


def test_a_node_fills_no_log(clock, caplog):
    complaints = Complaints(clock)
    for _ in range(100):
        complaints.about("a", "x" * 10_000)
        complaints.about("b", "y")
    assert len(caplog.records) == 2
    assert len(caplog.text) < 2000
    clock.advance(EVERY)
    complaints.about("a", "again")
    assert len(caplog.records) == 3
