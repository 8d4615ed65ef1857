"""How homes of tasks' files are named, which may go, and where links would lead."""

import errno
import os
from types import SimpleNamespace

import pytest

from agentd.artifacts import budget, home
from agentd.artifacts.budget import Budget
from agentd.artifacts.entries import moment, shown
from agentd.artifacts.home import Item
from agentd.artifacts.links import Links
from agentd.artifacts.placing import _explained
from agentd.launch import file_name
from transfer.errors import Kind, TransferError

pytestmark = pytest.mark.unit

A, B = "a" * 64, "b" * 64


def test_a_home_is_named_after_what_lies_in_it_in_any_order():
    items = [Item(object=A, to="bin/x", mode=0o755), Item(object=B, to="", extract=True)]
    name = home.name("web", items)
    assert home.name("web", reversed(items)) == name
    task, _, digits = name.partition("@")
    assert (task, len(digits)) == ("web", 12)
    others = [
        [items[0]],
        [Item(object=B, to="bin/x", mode=0o755), items[1]],
        [Item(object=A, to="bin/y", mode=0o755), items[1]],
        [Item(object=A, to="bin/x", mode=0o750), items[1]],
        [Item(object=A, to="bin/x", mode=0o755, uid=7), items[1]],
        [Item(object=A, to="bin/x", mode=0o755, extract=True), items[1]],
    ]
    assert len({home.name("web", each) for each in [items, *others]}) == 7
    assert home.name("web", items, 1000, 1000) != name


def test_an_item_comes_back_as_it_was_sent():
    it = Item(object=A, to="x", extract=True, mode=0o700, uid=1, gid=2)
    assert home.item(it.word()) == it


@pytest.mark.parametrize(
    "to", ["/etc/x", "../x", "a/../../x", "a/..", "x\0y", "", ".", "n" * 256, "d/" * 101 + "x"]
)
def test_an_item_that_would_lie_elsewhere_is_none(to):
    with pytest.raises(ValueError):
        home.item({"object": A, "to": to})


@pytest.mark.parametrize("sha256", ["", "../../../../etc/passwd", A + "\n", A.upper()])
def test_an_item_without_a_digest_is_none(sha256):
    with pytest.raises(ValueError):
        home.item({"object": sha256, "to": "x"})


def test_old_homes_go_but_not_those_of_use_nor_anything_else():
    names = [f"web@{digit * 12}" for digit in "12345"]
    others = ["web", "web2@111111111111", "web@123", "api@111111111111", ".staging-1", "web@11111111111g"]
    assert home.removable([*names, *others], "web", {names[0], *names[3:]}) == names[1:3]
    assert home.removable(names[:2], "web", ()) == names[:2]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["x", "y"], None),
        (["x", "./x"], "two artifacts are placed at './x'"),
        (["x", "x/y"], "'x' is one artifact's file and another's directory"),
        (["a/b/c", "a/b"], "'a/b' is one artifact's file and another's directory"),
        (["a", "archive a"], "'a' is one artifact's file and another's directory"),
        (["a/b", "archive a", "archive a"], None),
        (["archive ", "archive ", "x"], None),
    ],
)
def test_items_that_cannot_lie_together_are_named(paths, words):
    items = [
        Item(object=A, to=path.removeprefix("archive "), extract=path.startswith("archive "))
        for path in paths
    ]
    assert home.clash(items) == words


def links(within=(), **targets):
    found = Links()
    for path, target in targets.items():
        found.add(tuple(path.encode().split(b"_")), target, within)
    return found


@pytest.mark.parametrize(
    "targets",
    [
        {"a": b"b"},
        {"a_b": b"../c"},
        {"a_b": b"./.././/x/"},
        {"current": b"releases/2", "bin": b"current/bin"},
        {"a": b"missing/../b"},
        {"a_b_c": b"../../x", "d": b"a/b/c/.."},
        {"a": b"."},
    ],
)
def test_links_that_stay_inside_are_fine(targets):
    links(**targets).check()


def test_a_link_stays_in_its_archives_directory_not_only_in_the_home():
    inside = links((b"sub",), sub_a=b"x")
    inside.check()
    with pytest.raises(TransferError, match="entry 'a' is a link that leads outside"):
        links((b"sub",), sub_a=b"../x").check()


def test_links_of_several_archives_are_followed_together():
    found = links((), x_y_up=b".")
    found.add((b"x", b"l"), b"y/up/../z", (b"x",))
    found.check()
    found.add((b"x", b"m"), b"y/up/../../z", (b"x",))
    with pytest.raises(TransferError, match="entry 'm' is a link that leads outside"):
        found.check()


def test_following_links_ends(monkeypatch):
    monkeypatch.setattr("agentd.artifacts.links.MOST_WORK", 1000)
    with pytest.raises(TransferError, match="too tangled to follow"):
        links(**{f"l{n}": b"a/../" * 50 + b"b" for n in range(100)}).check()


def test_an_archive_may_become_a_hundred_times_its_size_and_no_more(monkeypatch):
    monkeypatch.setattr(budget, "ALWAYS", 1000)
    monkeypatch.setattr(budget, "usable", lambda _: 10**9)
    fine = Budget(100, 0)
    fine.take(b"a", 6000)
    fine.take(b"b", 4000)
    with pytest.raises(TransferError, match=r"entry 'c' brings it to 9.8 KiB; at most 9.8 KiB may") as caught:
        fine.take(b"c", 1)
    assert caught.value.kind is Kind.HOSTILE
    Budget(1, 0).take(b"a", 1000)


def test_a_million_entries_are_the_most(monkeypatch):
    monkeypatch.setattr(budget, "usable", lambda _: 10**9)
    monkeypatch.setattr(budget, "MOST_ENTRIES", 2)
    some = Budget(1, 0)
    some.take(b"a", 0)
    some.take(b"b", 0)
    with pytest.raises(TransferError, match="entry 'c' is one of more than 2"):
        some.take(b"c", 0)


def test_what_is_no_bomb_but_does_not_fit_is_a_full_disk(monkeypatch):
    rooms = iter([1000, 100])
    monkeypatch.setattr(budget, "usable", lambda _: next(rooms))
    monkeypatch.setattr(budget, "LOOK_AGAIN", 500)
    some = Budget(10**6, 0)
    some.take(b"a", 400)
    with pytest.raises(
        TransferError, match=r"no room on the disk .* 200 B needed, 100 B may still"
    ) as caught:
        some.take(b"b", 200)
    assert caught.value.kind is Kind.FULL


def test_names_are_shown_in_one_short_line():
    assert shown(b"a\n\x1b[2J\xff") == r"'a\n\x1b[2J\\xff'"
    assert len(shown(b"n" * 5000)) < 120


def test_times_can_be_set_whatever_they_are():
    assert [moment(each) for each in (-5, 7.5, 1e300, float("nan"), float("inf"))] == [
        0,
        7.5,
        2**33,
        0,
        2**33,
    ]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EPERM, "denied"),
        (errno.EROFS, "denied"),
        (errno.EIO, "fault"),
    ],
)
def test_what_the_disk_says_has_a_kind(number, kind):
    found, text = _explained(OSError(number, os.strerror(number)))
    assert found == kind
    assert text


def test_no_task_has_a_directory_that_is_taken_for_what_a_killed_child_has_left():
    task = SimpleNamespace(name=f"{home.STAGING}web")
    assert not file_name(SimpleNamespace(tasks=[task]), task).startswith(home.STAGING)
    assert file_name(SimpleNamespace(tasks=[]), SimpleNamespace(name=".staging-web")) == ".staging-web"
