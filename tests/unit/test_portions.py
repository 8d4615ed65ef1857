"""Large steps are written in portions: whoever stops after one of them leaves nothing untrue."""

import pytest

from manager_api.core.actions import Advance, Place
from manager_api.core.portions import MOST_AT_ONCE, portions
from store.model.placed import count, numbers
from tests.core_world import Case

pytestmark = pytest.mark.unit


def placed(case):
    return sorted(int(key.rpartition(".")[2]) for key in case.live)


@pytest.mark.parametrize("most", [1, 2, 4, 5])
def test_cut_short_after_any_portion_the_next_plan_goes_on(most):
    case = Case(count=1300)
    case.step(most)
    there = placed(case)
    assert len(there) == most * MOST_AT_ONCE
    assert sorted(numbers(case.status["placed"])) == there, "it names what is written, and nothing else"
    assert case.status["groups"]["group-0"]["placed"] == len(there)
    assert case.status["next"] == 1300, "numbers that were meant for the rest are used all the same"
    case.step()
    case.step()
    case.up()
    case.step()
    assert case.status["status"] == "RUNNING"
    assert len(case.live) == 1300
    assert sorted(each["index"] for each in case.live.values()) == list(range(1300))
    assert count(case.status["placed"]) == 1300
    assert case.plan() == []


def test_more_of_a_large_deployment_is_placed_in_few_looks():
    case = Case(count=300).begin()
    case.ask(scale={"group-0": 2300})
    sizes = []
    while advances := [each for each in case.step() if isinstance(each, Advance)]:
        sizes.append([len(each.puts) for each in advances])
        assert all(each.puts.keys() == each.why.keys() for each in advances)
    assert sizes == [[250] * 4] * 2


def test_briefs_name_what_is_written_only():
    case = Case(count=380)
    first, last = portions(case.plan()[0])
    assert isinstance(first, Place)
    assert [each["id"] for each in first.status["allocations"]] == list(first.allocations)
    assert len(last.status["allocations"]) == 380
    assert last.why.keys() == last.puts.keys()


def test_what_fits_is_one_transaction():
    (place,) = Case(count=3).plan()
    assert list(portions(place)) == [place]


def test_long_parameters_make_small_portions():
    puts = {f"dep.{n}": (1, {"deployment": "dep", "parameters": {"a": "x" * 30_000}}) for n in range(12)}
    status = {"allocations": [], "status": "RUNNING"}
    parts = list(portions(Advance("dep", 1, 2, puts, status, dict.fromkeys(puts, "why"), "an update")))
    assert [len(each.puts) for each in parts] == [5, 5, 2]
    assert [key for each in parts for key in each.puts] == list(puts)
