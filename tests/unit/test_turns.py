"""Turns at servers of files: in which order they are given, when they are taken back, who gets none."""

import base64
from collections import Counter

import pytest

from manager_api.base import base_settings
from manager_api.controller.waiting import AGAIN_AFTER, MOST_AT_ONCE, Waiting, roughly, sentence
from manager_api.core import filework
from manager_api.core.fleet import Stored
from manager_api.core.turns import NO_BASE, Turns
from store.errors import BadRecord
from store.model.turns import MOST_ASKS, Ask, Held, asks_of, grant_record, granted_by
from tests.builders import a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit

KEY = base64.b64encode(bytes(range(32))).decode()
POOL = "sftp://files:22"
BASE = base_settings("sftp://joe:hush@files/apps/").source


def beat(node, *asks, pool=POOL, ttl=15.0, uid=None):
    """A heartbeat: asks are names, or (name, pool)."""
    named = [(ask, pool) if isinstance(ask, str) else ask for ask in asks]
    found = {"uid": uid or f"uid-{node}", "ttl": ttl}
    return found | ({"fetching": {"asks": {a: {"pool": p, "key": KEY} for a, p in named}}} if named else {})


class Case:
    """Turns that all may have."""

    def __init__(self, limit=4, base=POOL):
        self.turns = Turns(limit, base)
        self.refuse = {}

    def hear(self, node, *asks, **more):
        self.turns.hear(node, beat(node, *asks, **more))
        return self

    def give(self, most=1000):
        """Who got something, with what."""
        self.turns.take_back()
        got = self.turns.give(lambda node, ask: self.refuse.get(node), most)
        return {node: sorted(self.turns.stands(node)) for node in sorted(got)}

    def held(self, server=POOL):
        found = Counter()
        for node, holder in self.turns.holders.items():
            found[node] = sum(each == server for each in holder.turns.values())
        return +found


def test_first_come_first_served_up_to_the_limit():
    case = Case(limit=2)
    for node in ("c", "a", "b"):
        case.hear(node, "1")
        if node != "b":
            case.turns.take_back()
    assert case.give() == {"a": ["1"], "c": ["1"]}
    assert case.give() == {}
    case.hear("c")
    assert case.give() == {"b": ["1"]}
    assert case.held() == {"a": 1, "b": 1}


def test_servers_do_not_wait_for_each_other():
    case = Case(limit=1)
    case.hear("a", ("1", POOL), ("2", "http://files:80")).hear("b", ("1", POOL), ("2", "http://other:80"))
    assert case.give() == {"a": ["1", "2"], "b": ["2"]}


def test_the_manager_s_server_is_one_whatever_it_is_called():
    case = Case(limit=1)
    case.hear("a", ("1", "~")).hear("b", ("1", POOL)).hear("c", ("1", "sftp://FILES:22"))
    assert case.give() == {"a": ["1"]}
    assert case.held() == {"a": 1}


def test_who_holds_none_comes_before_who_holds_some():
    case = Case(limit=2)
    case.hear("a", "1")
    case.give()
    case.hear("a", "1", "2", "3").turns.take_back()
    case.hear("b", "1").hear("c", "1")
    assert case.give() == {"b": ["1"]}
    case.hear("b")
    assert case.give() == {"c": ["1"]}
    case.hear("c")
    assert case.give() == {"a": ["1", "2"]}


def test_nobody_takes_more_than_half_while_others_wait():
    case = Case(limit=4)
    case.hear("a", *"12345678")
    assert case.give() == {"a": ["1", "2", "3", "4"]}, "nobody else waits"
    case = Case(limit=4)
    case.hear("a", *"1234").hear("b", *"1234")
    assert case.give() == {"a": ["1", "2"], "b": ["1", "2"]}


def test_a_turn_is_held_until_its_node_says_otherwise():
    case = Case(limit=1)
    case.hear("a", "1").hear("b", "1")
    case.give()
    for asks in (["1"], ["1", "2"], ["1"]):
        case.hear("a", *asks)
        assert case.give() == {}
    case.hear("a", "2")
    assert case.give() == {"b": ["1"]}


def test_a_heartbeat_that_makes_no_sense_asks_for_nothing():
    case = Case(limit=1)
    case.hear("a", "1")
    case.give()
    case.turns.hear("a", {})
    case.give()
    assert case.held() == {}


def test_another_machine_under_the_same_name_asks_for_itself():
    case = Case(limit=1)
    case.hear("a", "1")
    case.give()
    case.hear("a", "1", uid="another")
    assert case.give() == {"a": ["1"]}
    assert case.turns.record("a").uid == "another"


def test_the_silent_keep_their_turns_until_they_are_surely_gone():
    case = Case(limit=1)
    case.hear("a", "1").hear("b", "1")
    case.give()
    assert case.turns.silent(10.0, lambda node: False) == set()
    assert case.turns.silent(10.0, lambda node: node == "a") == {"a"}
    assert case.give() == {"b": ["1"]}


def test_a_removed_node_keeps_its_turn_for_as_long_as_its_last_heartbeat_may_count():
    case = Case(limit=1)
    case.hear("a", "1", ttl=20.0).hear("b", "1")
    case.give()
    case.turns.forget("a", 100.0)
    assert case.give() == {}
    assert case.turns.silent(119.9, lambda node: True) == set()
    assert case.turns.silent(120.0, lambda node: True) == {"a"}
    assert case.give() == {"b": ["1"]}


@pytest.mark.parametrize("heard", [False, True])
def test_what_an_earlier_leader_gave_counts(heard):
    case = Case(limit=1)
    if heard:
        case.hear("a", "1")
    case.turns.recover("a", Held("uid-a", {"1": POOL}), until=50.0, heard=heard)
    case.hear("b", "1")
    assert case.give() == {}
    assert case.turns.silent(49.0, lambda node: True) == set()
    case.hear("a", "1")
    assert case.give() == {}
    assert case.turns.stands("a").keys() == {"1"}
    case.hear("a")
    assert case.give() == {"b": ["1"]}


def test_what_an_earlier_leader_gave_and_is_not_asked_for_any_more_is_free():
    case = Case(limit=1)
    case.turns.recover("a", Held("uid-a", {"1": POOL}), until=50.0, heard=False)
    case.hear("a", "2")
    assert case.give() == {"a": ["2"]}


def test_a_forgotten_turn_leaves_the_line_when_it_is_counted_again():
    case = Case(limit=1)
    case.hear("a", "1").hear("b", "1").turns.take_back()
    case.turns.recover("b", Held("uid-b", {"1": POOL}), until=50.0, heard=True)
    assert case.give() == {}
    assert case.turns.waits("b") == {}
    case.hear("b")
    assert case.give() == {"a": ["1"]}


def test_without_a_base_nobody_gets_a_turn_there_and_once_there_is_one_they_do():
    case = Case(base=None)
    case.hear("a", ("1", "~"), ("2", POOL))
    assert case.give() == {"a": ["2"]}
    assert case.turns.waits("a") == {"1": NO_BASE}
    case.turns.rebase(POOL)
    assert case.give() == {"a": ["1", "2"]}
    assert case.turns.waits("a") == {}


def test_who_is_refused_holds_nobody_up_and_is_judged_again_when_it_beats():
    case = Case(limit=1)
    case.refuse = {"a": "it is barred"}
    case.hear("a", "1").hear("b", "1")
    assert case.give() == {"b": ["1"]}
    assert case.turns.waits("a") == {"1": "it is barred"}
    case.hear("b")
    case.refuse = {}
    assert case.give() == {}
    case.hear("a", "1")
    assert case.give() == {"a": ["1"]}


def test_one_round_judges_so_many_and_the_next_goes_on():
    case = Case(limit=4)
    case.refuse = {f"n{number:02}": "no" for number in range(10)}
    for number in range(12):
        case.hear(f"n{number:02}", "1")
    assert case.give(most=5) == case.give(most=5) == {}
    assert case.give(most=5) == {"n10": ["1"], "n11": ["1"]}


def test_one_round_takes_note_of_so_many_in_their_order_and_those_who_give_back_come_first():
    case = Case(limit=1)
    turns = case.turns
    case.hear("holder", "1").give()
    for number in range(10):
        case.hear(f"n{9 - number}", "1")
    assert turns.take_back(4)[1] == {"n9", "n8", "n7", "n6"}
    case.hear("holder")
    assert turns.take_back(4) == ({"holder"}, {"holder", "n5", "n4", "n3"})
    assert turns.behind
    assert turns.give(lambda *_: None, 100) == {"n9"}
    while turns.behind:
        turns.take_back(4)
    assert [node for node, _ in turns.lines()[POOL]] == [f"n{8 - number}" for number in range(9)]


def test_nobody_is_given_what_it_may_ask_for_no_more():
    case = Case(limit=1)
    turns = case.turns
    case.hear("a", "1").hear("b", "1").hear("c", "1")
    assert turns.take_back(3)[1] == {"a", "b", "c"}
    case.hear("z", "1").hear("a", "2")  # heard, and not taken note of
    assert turns.take_back(1)[1] == {"z"}
    assert turns.give(lambda *_: None, 100) == set()
    turns.take_back()
    assert turns.give(lambda *_: None, 100) == {"b"}
    assert list(turns.lines()[POOL]) == [("c", "1"), ("z", "1"), ("a", "2")]


def test_those_for_whose_turns_others_wait_are_looked_at_more_often():
    case = Case(limit=1)
    case.hear("a", "1")
    case.give()
    assert case.turns.watched() == []
    case.hear("b", "1")
    case.give()
    assert case.turns.watched() == ["a"]


def test_nothing_is_remembered_of_who_is_done():
    case = Case(limit=2)
    for number in range(50):
        case.hear(f"n{number}", ("1", f"http://host-{number}:80"), ("2", "~"))
        case.give()
    for number in range(50):
        case.hear(f"n{number}")
        case.give()
    turns = case.turns
    assert not any((turns.asking, turns.holders, turns.refused, turns.lines(), turns._waiting, turns._open))


# -- the words


@pytest.mark.parametrize(
    "said",
    [
        None, 5, [], {}, {"asks": 5}, {"asks": []}, {"asks": {"1": 5}}, {"asks": {"1": {}}}, {"asks": {"1": {"pool": POOL}}},
        {"asks": {"a b": {"pool": POOL, "key": KEY}}}, {"asks": {"": {"pool": POOL, "key": KEY}}},
        {"asks": {"1": {"pool": "file:///etc", "key": KEY}}}, {"asks": {"1": {"pool": POOL, "key": "x"}}},
        {"asks": {"1": {"pool": "sftp://joe@files:22", "key": KEY}}}, {"asks": {"1": {"pool": POOL, "key": 5}}},
    ],
)  # fmt: skip
def test_nonsense_asks_for_nothing(said):
    assert asks_of({"fetching": said}) == {}


def test_so_many_asks_and_no_more():
    many = {str(number): {"pool": POOL, "key": KEY} for number in range(100)}
    assert len(asks_of({"fetching": {"asks": many}})) == MOST_ASKS


def test_a_grant_key_is_read_as_it_was_written_by_the_machine_it_is_for():
    said = grant_record("uid-a", {"1": "sealed", "2": None}, {"3": "wait"})
    assert said["grants"] == {"1": {"sealed": "sealed"}, "2": {}}
    assert granted_by(said, "uid-a") == {"1": "sealed", "2": None}
    assert granted_by(said, "uid-b") == granted_by({}, "uid-a") == granted_by({"grants": 5}, "") == {}


@pytest.mark.parametrize(
    "said", [{}, {"turns": 5}, {"turns": {"1": 5}}, {"turns": {}, "ttl": "x"}, {"turns": {}, "ttl": -1}]
)
def test_a_record_that_makes_no_sense_is_refused(said):
    with pytest.raises(BadRecord):
        Held.of(said)
    assert Held.of(Held("u", {"1": POOL}, 3.0).as_record()) == Held("u", {"1": POOL}, 3.0)


# -- who may


def a_node(*tasks, **allocation):
    fleet = a_fleet()
    add_node(fleet, "web-1")
    add_template(fleet, a_template(*tasks))
    add_deployment(fleet)
    data = {
        "deployment": "dep", "template": "etl", "version": 1, "group": "group-0", "index": 0, "part": 0, "node": "web-1",
        "uid": "uid-web-1", "generation": 1, "wanted": "running", "memory": 0, "cpus": 0.0, **allocation,
    }  # fmt: skip
    fleet.put_allocation("dep.0", Stored(data, 5))
    return fleet


def of(*sources, **more):
    return a_task(artifacts=[{"source": source} for source in sources], **more)


@pytest.mark.parametrize(
    ("task", "files", "base"),
    [
        (a_task(), False, False),
        (a_task(fetch=True), True, True),
        (of("apps/x.tgz"), True, True),
        (of("http://other/x.tgz"), True, False),
        (of("file:///srv/x.tgz"), True, False),
        (of("sftp://other/x.tgz"), True, False),
        (of("sftp://files/x.tgz"), True, True),
        (of("sftp://joe@FILES:22/x.tgz"), True, True),
        (of("sftp://jane@files/x.tgz"), True, False),
        (of("sftp://files:2222/x.tgz"), True, False),
        (of("sftp://${parameter.host}/x.tgz"), True, True),
        (of("http://other/x.tgz", "http://${node.name}/y"), True, False),
        (of("sftp://${node.name}/y"), True, True),
        (of("${node.name}://files/y"), True, True),
        (of("sftp://"), True, False),
    ],
)
def test_a_login_is_for_nodes_with_work_that_needs_it(task, files, base):
    assert filework.needs(a_node(task), "web-1", BASE) == filework.Needs(files, base)
    assert filework.needs(a_node(task), "web-1", None) == filework.Needs(files, base=False)


@pytest.mark.parametrize(
    "allocation", [{"wanted": "stopped"}, {"uid": "another"}, {"done": True}, {"version": 9}, {"part": 7}]
)
def test_work_that_is_not_to_run_there_needs_nothing(allocation):
    fleet = a_node(of("apps/x.tgz"), **allocation)
    assert filework.needs(fleet, "web-1", BASE) == filework.Needs()
    assert "needs files" in filework.refusal(fleet, "web-1", Ask(POOL, KEY), BASE)


def test_the_work_of_a_deployment_that_has_ended_needs_nothing():
    fleet = a_node(of("apps/x.tgz"))
    assert filework.refusal(fleet, "web-1", Ask("~", KEY), BASE) is None
    fleet.status["dep"] = Stored({"status": "STOPPED"}, 6)
    assert filework.refusal(fleet, "web-1", Ask("~", KEY), BASE) is not None


@pytest.mark.parametrize(
    ("source", "pool", "may"),
    [
        ("http://other/x", "http://other:80", True),
        ("http://OTHER/x", "http://Other:80", True),
        ("http://other/x", "http://other:81", False),
        ("http://other/x", POOL, False),
        ("apps/x", POOL, False),
        ("file:///x", POOL, False),
        ("sftp://jane@files/x", POOL, True),
        ("sftp://${node.id}/x", POOL, True),
        ("http://${node.id}/x", POOL, False),
        ("${node.id}", POOL, True),
        ("sftp://", POOL, False),
    ],
)
def test_a_turn_is_for_nodes_with_work_that_needs_that_server(source, pool, may):
    why = filework.refusal(a_node(of(source)), "web-1", Ask(pool, KEY), BASE)
    assert why is None if may else f"needs files from {pool}" in why


def test_reasons_to_refuse_a_node():
    fleet = a_node(of("http://other/x.tgz"))
    ask = Ask("http://other:80", KEY)
    assert filework.refusal(fleet, "web-1", ask, BASE) is None
    assert "--sftp-host" in filework.refusal(fleet, "web-1", Ask("~", KEY), BASE)
    assert "not there" in filework.refusal(fleet, "web-2", ask, BASE)
    fleet.nodes_status["web-1"] = Stored({"v": 1, "barred": {"since": 1.0}}, 7)
    assert "barred" in filework.refusal(fleet, "web-1", ask, BASE)
    del fleet.nodes_status["web-1"]
    fleet.states["web-1"].beat["uid"] = "another"
    assert "another machine" in filework.refusal(fleet, "web-1", ask, BASE)
    fleet.states["web-1"].online = False
    assert "not there" in filework.refusal(fleet, "web-1", ask, BASE)


# -- what the others are told


def test_places_are_told_roughly():
    assert [roughly(place) for place in (0, 1, 9, 10, 19, 20, 49, 50, 99, 100, 7400)] == [
        0, 1, 9, 10, 10, 20, 20, 50, 50, 100, 5000,
    ]  # fmt: skip
    assert sentence(POOL, 4, 0) == f"all 4 turns at {POOL} are taken; it is next"
    assert sentence(POOL, 4, 1) == f"all 4 turns at {POOL} are taken; 1 waits before it"
    assert sentence(POOL, 1, 20) == f"the one turn at {POOL} is taken; about 20 wait before it"


def test_the_waiting_are_told_seldom_and_a_few_at_a_time(clock):
    case = Case(limit=1)
    for number in range(200):
        case.hear(f"n{number:03}", "1")
    case.give()
    waiting = Waiting(case.turns, clock)
    assert waiting.news() == [], "most have their turn before the next look"
    told = set()
    for _ in range(4):
        news = waiting.news()
        assert 0 < len(news) <= MOST_AT_ONCE
        assert not told & set(news), "those who were told nothing yet come first"
        told |= set(news)
    assert len(told) == 199
    assert waiting.of("n001") == {"1": f"the one turn at {POOL} is taken; it is next"}
    assert waiting.news() == []
    case.hear("n000")
    case.give()
    assert waiting.of("n001") == {}, "it has its turn"
    assert waiting.news() == [], "not so soon"
    clock.advance(AGAIN_AFTER)
    assert "n002" in waiting.news()


def test_a_refusal_is_told_at_once(clock):
    case = Case(base=None)
    case.hear("a", ("1", "~"))
    case.give()
    waiting = Waiting(case.turns, clock)
    assert waiting.news() == ["a"]
    assert waiting.of("a") == {"1": NO_BASE}
    assert waiting.news() == []
