"""What this node lets be run on it, whatever the manager asks: a file that only its owner writes.

forbid_root: true
users: [www-data, "1000"]            # no others; numbers and names are the same thing
commands: ["/opt/apps/*", "/bin/sh"] # what tasks, hooks and probes may execute; programs that were
                                     # fetched lie in "/var/lib/muster/agent/alloc/*"
files: ["/srv/*"]                    # what `file://` sources may name; unlisted: all, or nothing if
                                     # there is a rule about users
containers: false
images: ["registry.example/*"]
mounts: ["/srv/data/*"]
"""

import fnmatch
import grp
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from store.model.policies import Container

LISTS = ("users", "groups", "commands", "files", "images", "mounts")
STEERING = ("LD_", "BASH_ENV", "ENV", "PYTHON", "PERL", "RUBY", "NODE_", "JAVA_TOOL_OPTIONS", "GCONV_PATH")
"""Variables (or how they begin) by which a permitted program is made to run another."""
SWITCHES = ("forbid_root", "containers")


class Forbidden(Exception):
    """The node's policy does not allow it; the message says what."""


@dataclass(slots=True)
class Policy:
    """Reads the file again whenever it has changed. One that cannot be read allows nothing."""

    path: Path
    _stamp: tuple[int, int] | None = None
    _rules: Mapping[str, Any] = field(default_factory=dict)

    def check_user(self, uid: int, gid: int | None) -> None:
        """Whether tasks may run as this user, with this group instead of the user's own.

        Raises:
            Forbidden: no.
        """
        rules = self._current()
        if rules.get("forbid_root") and (uid == 0 or gid == 0):
            raise Forbidden(f"{self.path} forbids tasks of root: give the task a user")
        users = rules.get("users")
        if users is None:
            return
        if uid not in {_uid(str(user)) for user in users}:
            raise Forbidden(f"{self.path} does not list user {uid}")
        if gid is not None and gid not in _groups_of(uid) | {_gid(str(g)) for g in rules.get("groups", ())}:
            raise Forbidden(f"{self.path} does not list group {gid}, and user {uid} is not in it")

    def check_command(self, path: str, env: Iterable[str]) -> None:
        """Whether an absolute path may be executed, links followed, with these variables set by the task.

        Raises:
            Forbidden: no.
        """
        commands = self._current().get("commands")
        real = _real(path, commands)
        if not _allowed(commands, real):
            raise Forbidden(f"{self.path} does not list the command {real}")
        steering = sorted(name for name in env if name.startswith(STEERING))
        if commands is not None and steering:
            raise Forbidden(f"{self.path} lists commands, and {steering[0]} could make one run another")

    def check_container(self, container: Container, user: str | None) -> None:
        """Whether a container may be run with its mounts, as this user (of the image's, if it has a name).

        Raises:
            Forbidden: no.
        """
        rules = self._current()
        if rules.get("containers") is False:
            raise Forbidden(f"{self.path} forbids containers")
        if rules.get("forbid_root") and (user or "0").partition(":")[0] in ("0", "root"):
            raise Forbidden(f"{self.path} forbids tasks of root: give the task a user")
        users, name = rules.get("users"), (user or "0").partition(":")[0]
        if users is not None and name not in map(str, users):
            raise Forbidden(f"{self.path} does not list user {name}")
        if not _allowed(rules.get("images"), container.image):
            raise Forbidden(f"{self.path} does not list the image {container.image}")
        for mount in container.mounts:
            source = _real(mount.partition(":")[0], rules.get("mounts"))
            if not _allowed(rules.get("mounts"), source):
                raise Forbidden(f"{self.path} does not list the mount {source}")

    def files(self) -> list[str] | None:
        """Patterns of the files of this node that tasks may have brought to them; None: all of them.

        Root reads them. Where tasks may not be root's, or everybody's, no file is for them by default.
        """
        try:
            rules = self._current()
        except Forbidden:
            return []
        if "files" in rules:
            return [str(pattern) for pattern in rules["files"]]
        return [] if rules.get("forbid_root") or "users" in rules else None

    def problem(self) -> str | None:
        """Why the file cannot be obeyed, or None."""
        try:
            self._current()
        except Forbidden as error:
            return str(error)
        return None

    def _current(self) -> Mapping[str, Any]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._rules = None, {}
            return self._rules
        except OSError as error:
            raise Forbidden(f"{self.path} cannot be read, so nothing is allowed: {error.strerror}") from None
        stamp = found.st_mtime_ns, found.st_ino
        if stamp != self._stamp:
            try:
                self._rules = _checked(yaml.safe_load(self.path.read_text()))
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise Forbidden(f"{self.path} cannot be read, so nothing is allowed: {error}") from None
            self._stamp = stamp
        return self._rules


def _checked(rules: Any) -> Mapping[str, Any]:
    if rules is None:
        return {}
    if not isinstance(rules, dict):
        raise ValueError("not a mapping of rules")
    for key, value in rules.items():
        if key in LISTS and isinstance(value, list):
            continue
        if key in SWITCHES and isinstance(value, bool):
            continue
        known = ", ".join((*LISTS, *SWITCHES))
        raise ValueError(f"{key}: not one of {known}, with a list or true and false")
    return rules


def _real(path: str, patterns: list[Any] | None) -> str:
    """A path with its links followed, to be held against a rule (None: there is none).

    Raises:
        Forbidden: a link such as `/proc/<pid>/root` makes it lead to what lies elsewhere than it says.
    """
    real = os.path.realpath(path)
    if patterns is not None:
        try:
            there = os.stat(path)  # noqa: PTH116 - as `samestat` wants it
        except OSError:
            return real  # there is nothing to be had
        try:
            same = os.path.samestat(there, os.stat(real))  # noqa: PTH116
        except OSError:
            same = False
        if not same:
            raise Forbidden(f"{path} leads where its name does not tell: into another namespace")
    return real


def _allowed(patterns: list[Any] | None, value: str) -> bool:
    return patterns is None or any(fnmatch.fnmatchcase(value, str(pattern)) for pattern in patterns)


def _gid(group: str) -> int | None:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _groups_of(uid: int) -> set[int]:
    """The groups that a user is in by the system's own word."""
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return {uid}  # a number without a name has the group of the same number
    return {found.pw_gid, *(each.gr_gid for each in grp.getgrall() if found.pw_name in each.gr_mem)}


def _uid(user: str) -> int | None:
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
