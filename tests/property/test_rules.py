"""Rules of groups against a plain reading of them; whatever is said, it is a rule or a sentence."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager_api.core import enrolment, rules
from manager_api.core.membership import Group, Groups

pytestmark = pytest.mark.property

WORDS = st.sampled_from(["a", "b", "ab", "ba", "Debian", "[a]", "a.b", ""])
NUMBERS = st.integers(0, 40)
SIGNS = {
    ">=": int.__ge__,
    "<=": int.__le__,
    ">": int.__gt__,
    "<": int.__lt__,
    "=": int.__eq__,
    "!=": int.__ne__,
}
COMPARED = st.lists(st.tuples(st.sampled_from(sorted(SIGNS)), NUMBERS), min_size=1, max_size=2)
GLOBS = st.text(st.sampled_from("ab*?.["), min_size=1, max_size=5)
NODE = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from("xy"), st.none() | st.sampled_from(["a", "b", ""])),
        "own_labels": st.dictionaries(st.sampled_from("xy"), st.sampled_from(["a", "b", ""])),
        "facts": st.fixed_dictionaries({}, optional={"cores": NUMBERS, "os": WORDS}),
        "member_of": st.lists(st.sampled_from("123"), unique=True),
        "groups": st.lists(st.sampled_from(["one", "two", "gone"]), unique=True),
    },
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


@given(NODE, st.lists(COMPARED, min_size=1, max_size=3))
def test_numbers_are_compared(node, ways):
    written = [" ".join(f"{sign}{number}" for sign, number in way) for way in ways]
    known = node.get("facts", {}).get("cores")
    wanted = known is not None and any(all(SIGNS[sign](known, n) for sign, n in way) for way in ways)
    assert rules.read({"facts": {"cores": written}}).holds("n", node) is wanted


@given(NODE, st.lists(GLOBS, min_size=1, max_size=3))
def test_texts_are_matched_whole(node, patterns):
    known = node.get("facts", {}).get("os")
    wanted = known is not None and any(
        fnmatch.fnmatchcase(known, each.replace("[", "[[]")) for each in patterns
    )
    assert rules.read({"facts": {"os": patterns}}).holds("n", node) is wanted


@given(
    NODE,
    st.dictionaries(st.sampled_from("xy"), st.lists(st.sampled_from(["a", "b", ""]), min_size=1), min_size=1),
)
def test_labels_are_those_that_hold(node, wanted):
    labels = {**node.get("own_labels", {}), **node.get("labels", {})}
    holds = all(labels.get(name) in values for name, values in wanted.items())
    assert rules.read({"labels": wanted}).holds("n", node) is holds


@given(NODE, st.lists(GLOBS, min_size=1, max_size=2))
def test_more_conditions_mean_fewer_nodes_and_more_values_more(node, patterns):
    one, more = rules.read({"facts": {"os": patterns}}), rules.read({"facts": {"os": [*patterns, "Debian"]}})
    both = rules.read({"facts": {"os": patterns, "cores": ">=20"}})
    assert both.holds("n", node) <= one.holds("n", node) <= more.holds("n", node)


@given(ANYTHING, st.sampled_from(["labels", "facts", None]), st.sampled_from([*rules.FACTS, None]))
def test_whatever_is_said_is_a_rule_or_a_sentence(value, part, fact):
    raw = value if part is None else {part: value if fact is None else {fact: value}}
    try:
        rule = rules.read(raw)
    except ValueError as error:
        assert 0 < len(str(error)) < 400
    else:
        assert rule.holds("n", {}) in (True, False)


@given(NODE)
def test_who_is_in_a_group_is_listed_in_it_and_the_other_way_round(node):
    ruled = {"id": "3", "name": "ruled", "rule": {"facts": {"cores": ">=20"}}}
    known = [Group.of(each) for each in ({"id": "1", "name": "one"}, {"id": "2", "name": "two"}, ruled)]
    groups = Groups(known)
    names = groups.names_of("n", node)
    for name in ("one", "two", "ruled", "gone", "none"):
        assert (groups.why_not(name, "n", node) is None) is (name in names)


@given(ANYTHING)
def test_hearsay_that_was_cleaned_is_clean(raw):
    once = enrolment.clean({"hardware": raw, "software": raw, "nic": [raw, {"ipv4": raw, "type": raw}]})
    assert enrolment.clean(once) == once
    assert enrolment.clean(raw) == enrolment.clean(enrolment.clean(raw))
