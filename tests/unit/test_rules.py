"""Rules of groups: what they take, whom they mean; who is in a group for which reason."""

import pytest

from manager_api.core import rules
from manager_api.core.membership import Group, Groups
from manager_api.core.rules import MOST_CONDITIONS, MOST_TEXT, MOST_VALUES
from manager_api.http.frame.fields import StrictSchema
from manager_api.http.inventory.rule_schema import RuleField

pytestmark = pytest.mark.unit

NODE = {
    "hostname": "web-1.lan", "version": "0.10.0", "own_labels": {"zone": "a", "disk": "ssd"},
    "labels": {"disk": None, "rack": ""},
    "facts": {"cores": 8, "memory": 16 << 30, "os": "Debian GNU/Linux 12 (bookworm)", "kernel": "5.10.0-28-amd64",
              "model": "R[640]", "machine": "x86_64"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({"cores": 8}, True),
        ({"cores": "8"}, None),
        ({"cores": "=8"}, True),
        ({"cores": ">=8"}, True),
        ({"cores": ">8"}, False),
        ({"cores": "<8"}, False),
        ({"cores": "!=8"}, False),
        ({"cores": [4, 8]}, True),
        ({"memory": ">=16G"}, True),
        ({"memory": ">= 8G <16GiB"}, False),
        ({"memory": ">=8G <=16G"}, True),
        ({"disk": ">=1"}, False),  # not known
        ({"disk": "<1T"}, False),
        ({"os": "Debian*"}, True),
        ({"os": "debian*"}, False),
        ({"os": "Debian"}, False),
        ({"os": "*(bookworm)"}, True),
        ({"os": ["Ubuntu*", "Debian*"]}, True),
        ({"model": "R[640]"}, True),
        ({"model": "R6"}, False),
        ({"machine": "x86?64"}, True),
        ({"machine": "x86_64\n"}, False),
        ({"agent": ">=0.9"}, True),
        ({"agent": "=0.10"}, True),
        ({"agent": "0.10.*"}, True),
        ({"agent": "<0.9"}, False),
        ({"kernel": ">=5.4"}, True),
        ({"kernel": ">=5.10"}, True),
        ({"kernel": ">5.10"}, False),
        ({"kernel": "*-amd64"}, True),
        ({"node": "web-*"}, True),
        ({"hostname": "*.lan"}, True),
        ({"cores": 8, "os": "Ubuntu*"}, False),
    ],
)
def test_facts(facts, holds):
    if holds is None:
        with pytest.raises(ValueError, match="neither a number nor comparisons"):
            rules.read({"facts": facts})
    else:
        assert rules.read({"facts": facts}).holds("web-1", NODE) is holds


@pytest.mark.parametrize(
    ("labels", "holds"),
    [
        ({"zone": "a"}, True),
        ({"zone": ["b", "a"]}, True),
        ({"zone": "b"}, False),
        ({"disk": "ssd"}, False),  # people took it away
        ({"rack": ""}, True),
        ({"row": ""}, False),
        ({"zone": "a", "row": "x"}, False),
    ],
)
def test_labels(labels, holds):
    assert rules.read({"labels": labels}).holds("web-1", NODE) is holds


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ([], "not an object"),
        ({}, "no condition"),
        ({"labels": {}, "facts": {}}, "no condition"),
        ({"labels": "zone=a"}, "labels: not an object"),
        ({"facts": None}, "facts: not an object"),
        ({"lables": {}}, "'lables': unknown; there are labels, facts"),
        ({"labels": {"a b": "c"}}, "labels: 'a b': 1 to 63 of"),
        ({"labels": {"zone": "ä"}}, "labels.zone: 'ä': up to 63 of"),
        ({"labels": {"zone": 1}}, "labels.zone: 1: up to 63"),
        ({"labels": {"zone": []}}, f"labels.zone: not 1 to {MOST_VALUES} values"),
        ({"labels": {f"l{n}": "" for n in range(MOST_CONDITIONS + 1)}}, "33 conditions, at most 32"),
        ({"facts": {"color": "red"}}, "facts: 'color' is not one of cores, memory"),
        ({"facts": {"cores": True}}, "facts.cores: True: neither a number"),
        ({"facts": {"cores": "many"}}, "facts.cores: 'many': neither a number"),
        ({"facts": {"cores": ">=x"}}, "facts.cores: not a size"),
        ({"facts": {"cores": -1}}, "facts.cores: not a size"),
        ({"facts": {"cores": ">=8 or so"}}, "facts.cores: '>=8 or so': neither"),
        ({"facts": {"cores": 1e300}}, "facts.cores: "),
        ({"facts": {"agent": ">=new"}}, "facts.agent: 'new': not a version"),
        ({"facts": {"os": ""}}, "facts.os: '': not a text"),
        ({"facts": {"os": "x" * (MOST_TEXT + 1)}}, "facts.os: "),
        ({"facts": {"os": {"glob": "*"}}}, "facts.os: {'glob': '*'}: not a text"),
        ({"facts": {"os": ["Debian*", 1]}}, "facts.os: 1: not a text"),
    ],
)  # fmt: skip
def test_what_is_no_rule_says_where(rule, says):
    class Schema(StrictSchema):
        rule = RuleField()

    (message,) = Schema().validate({"rule": rule})["rule"]
    assert says in message


def test_the_schema_keeps_a_rule_as_it_was_written():
    class Schema(StrictSchema):
        rule = RuleField()

    written = {"labels": {"zone": ["a", "b"]}, "facts": {"cores": ">=8", "memory": ">=8G <64G"}}
    assert Schema().load({"rule": written}) == {"rule": written}
    shape = RuleField().json_schema()
    assert set(shape["properties"]["facts"]["properties"]) == set(rules.FACTS)


def test_a_text_of_many_stars_takes_no_time():
    assert not rules.read({"facts": {"os": "*a" * 90 + "b"}}).holds("n", {"facts": {"os": "a" * 200}})


def group(number, name, rule=None):
    return Group.of({"v": 1, "id": number, "name": name, **({"rule": rule} if rule else {})})


def test_in_a_group_by_membership_by_an_old_list_or_by_rule():
    groups = Groups([group("1", "edge"), group("2", "big", {"facts": {"cores": ">=8"}})])
    assert groups.why_not("edge", "n", {}) == "is not in group edge"
    assert groups.why_not("edge", "n", {"member_of": ["1"]}) is None
    assert groups.why_not("edge", "n", {"groups": ["edge"]}) is None
    assert groups.why_not("big", "n", {"facts": {"cores": 8}}) is None
    assert groups.why_not("lab", "n", {}) == "is not in group lab: there is no group of that name"
    assert groups.why_not("lab", "n", {"groups": ["lab"]}) is None
    record = {"member_of": ["1", "7"], "groups": ["lab"], "facts": {"cores": 9}}
    assert groups.names_of("n", record) == ["big", "edge", "lab"]


def test_what_a_change_of_a_group_may_move():
    groups = Groups()
    rule = {"facts": {"cores": ">=8"}}
    assert groups.put("1", group("1", "edge", rule))
    assert not groups.put("1", group("1", "edge", dict(rule))), "read anew, and the same"
    assert groups.put("1", group("1", "rim", rule))
    assert (groups.named("edge"), groups.named("rim").id) == (None, "1")
    assert groups.put("2", group("2", "edge"))
    assert groups.put("1", None)
    assert groups.named("edge").id == "2"
    assert not groups.put("1", None)


def test_a_name_that_went_to_another_group_stays_with_it():
    groups = Groups([group("1", "edge")])
    groups.put("2", group("2", "edge"))  # heard of before the old one's new name
    groups.put("1", group("1", "rim"))
    assert (groups.named("edge").id, groups.named("rim").id) == ("2", "1")
