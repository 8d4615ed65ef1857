"""A leader's memory is looked through in young parts; what goes in circles goes in the end."""

import gc
import weakref

import pytest

from manager_api.controller import __main__ as program
from manager_api.controller.garbage import FREEZE_EVERY, WHOLE_AFTER, WHOLE_EVERY, Garbage, OwnGarbage
from manager_api.controller.loop import Controller

pytestmark = pytest.mark.unit


class Circle:
    def __init__(self):
        self.me = self


def circle():
    made = Circle()
    return made, weakref.ref(made)


@pytest.fixture
def garbage(clock):
    """Nothing is looked for by itself meanwhile."""
    found = OwnGarbage(clock)
    with found.coming_in():
        pass
    gc.disable()
    yield found
    gc.enable()
    gc.unfreeze()


def test_what_has_lived_a_while_is_not_looked_through_again(garbage, clock):
    kept, _ = circle()
    young, gone = circle()
    del young
    garbage.tick()
    assert gone() is not None, "it is not time yet"
    clock.advance(FREEZE_EVERY)
    garbage.tick()
    assert gone() is None, "young garbage is found before the rest is frozen"
    assert not any(each is kept for each in gc.get_objects())


@pytest.mark.parametrize("later", [False, True])
def test_what_was_frozen_and_goes_is_found_in_the_end(garbage, clock, later):
    """The fleet of last time is let go of while the new one comes in: after a minute; others after an hour."""
    clock.advance(WHOLE_AFTER if later else 0)
    garbage.tick()
    kept, gone = circle()
    clock.advance(FREEZE_EVERY)
    garbage.tick()
    del kept
    clock.advance(FREEZE_EVERY)
    garbage.tick()
    assert gone() is not None
    clock.advance(WHOLE_EVERY if later else WHOLE_AFTER)
    garbage.tick()
    assert gone() is None
    assert gc.get_freeze_count() > 0


def test_nothing_is_looked_for_while_a_fleet_comes_in(garbage, clock):
    gc.enable()
    with garbage.coming_in():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="torn"), garbage.coming_in():
        int("torn")
    assert gc.isenabled()


def test_only_the_controllers_own_process_sets_the_collector(fake_store, clock, monkeypatch):
    assert type(Controller(fake_store, fake_store.client, "me", clock).garbage) is Garbage
    led = []

    def run(controller):
        led.append(controller)

    monkeypatch.setattr(Controller, "run", run)
    monkeypatch.setattr(program, "on_end", lambda _: None)
    monkeypatch.setattr(program.logs, "setup", lambda _: None)
    monkeypatch.setenv("MUSTER_STORE_URL", "redis://127.0.0.1:1/0")
    assert program.main() == 0
    assert type(led[0].garbage) is OwnGarbage
