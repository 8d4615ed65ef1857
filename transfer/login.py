"""Who we are at a server, and by what we know it. Never shown: `repr` hides what is secret."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What it takes to enter a server."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    """A private key, as its file has it; may be protected by `password`."""
    key_file: Path | None = None
    fingerprints: tuple[str, ...] = ()
    """Host keys that are taken, as OpenSSH writes them: `SHA256:…`; none: by `known_hosts`."""
    known_hosts: tuple[Path, ...] = ()
    """Files by which servers are known; those that are not there are skipped."""
