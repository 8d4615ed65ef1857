"""Who the simulated agents are, and what they have in common."""

from dataclasses import dataclass
from hashlib import sha256

from agentd.facts.node import FEATURES
from agentd.uplink import WAKE_WAIT_MS
from store.version import VERSION


@dataclass(frozen=True)
class Who:
    """A node: all of it follows from its name, so that any process can play it."""

    node: str

    @property
    def uid(self):
        return f"uid-{self.node}"

    @property
    def secret(self):
        return f"secret-{self.node}"

    def join_body(self):
        """What an agent posts to be taken in."""
        return {
            "id": self.node, "uid": self.uid, "hostname": self.node, "addresses": ["127.0.0.1"],
            "secret_sha256": sha256(self.secret.encode()).hexdigest(), "version": VERSION,
            "features": list(FEATURES),
        }  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What all agents of a fleet have in common; times in seconds."""

    address: tuple[str, int]
    prefix: str = "muster:"
    interval: float = 5.0
    ttl: float = 15.0
    wake_wait: float = WAKE_WAIT_MS / 1000
    manager: str | None = None
    """Asked to be taken in anew, as agents do that the store refuses."""
    spread: float = 0.5
    """Over which the fleet comes back, as its manager tells it."""
