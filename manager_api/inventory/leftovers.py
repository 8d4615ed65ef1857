"""Devices that name a group which is gone: harmless to readers, who pass over it, and taken out bit by bit.

By the call that removes a group, for the first few hundred; by the leader for the rest, and for what a
process left that died in between. An id is not given again before nothing names it.
"""

from manager_api.core import devices as core
from manager_api.inventory import devices, memberships
from manager_api.inventory.devices import groups_of
from manager_api.inventory.errors import Unknown
from store.codec import Json
from store.errors import BadRecord, Conflict
from store.keys import DEVICES, GROUPS
from store.kv.api import Compare
from store.kv.store import Store

AT_ONCE, BIT = 200, 20
"""Devices that are taken out of groups by one call, or by the leader's chores: about a third of a second;
and by one part of these."""


def collect(store: Store, group: str, most: int = AT_ONCE) -> int:
    """Take devices out of a group that is gone, `most` of them; how many. None, while it is there."""
    prefix = f"group:{group}:"
    found = store.lines(DEVICES, prefix, core.beyond(prefix), most)
    gone = [Compare(GROUPS, group, 0)]
    for count, line in enumerate(found):
        try:
            devices.change(store, line.rpartition(":")[2], _without(group), also=gone)
        except (Unknown, BadRecord):
            continue  # the device went, too; or nobody can read it
        except Conflict:
            return count  # the group is there: again, or still
    return len(found)


def collect_all(store: Store, most: int = AT_ONCE) -> int:
    """The same for whatever groups are gone; how many devices were taken out of one."""
    done, after = 0, "group:"
    whole = store.count_lines(DEVICES, [(after, core.beyond(after))])[0]
    if whole == memberships.count(store):
        return 0
    there = memberships.living(store)
    while done < most and (found := store.lines(DEVICES, after, core.beyond("group:"), 1)):
        group = found[0].split(":")[1]
        if group not in there:
            done += collect(store, group, most - done)
        after = core.beyond(f"group:{group}:")
    return done


def _without(group: str) -> core.Edit:
    def edit(record: Json) -> Json:
        return core.in_groups(record, groups_of(record) - {group})

    return edit
