"""Which manager is meant: `--url`, `MUSTER_URL`, a running `muster dev`, else the default port."""

import json
import os
from pathlib import Path
from typing import Any

import click

from muster.client import NEVER, Client
from muster.client.base import DEFAULT_URL


def dev_directory() -> Path:
    """Where `muster dev` keeps its data unless told otherwise."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("MUSTER_DATA_DIR") or Path(state) / "muster" / "dev")


def running_dev(directory: Path | None = None) -> dict[str, Any] | None:
    """What the `muster dev` of a directory says of itself, while it runs."""
    path = (directory or dev_directory()) / "dev.json"
    try:
        about = json.loads(path.read_text())
        os.kill(int(about["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return about if isinstance(about, dict) else None


def manager_url(given: str | None) -> str:
    """The manager to talk to."""
    if given:
        if not given.startswith(("http://", "https://")):
            raise click.UsageError(f"--url {given}: not a URL such as {DEFAULT_URL}")
        return given
    dev = running_dev()
    return str(dev["url"]) if dev else DEFAULT_URL


def connect(given: str | None, *, replicated: bool = False) -> Client:
    """A client of the manager to talk to: it starts at once, and leaves it to people to try again."""
    return client(manager_url(given), replicated=replicated)


def client(url: str, *, replicated: bool = False) -> Client:
    """The same of a manager at a URL."""
    from muster.client.plain import Wire

    return Client(url, retries=NEVER, replicated=replicated, wire=Wire(url.rstrip("/")))


def database(given: Path | None) -> Path:
    """The embedded store's snapshot, beside which its port and password lie."""
    if given is not None:
        return given
    dev = running_dev()
    return Path(dev["db_path"]) if dev else Path("resource_monitor.db")
