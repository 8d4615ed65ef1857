"""Pages of lists in memory: whole, in order, and steady while rows come and go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.pages import PageSchema, page

pytestmark = pytest.mark.unit

SORTS = {"id": lambda row: row["id"], "size": lambda row: row.get("size")}
ROWS = st.dictionaries(
    st.text("abcä-", min_size=1, max_size=3), st.none() | st.integers(-3, 3) | st.text("xy"), max_size=12
)
WORDS = st.sampled_from(["id", "-id", "size", "-size"])


def read(**asked):
    return PageSchema().load(asked)


def walk(rows, word, limit, between=lambda rows, seen: rows):
    """The ids of all pages, each asked for as a client would; `between` changes the rows after each."""
    seen, asked = [], {"sort": word, "limit": str(limit)}
    while True:
        got = page(
            [{"id": key, "size": size} for key, size in rows.items()],
            read(**asked),
            sorts=SORTS,
            default="id",
        )
        assert len(got["data"]) <= limit
        assert got["total"] == len(rows)
        seen += [row["id"] for row in got["data"]]
        if got["next"] is None:
            return seen
        asked["cursor"], rows = got["next"], between(rows, seen)


@given(ROWS, WORDS, st.integers(1, 5))
def test_pages_together_are_the_list(rows, word, limit):
    whole = page(
        [{"id": key, "size": size} for key, size in rows.items()], read(sort=word), sorts=SORTS, default="id"
    )
    assert whole["next"] is None
    assert walk(rows, word, limit) == [row["id"] for row in whole["data"]]
    assert sorted(walk(rows, word, limit)) == sorted(rows)


@given(ROWS, ROWS, WORDS, st.integers(1, 5), st.data())
def test_what_comes_and_goes_neither_repeats_nor_hides_others(rows, fresh, word, limit, data):
    gone = set(data.draw(st.lists(st.sampled_from(sorted(rows)), max_size=3))) if rows else set()
    come = {key: size for key, size in fresh.items() if key not in rows}

    def between(rows, _):
        return {key: size for key, size in {**rows, **come}.items() if key not in gone}

    seen = walk(rows, word, limit, between)
    assert len(seen) == len(set(seen))
    assert set(rows) - gone <= set(seen)


def test_only_the_fields_that_are_asked_for():
    got = page([{"id": "a", "size": 1, "more": 2}], read(fields="size, id,none"), sorts=SORTS, default="-id")
    assert got == {"data": [{"size": 1, "id": "a"}], "total": 1, "next": None}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "W10="}, "cursor"),
        ({"cursor": ["a", "b"]}, "cursor"),
        ({"fields": "a,,b"}, "fields"),
        ({"sort": ["id", "size"]}, "sort"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_words_are_named(asked, named):
    assert list(PageSchema().validate(asked)) == [named]


def test_an_order_that_there_is_not_and_a_cursor_of_another():
    rows = [{"id": "a"}, {"id": "b"}]
    with pytest.raises(ApiError, match="Invalid") as found:
        page(rows, read(sort="colour"), sorts=SORTS, default="id")
    assert "id, size" in found.value.body["detail"]
    other = page(rows, read(limit="1"), sorts=SORTS, default="id")["next"]
    with pytest.raises(ApiError) as found:
        page(rows, read(cursor=other, sort="-id"), sorts=SORTS, default="id")
    assert "order 'id'" in found.value.body["detail"]
