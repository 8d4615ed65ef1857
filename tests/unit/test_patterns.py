"""Patterns of parameters: what a match could be kept busy with for ever is refused, what people need is not."""

import re

import pytest

from store.model import parameters, patterns

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[a-z]+", "a" * 4000), (r"\d+(\.\d+)*", "1.2.33"), (r"([a-z0-9-]+\.)+[a-z]+", "a.b-c.example"),
        (r"(\d{1,3}\.){3}\d{1,3}", "10.0.0.1"), ("(a|b)+", "ab" * 99), ("(foo|bar)*", "foobar"),
        ("[a-z]+-[a-z]+-[a-z]+-[a-z]+", "a" * 999 + "-b-c-d"), ("[^,]+(,[^,]+)*", "x,y,z"),
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-0000-0000-000000000000"),
        ("(https?|ftp)://[^/]+/.*", "https://example/x"), ("", ""), (r"v?\d+(-rc\d+)?", "v1-rc2"),
    ],
)  # fmt: skip
def test_what_people_need_is_taken(pattern, text):
    assert parameters.declaration_problem({"pattern": pattern}) is None
    assert re.fullmatch(pattern, text)
    assert parameters.conforming({"pattern": pattern}, text) == text


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a|a)*b", "(a|ab)*c", "(a*)*", "(.*,)*x", "((a+b)*c)*", r"(\d+\d+\.)*", "(a?){50}b",
     "(?:(?:a?)?){50}", "(?i)(a+A)*b", "(?=a)b", r"(a)\1", "([a-z]+[^b])*"],
)  # fmt: skip
def test_what_could_take_for_ever_is_refused(pattern):
    assert parameters.declaration_problem({"pattern": pattern}).startswith("pattern: re")


@pytest.mark.parametrize(
    "pattern",
    [".*.*.*x", "a{0,50}a{0,50}a{0,50}a{0,50}b", "(a+a+a+a+)?b", "(a+a+a+a+|b)c", "(?i)a+A+a+A+x"],
)
def test_many_ways_to_share_a_text_out_are_for_short_texts(pattern):
    assert patterns.longest(pattern) < 300
    with pytest.raises(ValueError, match="characters, at most"):
        parameters.conforming({"pattern": pattern}, "a" * 4000)
