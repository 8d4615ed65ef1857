"""What is known of a server, and how Muster uses it: what `store.model.preflight` judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PER_NODE = 2
"""Connections of an agent: one beats, fetches and reports, one waits. A reader of its logs makes three."""
KEPT_FOR_MANAGERS = 200
"""Connections that nodes do not count on."""


def connections_for(nodes: int) -> int:
    """Connections that a server must take for so many nodes, and for managers."""
    return PER_NODE * nodes + KEPT_FOR_MANAGERS


def nodes_for(connections: int) -> int:
    """Nodes for which so many connections are enough."""
    return max(0, connections - KEPT_FOR_MANAGERS) // PER_NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server said of itself, and what it would not say."""

    name: str
    version: tuple[int, ...]
    key_patterns: bool
    info: Mapping[str, Any]
    """INFO, all its sections in one."""
    config: Mapping[str, str] = field(default_factory=dict)
    """CONFIG GET; a name that is missing could not be read."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Command that was refused -> why."""
    user: str = ""
    lacking: tuple[str, ...] = ()
    """Commands that Muster needs and our user may not run."""
    open_to_all: bool | None = None
    """Whether the default user needs no password; None: not known."""
    clock_ahead: float = 0.0
    """Seconds by which the server's clock is ahead of ours."""
    own_files: int | None = None
    """Open files that this process may have; None: not looked at, or no limit."""

    def setting(self, name: str) -> str | None:
        """A setting; None when it could not be read."""
        return self.config.get(name)

    def number(self, name: str, default: int = 0) -> int:
        """A number from INFO."""
        value = self.info.get(name, default)
        return int(value) if isinstance(value, int | float) else default

    @property
    def maxclients(self) -> int | None:
        """Connections that the server takes at most."""
        text = self.setting("maxclients") or str(self.info.get("maxclients", ""))
        return int(text) if text.isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How Muster uses, or would use, the server."""

    sentinel: bool = False
    embedded: bool = False
    nodes: int = 0

    def set(self, name: str, value: str) -> str:
        """The command that changes a setting for good."""
        if self.embedded:  # its file is written anew at every start
            return f"muster redis-cli CONFIG SET {name} {value}"
        return f"redis-cli CONFIG SET {name} {value}, then redis-cli CONFIG REWRITE"


def mode_of(info: Mapping[str, Any]) -> str:
    """standalone, cluster or sentinel. Valkey has another word for the field."""
    return str(info.get("redis_mode") or info.get("server_mode") or "standalone")
