"""Every key of the store is built here, and nowhere else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

TEMPLATES = "templates"
VERSIONS = "templates:versions"
DEPLOYMENTS = "deployments"
STATUS = "deployments:status"
ALLOCATIONS = "allocations"
NODES = "nodes"
NODES_STATUS = "nodes:status"
CONTROLS = "controls"
"""What people say of the fleet as a whole: the field `brake` asks for its release."""
CONTROLS_STATUS = "controls:status"
"""What the leader says of the fleet as a whole, by the same fields."""

NAMES = "deployments:names"
"""Names that people gave to deployments: the living one of each, or the last that had it."""

DOWNLOADS = "downloads"
"""The leader's: node -> the turns that it was granted at servers of files."""

CLAIMS = "claims"
"""What people said of unclaimed work: `<node>/<allocation>` is to be adopted, or stopped."""

DEVICES = "devices"
"""The inventory; a node is a device, whose record names it in `node`."""
GROUPS = "groups"
"""Groups of devices, with their rules: what is deployed to."""
GROUP_NAMES = "groups:names"
"""Group name -> its id: names are unique."""

_NODE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NODE_KEY = re.compile(r"n:\{([A-Za-z0-9._-]{1,128})\}:(.*)", re.DOTALL)


def is_node_id(text: str) -> bool:
    """Whether `text` may name a node."""
    return _NODE_ID.fullmatch(text) is not None


def version_field(name: str, version: int) -> str:
    """Field of `templates:versions`; the number first, so that any name is unambiguous."""
    return f"{version}:{name}"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of one node. The braces keep them in one slot."""

    base: str
    """What they begin with."""

    @property
    def desired(self) -> str:
        """Hash: what it should run, with the revision that its agent has to obey."""
        return f"{self.base}desired"

    @property
    def wake(self) -> str:
        """List that wakes its agent."""
        return f"{self.base}wake"

    @property
    def actual(self) -> str:
        """Hash: what it says of its allocations."""
        return f"{self.base}actual"

    @property
    def facts(self) -> str:
        """Hash: what it says of itself."""
        return f"{self.base}facts"

    @property
    def beat(self) -> str:
        """Its heartbeat, PX."""
        return f"{self.base}hb"

    @property
    def grant(self) -> str:
        """Which servers of files it may connect to just now: `store.model.turns`. The leader's."""
        return f"{self.base}grant"

    @property
    def ask(self) -> str:
        """Stream of what it is asked."""
        return f"{self.base}ask"

    @property
    def answers(self) -> str:
        """Prefix of the streams in which asks are answered."""
        return f"{self.base}ans:"

    def answer(self, ask: str) -> str:
        """The stream of answers to one ask."""
        return f"{self.answers}{ask}"


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys under one prefix."""

    prefix: str = "muster:"

    @property
    def meta(self) -> str:
        """Hash: cluster id, epoch, schema range, flavour; `lost`, `replid`, `fenced`."""
        return f"{self.prefix}meta"

    @property
    def epochs(self) -> str:
        """Hash: the last epochs, each with why and when it began."""
        return f"{self.prefix}epochs"

    @property
    def rev(self) -> str:
        """The last revision."""
        return f"{self.prefix}rev"

    @property
    def compacted(self) -> str:
        """The highest revision that the log no longer holds."""
        return f"{self.prefix}compacted"

    @property
    def log(self) -> str:
        """Stream of changes, `<rev>-<n>`."""
        return f"{self.prefix}log"

    @property
    def events(self) -> str:
        """Stream, capped: what was decided and done, and why. Hints: nothing depends on it."""
        return f"{self.prefix}events"

    @property
    def restoring(self) -> str:
        """Whose turn it is to restore, PX; and the beginning of what is staged for it."""
        return f"{self.prefix}restoring"

    @property
    def hints(self) -> str:
        """Channel on which agents say "my actual moved": lossy, forgeable, only ever a hint."""
        return f"{self.prefix}hints"

    @property
    def questions(self) -> str:
        """Stream of what the API asks the leader, who answers from memory."""
        return f"{self.prefix}questions"

    def answer(self, question: str) -> str:
        """List in which one question is answered, once; expires."""
        return f"{self.prefix}answer:{question}"

    def replay(self, name: str) -> str:
        """What a call answered, or that it is being answered; expires."""
        return f"{self.prefix}replay:{name}"

    @property
    def doubt(self) -> str:
        """Why the leader takes no absent heartbeat for a death just now; expires with the grace."""
        return f"{self.prefix}doubt"

    @property
    def presence_owner(self) -> str:
        """On a presence store: the cluster whose heartbeats it holds."""
        return f"{self.prefix}presence"

    def collection(self, name: str) -> str:
        """Hash of one collection's records."""
        return f"{self.prefix}{name}"

    def revisions(self, name: str) -> str:
        """Hash of one collection's mod revisions."""
        return f"{self.prefix}{name}:rev"

    def index(self, name: str) -> str:
        """Sorted set of one collection's index: lines of text, which lead to its records."""
        return f"{self.prefix}{name}:index"

    def lease(self, name: str) -> str:
        """The holder of a lease, with its token."""
        return f"{self.prefix}{name}"

    def fence(self, name: str) -> str:
        """The highest token ever given for a lease; the leader's is plain `fence`."""
        return f"{self.prefix}fence" if name == "leader" else f"{self.prefix}fence:{name}"

    def owner(self, key: str) -> tuple[str, str] | None:
        """The node that a key is one of, and which of them: `desired`, `ans:<id>`; None for others."""
        found = _NODE_KEY.fullmatch(key.removeprefix(self.prefix)) if key.startswith(self.prefix) else None
        return (found[1], found[2]) if found else None

    @property
    def nodes(self) -> str:
        """What the keys of all nodes begin with."""
        return f"{self.prefix}n:{{"

    def beats(self, node_ids: Iterable[str]) -> list[str]:
        """The heartbeats' keys of many nodes, in their order."""
        head = self.nodes
        return [f"{head}{node_id}}}:hb" for node_id in node_ids]

    def node(self, node_id: str) -> NodeKeys:
        """The keys of a node."""
        return NodeKeys(f"{self.nodes}{node_id}}}:")
