"""What a rollout does next, case by case."""

import pytest

from manager_api.core.rollout import Group, Unit, step
from store.model.placing import Update

pytestmark = pytest.mark.unit

UPDATE = {"max_parallel": 1, "min_healthy": 10.0, "healthy_deadline": 300.0}


def old(name, **more):
    return unit(name, current=False, **{"up_for": 1e4, **more})


def well(name, **more):
    return unit(name, **{"up_for": 50.0, "ordered_for": 60.0, **more})


def begun(name, **more):
    """Ordered to the new release, and not healthy yet."""
    return unit(name, **{"up_for": 4.0, "ordered_for": 5.0, **more})


def canary(name, state=well, **more):
    return state(name, canary=True, **more)


def unit(name, **more):
    fields = {"current": True, "canary": False, "generation": 2, "up_for": None, "ordered_for": 5e4}
    return Unit(**{"id": name, **fields, "failed": False, "away": False, **more})


def group(*units, wanted=None, **more):
    update = Update(**{**UPDATE, **{key: more.pop(key) for key in list(more) if key in Update.__slots__}})
    ordinary = sum(not unit.canary for unit in units)
    fields = {"paused": False, "promoted": False, "needs_canary": bool(update.canary), **more}
    return Group(
        name="web", update=update, wanted=ordinary if wanted is None else wanted, units=units, **fields
    )


DOWN = {"up_for": None}

TABLE = {
    "all is as it should be": (group(well("a"), well("b")), {"state": "done", "updated": 2, "healthy": 2}),
    "nothing is wanted": (group(), {"state": "done"}),
    "one at a time, from the lowest index": (
        group(old("a"), old("b"), old("c")),
        {"state": "running", "update": ("a",), "reason": "0 of 3 updated; next a"},
    ),
    "as many as may be": (group(old("a"), old("b"), old("c"), max_parallel=2), {"update": ("a", "b")}),
    "one that is not healthy yet holds its place": (
        group(begun("a"), old("b"), old("c"), max_parallel=2),
        {"update": ("b",), "wake": 6.0, "updated": 1, "healthy": 0},
    ),
    "one whose files still come is late for nothing": (
        group(begun("a", **DOWN, ordered_for=9e3, files_for=0.0), old("b")),
        {"state": "running", "wake": 300.0},
    ),
    "nor one whose files have just come": (
        group(begun("a", **DOWN, ordered_for=9e3, files_for=299.0), old("b")),
        {"state": "running", "wake": 1.0},
    ),
    "one whose files came long ago is late": (
        group(begun("a", **DOWN, ordered_for=9e3, files_for=300.0), old("b")),
        {"state": "failed", "reason": "a was not healthy within 300 s"},
    ),
    "no place left": (
        group(begun("a"), old("b")),
        {"update": (), "wake": 6.0, "reason": "1 of 2 updated; waits for a to be healthy"},
    ),
    "it is up, but not for long enough": (group(begun("a", up_for=9.5), old("b")), {"update": (), "wake": 0.5}),
    "it is down: looked at again at the deadline": (group(begun("a", **DOWN), old("b")), {"update": (), "wake": 295.0}),
    "the next follows": (group(well("a"), old("b"), old("c")), {"update": ("b",), "updated": 1, "healthy": 1}),
    "what is down goes first": (group(old("a"), old("b", **DOWN), old("c")), {"update": ("b",)}),
    "what failed goes first": (group(old("a"), old("b"), old("c", failed=True)), {"update": ("c",)}),
    "what is down counts too": (
        group(old("a", **DOWN), old("b", **DOWN), old("c", **DOWN), max_parallel=2), {"update": ("a", "b")},
    ),
    "who is away is left alone": (
        group(old("a", away=True), old("b"), well("c")), {"update": ("b",), "state": "running"},
    ),
    "who is away does not hold up the end": (
        group(old("a", away=True), well("b")),
        {"state": "done", "update": (), "reason": "1 on nodes that are offline follow when they are back"},
    ),
    "all are away": (
        group(old("a", away=True), old("b", away=True)),
        {"state": "running", "update": (), "reason": "0 of 2 updated; 2 wait for their nodes, which are offline"},
    ),
    "who is back follows, though it was done": (
        group(old("a"), well("b"), state="done"), {"state": "done", "update": ("a",)},
    ),
    "went away in the middle: waited for": (
        group(begun("a", away=True, **DOWN), old("b")), {"update": (), "wake": 295.0, "state": "running"},
    ),
    "went away in the middle: not for ever, and it is no failure": (
        group(begun("a", away=True, ordered_for=300.0, **DOWN), old("b")), {"update": ("b",), "state": "running"},
    ),
    "back after the deadline: its time begins then": (
        group(begun("a", ordered_for=4000.0, seen_for=20.0, **DOWN), old("b")),
        {"state": "running", "update": (), "wake": 280.0},
    ),
    "not healthy at the deadline": (
        group(begun("a", ordered_for=300.0, **DOWN), old("b")),
        {"state": "failed", "update": (), "reason": "a was not healthy within 300 s", "wake": None},
    ),
    "not healthy for long enough at the deadline": (
        group(begun("a", ordered_for=300.0), old("b")), {"state": "failed"},
    ),
    "it failed": (group(begun("a", failed=True, **DOWN), old("b")), {"state": "failed", "update": (), "reason": "a has failed"}),
    "it failed, and its node says of what": (
        group(begun("a", failed=True, trouble="task web on n1 failed: exit code 3", **DOWN), old("b")),
        {"state": "failed", "reason": "a has failed: task web on n1 failed: exit code 3"},
    ),
    "it is late, and its node says of what": (
        group(begun("a", ordered_for=300.0, trouble="task web on n1 backoff: port 80 is held by x (pid 7)", **DOWN), old("b")),
        {"reason": "a was not healthy within 300 s: task web on n1 backoff: port 80 is held by x (pid 7)"},
    ),
    "the last one failed": (group(well("a"), begun("b", failed=True, **DOWN)), {"state": "failed"}),
    "failed stays failed, whatever a new leader has yet to count": (
        group(begun("a", ordered_for=0.0, **DOWN), old("b"), state="failed"), {"state": "failed", "update": (), "wake": None},
    ),
    "one that was healthy, for others came after it, is down for a moment": (
        group(begun("a", ordered_for=4000.0, **DOWN), well("b", ordered_for=700.0), old("c")),
        {"state": "running", "update": (), "reason": "2 of 3 updated; waits for a to be healthy"},
    ),
    "one of two that were ordered at once never was healthy": (
        group(begun("a", ordered_for=400.0, **DOWN), well("b", ordered_for=400.0), old("c"), max_parallel=2), {"state": "failed"},
    ),
    "down again after it was done": (group(begun("a", ordered_for=4e4, **DOWN), well("b"), state="done"), {"state": "done", "wake": None}),
    "a first deployment comes up": (group(begun("a"), well("b"), first=True), {"state": "running", "wake": 6.0, "updated": 2, "healthy": 1}),
    "a first deployment never fails": (
        group(begun("a", ordered_for=9e4, failed=True, **DOWN), well("b"), first=True), {"state": "running", "wake": None},
    ),
    "going back never fails": (
        group(begun("a", ordered_for=9e4, **DOWN), old("b"), state="reverted"), {"state": "running", "update": ()},
    ),
    "going back goes on": (group(old("a", failed=True, up_for=None), old("b"), state="reverted"), {"state": "running", "update": ("a",)}),
    "some are not placed": (group(well("a"), wanted=3), {"state": "running", "reason": "1 of 3 updated; 2 are not placed"}),
    "paused": (group(begun("a", ordered_for=9e4), old("b"), paused=True), {"state": "paused", "update": (), "wake": None}),
    "paused, and nothing was left to do": (group(well("a"), paused=True), {"state": "done"}),
}  # fmt: skip

THREE = (old("a"), old("b"), old("c"))
CANARIES = {
    "canaries come first, and no more than may be unhealthy": (
        group(*THREE, canary=2), {"state": "running", "canaries": 1, "update": ()},
    ),
    "all canaries at once": (group(*THREE, canary=2, max_parallel=2), {"canaries": 2, "reason": "2 more canaries are needed, 0 are there"}),
    "the next canary": (group(*THREE, canary("x"), canary=2), {"canaries": 1, "update": ()}),
    "a canary is not healthy yet": (
        group(*THREE, canary("x", begun), canary=1), {"state": "running", "canaries": 0, "update": (), "wake": 6.0, "reason": "0 of 1 canaries are healthy"},
    ),
    "a person is waited for": (
        group(*THREE, canary("x"), canary=1),
        {"state": "promotion", "update": (), "stop": (), "reason": "1 canaries are healthy; promote to go on", "updated": 0},
    ),
    "a canary failed": (group(*THREE, canary("x", begun, failed=True), canary=1), {"state": "failed", "canaries": 0, "stop": ()}),
    "a canary that was healthy is down for a moment while a person is waited for": (
        group(*THREE, canary("x", begun, ordered_for=9e4, **DOWN), canary=1, state="promotion"), {"state": "running"},
    ),
    "canaries of another change go": (
        group(*THREE, canary("x", old), canary=1), {"stop": ("x",), "canaries": 1},
    ),
    "promoted: all but the place that the canary will take": (
        group(*THREE, canary("x"), canary=1, promoted=True, max_parallel=5), {"state": "running", "update": ("b", "c"), "stop": ()},
    ),
    "promoted, at the end: the canary takes the lowest place that is left": (
        group(old("a"), well("b"), well("c"), canary("x"), canary=1, promoted=True), {"update": (), "stop": ("a",), "promote": ("x",)},
    ),
    "promoted, and the canary is not healthy: its place waits": (
        group(old("a"), well("b"), canary("x", begun), canary=1, promoted=True), {"update": (), "stop": (), "promote": (), "state": "running"},
    ),
    "promoted, and the canary is away: nothing waits for it": (
        group(old("a"), well("b"), canary("x", away=True), canary=1, promoted=True), {"update": ("a",), "stop": ()},
    ),
    "what is down does not wait for the end": (
        group(old("a", **DOWN), old("b"), old("c"), canary("x"), canary=1, promoted=True), {"update": ("a",)},
    ),
    "cut after the stop: the canary takes the empty place": (
        group(well("b"), well("c"), canary("x"), canary=1, promoted=True, wanted=3), {"stop": (), "promote": ("x",), "canaries": 0},
    ),
    "all places are taken: the canary goes": (
        group(well("a"), well("b"), canary("x"), canary=1, promoted=True), {"stop": ("x",), "promote": (), "state": "running"},
    ),
    "it promotes itself": (
        group(*THREE, canary("x"), canary=1, auto_promote=True), {"state": "running", "update": ("b",), "canaries": 0},
    ),
    "it promoted itself, and is at the end": (
        group(well("b"), well("c"), old("a"), canary("x"), canary=1, auto_promote=True), {"stop": ("a",), "promote": ("x",), "canaries": 0},
    ),
    "it promoted itself, and one of two canaries has its place": (
        group(well("y"), old("b"), canary("x"), canary=2, auto_promote=True), {"stop": ("b",), "promote": ("x",), "canaries": 0},
    ),
    "nothing is left to update: no canaries": (group(well("a"), canary=1), {"state": "done", "canaries": 0}),
    "a change without canaries in a group that has some else": (
        group(*THREE, canary=1, needs_canary=False), {"canaries": 0, "update": ("a",)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", [*TABLE, *CANARIES])
def test_what_is_next(case):
    given, expected = {**TABLE, **CANARIES}[case]
    found = step(given)
    assert {key: getattr(found, key) for key in expected} == expected
