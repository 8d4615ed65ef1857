"""The manager's own directory, `<db-path>.d`: what lies in it, by name."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in the manager's directory."""

    home: Path

    @property
    def password(self) -> Path:
        """The server's password; 0600, never in argv."""
        return self.home / "password"

    @property
    def port(self) -> Path:
        """The port, so that it is the same after every start."""
        return self.home / "port"

    @property
    def cluster(self) -> Path:
        """The cluster id this directory belongs to."""
        return self.home / "cluster"

    def known_cluster(self) -> str | None:
        """The cluster id this directory belongs to; None for a new one."""
        return self.cluster.read_text() if self.cluster.exists() else None

    @property
    def flavour(self) -> Path:
        """The kind of server that wrote the data."""
        return self.home / "flavour"

    @property
    def append_only(self) -> Path:
        """The directory of the append-only file."""
        return self.home / "appendonlydir"

    @property
    def dump(self) -> Path:
        """The server's own snapshot."""
        return self.home / "dump.rdb"

    @property
    def published(self) -> Path:
        """Digests of the snapshots we put at `--db-path`."""
        return self.home / "published.json"

    @property
    def highest(self) -> Path:
        """The highest epoch number and revision ever served from here."""
        return self.home / "highest.json"

    @property
    def staging(self) -> Path:
        """Where a restore is tried before it replaces anything."""
        return self.home / "staging"

    @property
    def spool(self) -> Path:
        """Where backups and uploads lie while they are checked; nothing in it outlives a request."""
        return self.home / "spool"

    @property
    def spooling(self) -> Path:
        """The lock of who uses `spool`."""
        return self.home / "spool.lock"
