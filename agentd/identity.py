"""Who this node is: an id for people, a uid and a secret of its own, bound to the machine."""

import hashlib
import json
import logging
import secrets
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from store.keys import is_node_id
from store.process import write_whole

log = logging.getLogger("agent")


@dataclass(frozen=True, slots=True)
class Identity:
    """`secret` is the password of the node's store user; only its digest leaves the node."""

    node: str
    uid: str
    secret: str
    machine: str
    fresh: bool = False
    """Made just now: nothing that lies in the data directory was ours."""

    @property
    def secret_sha256(self) -> str:
        """What the manager is told."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def load(directory: Path, hostname: str | None, machine: str) -> Identity:
    """The identity that lies in a directory, or a new one.

    A directory that was copied to another machine (a cloned image) is not that machine's: it gets
    a new uid, and what was desired of the original is not desired of it. A changed host name only
    warns: the node keeps its id.

    Raises:
        ValueError: the machine's host name cannot name a node.
    """
    path = directory / "identity.json"
    known = _read(path)
    wanted = hostname or socket.gethostname()
    if known is not None and known.machine == machine:
        if hostname is not None and known.node != hostname:
            # Asked for by name: a new name for the same machine, and the same tasks' uid stays free.
            log.warning("node id changes from %s to %s, as --hostname says", known.node, hostname)
        elif known.node != wanted:
            log.warning("the host name is %s now; the node keeps its id %s", wanted, known.node)
            return known
        else:
            return known
    elif known is not None:
        log.warning("this data directory was made on another machine: asking for a new uid")
    if not is_node_id(wanted):
        raise ValueError(f"host name {wanted!r} cannot name a node; give one with --hostname")
    fresh = Identity(wanted, str(uuid.uuid4()), secrets.token_hex(32), machine, fresh=True)
    _write(path, fresh)
    return fresh


def _write(path: Path, identity: Identity) -> None:
    record = {key: value for key, value in asdict(identity).items() if key != "fresh"}
    write_whole(path, json.dumps(record).encode())


def _read(path: Path) -> Identity | None:
    try:
        raw = json.loads(path.read_text())
        if "secret" in raw:
            return Identity(raw["node"], raw["uid"], raw["secret"], raw["machine"])
        log.warning("%s has no secret (any more): a new one is made", path)
        renewed = Identity(raw["node"], raw["uid"], secrets.token_hex(32), raw["machine"])
        _write(path, renewed)
        return renewed
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error!r}): put it back, or delete it to be another node"
        ) from error


def machine_id() -> str:
    """What makes this machine this machine; empty where nothing says so (some containers)."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(path).read_text().strip()
        except OSError:
            continue
    return ""
