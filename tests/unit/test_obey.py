"""Absence is never an order; unreadable is not empty; nothing goes back."""

import pytest

from agentd.core.obey import ENDED_KEPT, Frozen, Obeyed, Offer, Orders, consider
from tests.builders import a_task

pytestmark = pytest.mark.unit

UID = "u1"


def entry(wanted="running", generation=1, rev=5, **more):
    return {
        "rev": rev, "generation": generation, "wanted": wanted, "deployment": "d", "template": "t",
        "group": "g", "index": 0, "tasks": [a_task()], **more,
    }  # fmt: skip


def offered(entries=None, epoch="1-a", rev=10, uid=UID):
    return Offer(epoch, rev, uid, entries or {})


KNOWN = Orders("1-a", 10, {"d.0": entry()})


@pytest.mark.parametrize(
    ("offer", "says"),
    [
        (Offer("", 0, "", {}), "has no desired state for this node, though it had one"),
        (offered(uid="other"), "meant for another machine"),
        (offered(rev=9), "fell back to revision 9 from 10"),
        (offered(epoch="1-b", rev=99), "epoch 1-b, not later than 1-a"),
        (offered(epoch="0-z", rev=99), "not later"),
        (offered(epoch="rubbish", rev=99), "not later"),
        (offered(epoch="2-b", rev=10), "has not reached revision 10 yet"),
    ],
)
def test_what_freezes(offer, says):
    found = consider(offer, KNOWN, UID)
    assert isinstance(found, Frozen)
    assert says in found.reason


def test_a_new_node_is_not_frozen_while_nothing_was_written_to_it():
    assert consider(Offer("", 0, "", {}), Orders(), UID) == Obeyed(Orders(), {})


def test_a_later_epoch_at_a_higher_revision_is_obeyed():
    found = consider(offered({"d.0": entry()}, epoch="2-b", rev=11), KNOWN, UID)
    assert isinstance(found, Obeyed)
    assert found.orders.epoch == "2-b"


def test_what_is_no_longer_listed_keeps_running_unclaimed():
    found = consider(offered({}, rev=11), KNOWN, UID)
    assert found.orders.entries["d.0"]["wanted"] == "running"
    assert "unclaimed" in found.oddities["d.0"]


def test_a_tombstone_that_is_no_longer_listed_is_dropped():
    known = Orders("1-a", 10, {"d.0": entry("stopped")})
    assert consider(offered({}, rev=11), known, UID).orders.entries == {}


def test_one_unreadable_entry_does_not_hold_up_the_others():
    found = consider(offered({"d.0": "not JSON", "e.0": entry(), "f.0": {"rev": 1}}, rev=11), KNOWN, UID)
    assert found.orders.entries.keys() == {"d.0", "e.0"}
    assert found.orders.entries["d.0"] == KNOWN.entries["d.0"]
    assert found.oddities.keys() == {"d.0", "f.0"}


def test_a_wish_of_a_later_release_is_left_alone():
    found = consider(offered({"d.0": entry("paused")}, rev=11), KNOWN, UID)
    assert found.orders.entries["d.0"]["wanted"] == "running"
    assert "unknown wish" in found.oddities["d.0"]


def test_generations_never_go_back():
    known = Orders("1-a", 10, {"d.0": entry(generation=3)})
    found = consider(offered({"d.0": entry(generation=2)}, rev=11), known, UID)
    assert found.orders.entries["d.0"]["generation"] == 3


def test_stopped_is_terminal():
    known = Orders("1-a", 10, {"d.0": entry("stopped")})
    found = consider(offered({"d.0": entry("running")}, rev=11), known, UID)
    assert found.orders.entries["d.0"]["wanted"] == "stopped"
    raised = consider(offered({"d.0": entry("running", generation=2)}, rev=11), known, UID)
    assert raised.orders.entries["d.0"]["wanted"] == "running"


def test_what_was_stopped_and_collected_is_not_started_by_a_store_that_forgot_it():
    known = Orders("1-a", 10, {"d.0": entry("stopped", generation=2)})
    collected = consider(offered({}, rev=11), known, UID).orders
    assert (collected.entries, collected.ended) == ({}, {"d.0": 2})
    for generation in (1, 2):
        found = consider(offered({"d.0": entry(generation=generation)}, "2-b", 99), collected, UID)
        assert (found.orders.entries["d.0"]["wanted"], found.orders.entries["d.0"]["generation"]) == (
            "stopped",
            2,
        )
        assert "d.0" in found.oddities
    later = consider(offered({"d.0": entry(generation=3)}, "2-b", 99), collected, UID)
    assert (later.orders.entries["d.0"]["wanted"], later.orders.ended) == ("running", {})


def test_only_so_much_of_what_ended_is_remembered():
    known = Orders("1-a", 10, {f"d.{n}": entry("stopped") for n in range(ENDED_KEPT + 5)}, {"old.0": 1})
    ended = consider(offered({}, rev=11), known, UID).orders.ended
    assert len(ended) == ENDED_KEPT
    assert "old.0" not in ended
