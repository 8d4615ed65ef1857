"""Labels as they are written down, overlaid and told by a flag."""

import argparse

import pytest

from agentd.settings import SETTINGS, agent_settings
from store.config import ConfigError, add_flags, resolve
from store.model import noderecord

pytestmark = pytest.mark.unit


def settings(tmp_path, *words, environ=None):
    parser = argparse.ArgumentParser()
    add_flags(parser, SETTINGS)
    flags = parser.parse_args(["--data-dir", str(tmp_path), *words])
    return agent_settings(resolve(SETTINGS, flags, environ or {}))


def test_an_agent_is_told_its_labels(tmp_path):
    assert settings(tmp_path).labels == {}
    assert settings(tmp_path, "--labels", "zone=a, disk=ssd,plain=").labels == {
        "zone": "a",
        "disk": "ssd",
        "plain": "",
    }
    assert settings(tmp_path, environ={"MUSTER_LABELS": "zone=a/b.c"}).labels == {"zone": "a/b.c"}


@pytest.mark.parametrize(
    ("text", "says"),
    [("zone", "'zone' is not a label such as zone=a"), ("=x", "1 to 63"), ("a b=x", "1 to 63"), ("a=b=c", "up to 63"),
     ("a=1,a=2", "more than once"), (",".join(f"k{n}=" for n in range(65)), "65 labels, at most 64")],
)  # fmt: skip
def test_what_are_no_labels(tmp_path, text, says):
    with pytest.raises(ConfigError, match="--labels") as refused:
        settings(tmp_path, "--labels", text)
    assert says in str(refused.value)


@pytest.mark.parametrize("text", ["a" * 63, "A-z_0.9/x"])
def test_names_that_are_taken(text):
    assert noderecord.name(text) == text


@pytest.mark.parametrize("text", ["", "a" * 64, "a\n", "ü", "a=b", None, 7, "a,b"])
def test_names_that_are_not(text):
    with pytest.raises(ValueError, match="are taken"):
        noderecord.name(text)


def test_what_people_say_goes_before_what_the_agent_says():
    record = {"own_labels": {"zone": "a", "disk": "ssd"}, "labels": {"zone": "b", "disk": None, "rack": ""}}
    assert noderecord.effective(record) == {"zone": "b", "rack": ""}
    assert noderecord.effective({}) == {}


@pytest.mark.parametrize(
    ("record", "word"),
    [({}, "ready"), ({"cordoned": {"since": 1.0}}, "cordoned"), ({"cordoned": {}, "drain": {"since": 1.0}}, "draining"),
     ({"drain": {"since": 1.0}, "removing": 1.0}, "removing")],
)  # fmt: skip
def test_whether_a_node_takes_work(record, word):
    assert noderecord.scheduling(record) == word
