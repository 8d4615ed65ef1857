"""Who is in which group of devices: members by the inventory, by an earlier release's list, by rule. Pure.

Of a node's record: `member_of` (ids of the groups that its device is in), `groups` (names, as releases up to
0.2.0 wrote them: they count until they have become memberships), and all that rules ask about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from manager_api.core import rules
from manager_api.core.rules import Rule

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as placement knows it."""

    id: str
    name: str
    written: Any = None
    """Its rule as it was written: by that two of them are compared."""
    rule: Rule | None = field(default=None, compare=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Group":
        """A group's record.

        Raises:
            KeyError, ValueError: it cannot be read.
        """
        rule = record.get("rule")
        return cls(
            str(record["id"]), str(record["name"]), rule, rules.read(rule) if rule is not None else None
        )

    def by_rule(self, node: str, record: Mapping[str, Any]) -> bool:
        """Whether its rule has a node."""
        return self.rule is not None and self.rule.holds(node, record)

    def has(self, node: str, record: Mapping[str, Any]) -> bool:
        """Whether a node is in it, for whatever reason."""
        return self.id in record.get("member_of", ()) or self.by_rule(node, record)


class Groups:
    """All groups, by name: what `placement.group` names."""

    def __init__(self, known: Iterable[Group] = ()) -> None:
        self._by_id: dict[str, Group] = {}
        self._by_name: dict[str, Group] = {}
        self._ruled: dict[str, Group] = {}
        for each in known:
            self.put(each.id, each)

    def put(self, group: str, new: Group | None) -> bool:
        """Add, replace or (None) remove a group; whether that may move anything."""
        old = self._by_id.pop(group, None)
        self._ruled.pop(group, None)
        if old is not None and self._by_name.get(old.name) is old:
            del self._by_name[old.name]
        if new is not None:
            self._by_id[group] = self._by_name[new.name] = new
            if new.rule is not None:
                self._ruled[group] = new
        return old != new

    def but(self, group: str, new: Group | None) -> "Groups":
        """All groups, one of them another one, or (None) gone."""
        found = Groups(self._by_id.values())
        found.put(group, new)
        return found

    def named(self, name: str) -> Group | None:
        """The group with a name."""
        return self._by_name.get(name)

    def why_not(self, name: str, node: str, record: Mapping[str, Any]) -> str | None:
        """Why a node is not in a group, as a predicate, or None."""
        group = self._by_name.get(name)
        if name in (record.get("groups") or ()) or (group is not None and group.has(node, record)):
            return None
        return f"is not in group {name}" + (": there is no group of that name" if group is None else "")

    def names_of(self, node: str, record: Mapping[str, Any]) -> list[str]:
        """The names of the groups that a node is in, sorted."""
        if not self._by_id and "groups" not in record:  # the most usual: lists ask it of every node
            return []
        found = set(record.get("groups") or ())
        ids = (self._by_id.get(each) for each in record.get("member_of") or ())
        found |= {group.name for group in ids if group is not None}
        return sorted(found | {group.name for group in self._ruled.values() if group.by_rule(node, record)})
