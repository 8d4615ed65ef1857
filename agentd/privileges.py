"""Who a task becomes, and which ulimits this agent can give it."""

import grp
import os
import pwd
import resource

from agentd.sentences import CannotStart
from store.model.spec import TaskSpec

MOST_ID = 2**32 - 2
"""The highest user or group; the next one means "leave it as it is" to the kernel: root, here."""


def user_of(wanted: str | None) -> pwd.struct_passwd | None:
    """The user to become; None to stay who we are.

    Raises:
        CannotStart: there is no such user, or we may not become it.
    """
    if wanted is None:
        return None
    name = wanted.partition(":")[0]
    if name.isdigit() and int(name) > MOST_ID:
        raise CannotStart(f"user {name}: numbers go up to {MOST_ID}")
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if not name.isdigit():
            raise CannotStart(f"user {name} does not exist on this node") from None
        found = pwd.struct_passwd((name, "x", int(name), int(name), "", "/", "/bin/sh"))
    if os.geteuid() == 0:
        return found if found.pw_uid != 0 or ":" in wanted else None
    own = found.pw_uid == os.geteuid() and group_of(wanted, found) == os.getegid()
    if not own:
        raise CannotStart(f"cannot run as {wanted}: this agent does not run as root")
    return None


def group_of(wanted: str | None, user: pwd.struct_passwd) -> int:
    """The group to become: the one asked for, else the user's own.

    Raises:
        CannotStart: there is no such group.
    """
    name = (wanted or "").partition(":")[2]
    if not name:
        return user.pw_gid
    if name.isdigit():
        if int(name) > MOST_ID:
            raise CannotStart(f"group {name}: numbers go up to {MOST_ID}")
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise CannotStart(f"group {name} does not exist on this node") from None


def too_high(task: TaskSpec) -> str | None:
    """Which ulimit this agent's own hard limits do not allow."""
    for name, (_, hard) in task.ulimits.items():
        highest = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        if highest != resource.RLIM_INFINITY and (hard == -1 or hard > highest):
            return f"ulimit {name}: {hard} is above this agent's hard limit {highest}"
    return None


def rlimits(task: TaskSpec) -> list[tuple[int, int, int]]:
    """The ulimits of a task as (number, soft, hard).

    Raises:
        CannotStart: this agent cannot give one of them.
    """
    found = []
    for name, (soft, hard) in task.ulimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise CannotStart(f"ulimit {name} does not exist on this node")
        highest = resource.getrlimit(number)[1]
        beyond = highest != resource.RLIM_INFINITY and (hard == -1 or hard > highest)
        if beyond and os.geteuid() != 0:
            raise CannotStart(f"ulimit {name}: {hard} is above this node's hard limit {highest}")
        found.append((number, soft, hard))
    return found
