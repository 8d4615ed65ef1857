"""What the manager can be told, and what its child processes are told by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manager_api.base import Base, BaseSettings, base_settings
from manager_api.workspaces import WorkspaceSettings, check_url, directory, lifetime, workspace_settings
from store.config import ConfigError, Setting, boolean, port
from store.errors import Unsupported
from store.home import Files
from store.kv.url import check
from store.model.turns import PER_SOURCE

DEFAULT_STORE_PORT = 8082
LOCAL, REPLICATED = "local", "replicated"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _fsync(text: str) -> str:
    if text not in ("everysec", "always"):
        raise ValueError(f"{text!r} is neither everysec nor always")
    return text


def _turns(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 10_000:
        raise ValueError(f"{text!r} is not a number from 1 to 10000")
    return number


def durability(text: str) -> str:
    """How far a write must have come before it is answered.

    Raises:
        ValueError: neither of the two.
    """
    if text not in (LOCAL, REPLICATED):
        raise ValueError(f"{text!r} is neither {LOCAL} nor {REPLICATED}")
    return text


SETTINGS = (
    Setting("port", port, 8080, "port of the HTTP API; 0: any free one", "PORT"),
    Setting("listen", str, "127.0.0.1", "address to listen on", "ADDRESS"),
    Setting("db_path", Path, Path("resource_monitor.db"), "snapshot of the embedded store", "FILE"),
    Setting("sftp_host", str, None, "where artifacts lie: sftp://user:password@host:port/path/", "URL"),
    Setting("sftp_password_file", Path, None, "the password of --sftp-host, in a file of its own", "FILE"),
    Setting("sftp_key_file", Path, None, "a private key for --sftp-host", "FILE"),
    Setting("sftp_fingerprint", str, None, "the host key of --sftp-host: SHA256:…", "FINGERPRINT"),
    Setting("source_limit", _turns, PER_SOURCE, "connections of all nodes to one server of files", "NUMBER"),
    Setting("device_csv", Path, None, "a file kept like the inventory, and read at start", "FILE"),
    Setting("store", str, None, "an external store, redis://… or sentinel://…, not the embedded one", "URL"),
    Setting("presence_store", str, None, "a server of its own for heartbeats, redis://…", "URL"),
    Setting("store_port", port, None, "port of the embedded store, for agents", "PORT"),
    Setting("store_server", Path, None, "the server program to embed, instead of the one found", "FILE"),
    Setting("fsync", _fsync, "everysec", "when the embedded store syncs: everysec, or always", "WHEN"),
    Setting(
        "durability", durability, LOCAL, "what calls wait for unless they say: local, or replicated", "HOW"
    ),
    Setting(
        "workspace_template", str, None, "the template that workspaces (POST /create) are made of", "NAME"
    ),
    Setting("workspace_data", directory, None, "where users' directories lie on the nodes", "DIR"),
    Setting("workspace_ttl", lifetime, None, "how long a workspace lives at most: 8h", "DURATION"),
    Setting("workspace_url", check_url, None, "where one is reached: http://{ip}:{port}/", "PATTERN"),
    Setting("insecure", boolean, False, "serve other machines although there is no access control yet"),
    Setting("log_file", Path, None, "log to this file too", "FILE"),
)
SECRETS = ("sftp_host", "store", "presence_store")
"""Settings that may carry a password: they never stay in argv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """The manager's settings, checked."""

    port: int
    listen: str
    db_path: Path
    sftp_host: str | None = field(repr=False)
    sftp_password: str | None = field(default=None, repr=False)
    """By environment only."""
    sftp_password_file: Path | None = None
    sftp_key_file: Path | None = None
    sftp_fingerprint: str | None = None
    source_limit: int = PER_SOURCE
    device_csv: Path | None = None
    store: str | None
    presence_store: str | None
    store_port: int | None
    store_server: Path | None
    fsync: str
    durability: str
    workspace_template: str | None = None
    workspace_data: str | None = None
    workspace_ttl: str | None = None
    workspace_url: str | None = None
    insecure: bool
    log_file: Path | None

    @property
    def files(self) -> Files:
        """The manager's own directory, beside the snapshot."""
        return Files(self.db_path.with_name(self.db_path.name + ".d"))

    @property
    def base(self) -> BaseSettings | None:
        """Where artifacts lie.

        Raises:
            ConfigError: what is set of it cannot be used.
        """
        if self.sftp_host is None:
            for name in ("sftp_password_file", "sftp_key_file", "sftp_fingerprint"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"--{name.replace('_', '-')} goes with --sftp-host")
            return None
        return base_settings(
            self.sftp_host,
            password=self.sftp_password,
            password_file=self.sftp_password_file,
            key_file=self.sftp_key_file,
            fingerprint=self.sftp_fingerprint,
        )

    @property
    def workspaces(self) -> WorkspaceSettings | None:
        """What workspaces are made of.

        Raises:
            ConfigError: no template is set.
        """
        return workspace_settings(
            self.workspace_template, self.workspace_data, self.workspace_ttl, self.workspace_url
        )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach us."""
        return self.listen in LOOPBACK


def manager_settings(values: dict[str, Any]) -> ManagerSettings:
    """The settings as one checked record.

    Raises:
        ConfigError: they do not go together, or a file that they name cannot be read.
    """
    settings = ManagerSettings(**values)
    if not settings.local and not settings.insecure:
        raise ConfigError(
            f"--listen {settings.listen} lets other machines in, and there is no access control yet: "
            "add --insecure if everybody who can reach this address may run programs on every node"
        )
    base = settings.base
    if base is not None:
        base.open()  # what cannot be read is said now
    _ = settings.workspaces
    if settings.store is not None:
        _check_store(settings.store)
        if settings.fsync == "always":
            raise ConfigError(
                "--fsync is for the embedded store: set appendfsync always on the server at --store"
            )
    elif settings.durability != LOCAL:
        raise ConfigError("--durability replicated needs an external store with replicas: see --store")
    if settings.presence_store is not None:
        _check_store(settings.presence_store, "--presence-store")
    if settings.device_csv is not None and (not settings.device_csv.name or settings.device_csv.is_dir()):
        raise ConfigError(f"--device-csv {settings.device_csv} is not a file's name")
    if not settings.db_path.name or settings.db_path.is_dir():
        raise ConfigError(f"--db-path {settings.db_path} is not a file's name")
    return settings


def _check_store(url: str, flag: str = "--store") -> None:
    try:
        check(url)
    except Unsupported as error:
        raise ConfigError(f"{flag}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccess:
    """How a child process of the manager reaches the store: by environment, secrets by file."""

    url: str
    advertised_port: int | None
    """The embedded store's port, which agents reach at the host they reach us at; None: `url` as it is."""
    password_file: str | None
    holder: str
    """Who we are in elections: the same for every life of this manager."""
    durability: str = LOCAL
    """What a call's writes wait for unless it says otherwise: `local` or `replicated`."""
    home: Path | None = None
    """The manager's own directory."""
    server: str | None = None
    """The server program that was chosen, or found, for the embedded store."""
    presence_url: str | None = None
    """Where heartbeats are, if not with the rest; with its password."""
    base: BaseSettings | None = None
    """Where artifacts lie."""
    source_limit: int = PER_SOURCE
    """Turns at one server of files, over the whole fleet."""
    workspaces: WorkspaceSettings | None = None
    device_csv: str | None = None
    """The file that is kept like the inventory."""

    def environment(self) -> dict[str, str]:
        """For the child."""
        values = {
            "MUSTER_STORE_URL": self.url,
            "MUSTER_STORE_ADVERTISED_PORT": str(self.advertised_port or ""),
            "MUSTER_STORE_PASSWORD_FILE": self.password_file or "",
            "MUSTER_HOLDER": self.holder,
            "MUSTER_DURABILITY": self.durability,
            "MUSTER_MANAGER_HOME": str(self.home.resolve()) if self.home else "",
            "MUSTER_SERVER_PROGRAM": self.server or "",
            "MUSTER_PRESENCE_STORE_URL": self.presence_url or "",
            "MUSTER_SOURCE_LIMIT": str(self.source_limit),
            "MUSTER_DEVICE_FILE": self.device_csv or "",
            **(self.base.environment() if self.base else {}),
            **(self.workspaces.environment() if self.workspaces else {}),
        }
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "StoreAccess":
        """In the child."""
        advertised = environ.get("MUSTER_STORE_ADVERTISED_PORT")
        return cls(
            url=environ["MUSTER_STORE_URL"],
            advertised_port=int(advertised) if advertised else None,
            password_file=environ.get("MUSTER_STORE_PASSWORD_FILE"),
            holder=environ.get("MUSTER_HOLDER", "manager"),
            durability=environ.get("MUSTER_DURABILITY", LOCAL),
            home=Path(environ["MUSTER_MANAGER_HOME"]) if environ.get("MUSTER_MANAGER_HOME") else None,
            server=environ.get("MUSTER_SERVER_PROGRAM"),
            presence_url=environ.get("MUSTER_PRESENCE_STORE_URL"),
            base=BaseSettings.from_environment(environ),
            source_limit=int(environ.get("MUSTER_SOURCE_LIMIT") or PER_SOURCE),
            workspaces=WorkspaceSettings.from_environment(environ),
            device_csv=environ.get("MUSTER_DEVICE_FILE"),
        )

    def artifacts(self) -> Base | None:
        """Where artifacts lie and how to log in there, by files as they are now; None: nowhere.

        Raises:
            ConfigError: one of the files cannot be read.
        """
        return self.base.open() if self.base is not None else None

    @property
    def files(self) -> Files | None:
        """What lies in the manager's directory."""
        return Files(self.home) if self.home else None

    def password(self) -> str | None:
        """The administrator's password, if the URL does not carry it."""
        return Path(self.password_file).read_text() if self.password_file else None
