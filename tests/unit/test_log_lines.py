"""Bytes to lines, cursors, and the parameters of a call."""

import pytest

from manager_api.http.frame.bodies import checked
from manager_api.http.frame.errors import ApiError
from manager_api.http.logs.log_lines import LONGEST, JsonLines, Line, Lines, Lost, Source, Text, cursors
from manager_api.http.logs.log_query import LogsQuerySchema

pytestmark = pytest.mark.unit

OUT = Source("a", 0, "web-1", "d-1.2", "out")
ERR = Source("a", 0, "web-1", "d-1.2", "err")
OTHER = Source("b", 1, "web-1", "d-1.2", "out")


def test_lines_are_cut_wherever_the_chunks_end():
    lines = Lines()
    assert list(lines.feed(5, b"on")) == []
    assert list(lines.feed(7, b"e\n\ntw")) == [Line(9, b"one"), Line(10, b"")]
    assert (lines.at, lines.next) == (10, 12)
    assert list(lines.flush()) == [Line(12, b"tw", partial=True)]
    assert list(lines.flush()) == []


def test_what_is_fed_twice_is_told_once():
    lines = Lines(3)
    assert list(lines.feed(0, b"ab\ncd\n")) == [Line(6, b"cd")]
    assert list(lines.feed(0, b"ab\n")) == []
    assert list(lines.feed(3, b"cd\nef\n")) == [Line(9, b"ef")]


def test_a_gap_is_told_after_what_came_before_it():
    lines = Lines()
    list(lines.feed(0, b"ab"))
    assert list(lines.feed(10, b"c\n")) == [Line(2, b"ab", partial=True), Lost(10, 8), Line(12, b"c")]


def test_a_line_without_end_is_told_in_pieces():
    lines = Lines()
    assert list(lines.feed(0, b"x" * LONGEST)) == [Line(LONGEST, b"x" * LONGEST, partial=True)]
    assert list(lines.feed(LONGEST, b"y\n")) == [Line(LONGEST + 2, b"y")]


def test_cursors_lead_back_to_their_sources():
    text = f"{OUT.cursor(7)},{ERR.cursor(0)}"
    assert text == "2.0.out.7,2.0.err.0"
    assert cursors(text) == {OUT.key: 7, ERR.key: 0}


def test_text_has_a_prefix_only_for_several_tasks():
    assert Text([OUT, ERR]).line(OUT, Line(1, b"x")) == b"x\n"
    assert Text([OUT, OTHER]).line(OTHER, Line(1, b"x")) == b"b@web-1 | x\n"
    assert Text([OUT]).line(OUT, Line(1, b"\xff", partial=True)) == b"\xff"
    assert Text([OUT]).lost(OUT, Lost(9, 5)) == b"-- 5 bytes of a@web-1 stdout are no longer kept --\n"
    assert Text([OUT]).error("gone", "2.0.out.7") == b"-- gone; to go on: cursor=2.0.out.7 --\n"


def test_json_says_what_is_no_text_in_base64():
    assert b'"base64":"/w=="' in JsonLines([OUT]).line(OUT, Line(1, b"\xff"))
    assert b'"text":"\xc3\xa9"' in JsonLines([OUT]).line(OUT, Line(1, b"\xc3\xa9"))


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, {"tail": 100}),
        ({"tail": "all"}, {"tail": None}),
        ({"tail": "0"}, {"tail": 0}),
        ({"since": "10m"}, {"tail": None, "ago": 600.0}),
        ({"since": "10m", "tail": "5"}, {"tail": 5, "ago": 600.0}),
        ({"since": "1700000000.5"}, {"tail": None, "since": 1700000000.5}),
        ({"since": "1970-01-01T02:00:10+02:00"}, {"tail": None, "since": 10.0}),
        ({"since": "1970-01-01T02:00:10 02:00"}, {"tail": None, "since": 10.0}),
        ({"since": "1970-01-01T00:00:10Z"}, {"tail": None, "since": 10.0}),
    ],
)
def test_where_to_begin(given, where):
    assert checked(LogsQuerySchema(), given).where == where


@pytest.mark.parametrize(
    "given",
    [
        {"tail": "1.5"}, {"tail": "²"}, {"tail": "100001"}, {"tail": ""}, {"since": ""}, {"since": "-5m"}, {"since": "5"* 12},
        {"cursor": "a"}, {"cursor": "1.1.in.4"}, {"cursor": "1.1.out.4,"}, {"stream": ""}, {"format": "TEXT"},
        {"follow": "2"}, {"x": "1"}, {"task": ["a", "b"]},
    ],
)  # fmt: skip
def test_wrong_values(given):
    with pytest.raises(ApiError) as error:
        checked(LogsQuerySchema(), given)
    assert error.value.status == 400
    assert next(iter(given)) in error.value.body["detail"]
