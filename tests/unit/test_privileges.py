"""Who tasks become: root may be anybody; another agent does what it can, and refuses the rest by name."""

import os
import pwd
import resource

import pytest

from agentd import privileges
from agentd.privileges import group_of, rlimits, user_of
from agentd.sentences import CannotStart
from store.model import spec
from tests.builders import a_task

pytestmark = pytest.mark.unit
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def mortal(monkeypatch):
    """An agent that runs as nobody."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY.pw_gid)


@pytest.mark.usefixtures("mortal")
def test_an_agent_that_is_not_root_runs_tasks_as_itself_and_as_nobody_else():
    assert user_of(None) is None
    assert user_of("nobody") is None
    assert user_of(f"{NOBODY.pw_uid}:{NOBODY.pw_gid}") is None
    for other in ("root", "0", "1:1", f"{NOBODY.pw_uid}:1"):
        with pytest.raises(CannotStart, match=f"cannot run as {other}: this agent does not run as root"):
            user_of(other)


@pytest.mark.usefixtures("mortal")
def test_ulimits_above_what_it_has_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(privileges.resource, "getrlimit", lambda _: (100, 100))
    assert rlimits(spec.task(a_task(ulimits={"nofile": 100}))) == [(resource.RLIMIT_NOFILE, 100, 100)]
    with pytest.raises(CannotStart, match="ulimit nofile: 101 is above this node's hard limit 100"):
        rlimits(spec.task(a_task(ulimits={"nofile": 101})))


def test_names_that_this_node_does_not_know_are_refused():
    with pytest.raises(CannotStart, match="user no-such-user does not exist"):
        user_of("no-such-user")
    with pytest.raises(CannotStart, match="group no-such-group does not exist"):
        group_of("1:no-such-group", NOBODY)
