"""Rollouts over random groups, histories and cuts: bounded on the way, whole at the end, still then."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_api.core.rollout import Group, Unit, step
from store.model.placing import Update

pytestmark = pytest.mark.property

MIN_HEALTHY, DEADLINE = 10.0, 100.0


class World:
    """Nodes and a leader that does what it is told, perhaps only the beginning of it."""

    def __init__(self, units, update, *, promoted=False, blameless=False):
        self.units = {unit.id: unit for unit in units}
        self.update, self.promoted = update, promoted
        self.wanted = sum(not unit.canary for unit in units)
        self.number, self.state, self.first = 0, "", blameless

    def group(self):
        return Group(
            name="g", update=self.update, wanted=self.wanted, units=tuple(self.units.values()), paused=False,
            promoted=self.promoted, needs_canary=self.update.canary > 0, first=self.first, state=self.state,
        )  # fmt: skip

    def carry_out(self, said, most):
        """The first `most` of all that was said."""
        orders = [("update", each) for each in said.update] + [("canary", None)] * said.canaries
        taking = dict(zip(said.promote, said.stop[len(said.stop) - len(said.promote) :], strict=False))
        orders += [("promote", each) for each in said.promote]
        orders += [("stop", each) for each in said.stop if each not in taking.values()]
        for kind, name in orders[:most]:
            if kind == "update":
                self.put(replace(self.units[name], current=True, up_for=None, ordered_for=0.0, failed=False))
            elif kind == "canary":
                self.number += 1
                self.put(an_unit(f"canary-{self.number}", current=True, canary=True))
            elif kind == "promote":
                self.units.pop(taking.get(name, ""), None)
                self.put(replace(self.units[name], canary=False))
            else:
                del self.units[name]
        self.state = said.state

    def put(self, unit):
        self.units[unit.id] = unit

    def pass_time(self, seconds, *, up=()):
        for unit in list(self.units.values()):
            begins = unit.up_for is None and unit.id in up and not unit.away and not unit.failed
            up_for = 0.0 if begins else unit.up_for
            self.put(
                replace(
                    unit,
                    up_for=None if up_for is None else up_for + seconds,
                    ordered_for=unit.ordered_for + seconds,
                )
            )

    def unhealthy(self):
        """Of the new release, and not healthy: what we did."""
        return [
            unit
            for unit in self.units.values()
            if unit.current and (unit.up_for is None or unit.up_for < MIN_HEALTHY)
        ]


def an_unit(name, *, current=False, canary=False, up_for=None, away=False, failed=False):
    return Unit(id=name, current=current, canary=canary, generation=1, up_for=up_for, ordered_for=0.0, failed=failed, away=away)  # fmt: skip


@st.composite
def worlds(draw, **more):
    count = draw(st.integers(0, 7))
    units = [
        an_unit(
            f"u{n}",
            up_for=draw(st.sampled_from([None, 0.5, 1e6])),
            away=draw(st.integers(0, 5)) == 0,
            failed=draw(st.integers(0, 5)) == 0,
        )
        for n in range(count)
    ]
    canaries = draw(st.integers(0, count))
    update = Update(
        max_parallel=draw(st.integers(1, 4)), min_healthy=MIN_HEALTHY, healthy_deadline=DEADLINE,
        canary=canaries, auto_promote=draw(st.booleans()),
    )  # fmt: skip
    units += [an_unit("stale", canary=True, up_for=5.0)] * draw(st.integers(0, 1))
    return World(units, update, **more)


@settings(deadline=None)
@given(worlds(), st.data())
def test_never_too_many_at_once_and_whole_in_the_end(world, data):
    for _ in range(120):
        said = step(world.group())
        assert not {each for each in said.update if world.units[each].away}, "nothing can be said of them"
        assert not set(said.update) & set(said.stop)
        assert not any(world.units[each].current for each in said.update)
        before = len(world.unhealthy())
        world.carry_out(said, data.draw(st.integers(0, 4), label="carried out"))
        assert len(world.unhealthy()) <= max(world.update.max_parallel, before)
        assert said.state in ("running", "promotion", "done")
        if said.state == "promotion":
            assert not [unit for unit in world.units.values() if unit.current and not unit.canary]
            world.promoted = True  # a person does
        world.pass_time(6.0, up=set(world.units))
    settle(world)
    away = [unit for unit in world.units.values() if unit.away]
    assert all(unit.current or unit in away for unit in world.units.values())
    if len(away) < len(world.units) or not away:
        assert_over(world)
    for unit in away:  # they come back, and follow
        world.put(replace(unit, away=False, up_for=1e5))
    settle(world)
    assert_over(world)
    assert all(unit.current for unit in world.units.values())
    assert len(world.units) == world.wanted


def settle(world):
    for _ in range(60):
        said = step(world.group())
        world.carry_out(said, 100)
        if said.state == "promotion":
            world.promoted = True
        world.pass_time(6.0, up=set(world.units))


def assert_over(world):
    said = step(world.group())
    if any(unit.canary for unit in world.units.values()):
        assert any(unit.away for unit in world.units.values()), (
            "canaries are kept for places out of reach only"
        )
        return
    assert (said.state, said.update, said.canaries, said.stop, said.promote) == ("done", (), 0, (), ())
    assert said.wake is None


@settings(deadline=None)
@given(worlds(), st.data())
def test_one_that_never_gets_healthy_fails_it_and_then_nothing_moves(world, data):
    bad = data.draw(st.sampled_from(["late", "failed"]))
    began = False
    for _ in range(60):
        said = step(world.group())
        world.carry_out(said, data.draw(st.integers(1, 4)))
        if said.state == "failed":
            break
        began = began or bool(world.unhealthy())
        for unit in world.unhealthy() if bad == "failed" else ():
            world.put(replace(unit, failed=True))
        world.pass_time(6.0)
    if not began:
        return  # nothing could be reached
    assert said.state == "failed"
    assert len(world.unhealthy()) <= world.update.max_parallel, "no further than it may go at once"
    assert any(unit.id in said.reason for unit in world.unhealthy())
    for _ in range(5):
        world.pass_time(50.0, up=set(world.units))
        said = step(world.group())
        assert (said.state, said.update, said.canaries, said.stop) == ("failed", (), 0, ())


@settings(deadline=None)
@given(worlds(), st.data())
def test_it_is_looked_at_again_when_something_is_due(world, data):
    """Waking when told, and never else, comes as far as looking all the time."""
    for _ in range(200):
        said = step(world.group())
        world.carry_out(said, 100)
        if said.state in ("done", "failed"):
            break
        if said.state == "promotion":
            world.promoted = True
        elif not (said.update or said.canaries or said.stop or said.promote):
            if said.wake is None:
                assert any(unit.away for unit in world.units.values()), said
                break
            world.pass_time(said.wake)
        world.pass_time(0.0, up=set(world.units))  # what was ordered comes up at once: that is an event
    else:
        raise AssertionError(step(world.group()))


@settings(deadline=None)
@given(worlds(), st.data())
def test_a_paused_one_does_nothing_at_all(world, data):
    for _ in range(data.draw(st.integers(0, 10))):
        world.carry_out(step(world.group()), data.draw(st.integers(0, 4)))
        world.pass_time(6.0, up=set(world.units))
    said = step(replace(world.group(), paused=True, state=""))
    assert said.state in ("paused", "done")
    assert (said.update, said.canaries, said.stop, said.promote, said.wake) == ((), 0, (), (), None)
