"""What the agent can be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.config import ConfigError, Setting, port, seconds, state_dir
from store.keys import is_node_id
from store.model import noderecord, quantity


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not a URL such as http://manager:8080")
    return text.rstrip("/")


def _hostname(text: str) -> str:
    if not is_node_id(text):
        raise ValueError(f"{text!r} cannot name a node: 1 to 128 of A-Z a-z 0-9 . _ - are taken")
    return text


def _rate(text: str) -> int:
    number = quantity.size(text)
    if number < 1024:
        raise ValueError(f"{text!r} is less than 1K a second")
    return number


def _auto(text: str) -> str:
    if text not in ("auto", "none"):
        raise ValueError(f"{text!r} is neither auto nor none")
    return text


SETTINGS = (
    Setting("manager_url", _url, "http://localhost:8080", "where the manager's API is", "URL"),
    Setting("hostname", _hostname, None, "the node's name, instead of the machine's host name", "NAME"),
    Setting(
        "labels",
        noderecord.labels,
        None,
        "labels of this node, such as zone=a,disk=ssd; what people say of it goes before",
        "KEY=VALUE,…",
    ),
    Setting("interval", seconds, 5.0, "seconds between reports", "SECONDS"),
    Setting("port", port, 8081, "the agent's own local port; 0: any free one", "PORT"),
    Setting(
        "data_dir",
        Path,
        None,
        "where the agent keeps its data (as root: /var/lib/muster/agent)",
        "DIRECTORY",
    ),
    Setting("log_quota", quantity.size, "5G", "what the logs of all tasks may take on disk", "SIZE"),
    Setting(
        "artifact_quota", quantity.size, "10G", "what fetched files may take in the node's cache", "SIZE"
    ),
    Setting("download_rate", _rate, None, "bytes a second for all downloads together, such as 20M", "SIZE"),
    Setting("known_hosts", Path, None, "host keys of SFTP servers, beside the system's and ~/.ssh", "FILE"),
    Setting(
        "ssh_key", Path, None, "a private key for SFTP servers that the manager has no login for", "FILE"
    ),
    Setting("log_file", Path, None, "log to this file too", "FILE"),
    Setting(
        "policy",
        Path,
        None,
        "what may be run on this node, whatever the manager asks [default: policy.yaml in --data-dir]",
        "FILE",
    ),
    Setting("containers", _auto, "auto", "containers on this node: auto, or none", "WHICH"),
    Setting("cgroups", _auto, "auto", "control groups for tasks: auto, or none", "WHICH"),
)

TTL_INTERVALS = 3
"""A heartbeat lives for so many intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The agent's settings, checked."""

    manager_url: str
    hostname: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: float
    port: int
    data_dir: Path
    log_quota: int
    artifact_quota: int = 10 * 1024**3
    download_rate: int | None = None
    known_hosts: Path | None = None
    ssh_key: Path | None = None
    log_file: Path | None
    policy: Path
    cgroups: str
    containers: str

    @property
    def ttl(self) -> float:
        """Seconds that a heartbeat lives."""
        return self.interval * TTL_INTERVALS


def agent_settings(values: dict[str, Any]) -> AgentSettings:
    """The settings as one record.

    Raises:
        ConfigError: the data directory cannot be made.
    """
    directory = (values["data_dir"] or state_dir("agent")).absolute()
    policy = (values["policy"] or directory / "policy.yaml").absolute()
    quota = quantity.size(values["log_quota"])
    made = {"data_dir": directory, "policy": policy, "log_quota": quota, "labels": values["labels"] or {}}
    made["artifact_quota"] = quantity.size(values["artifact_quota"])
    settings = AgentSettings(**{**values, **made})
    try:
        settings.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data directory {settings.data_dir}: {error.strerror}") from None
    return settings
