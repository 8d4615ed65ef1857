"""From a task to the files that it needs on this node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentd.artifacts import home
from agentd.artifacts.versions import Known
from agentd.core.files.items import Item, Order
from agentd.launch import Launcher
from agentd.policy import Forbidden
from agentd.privileges import group_of, user_of
from agentd.sentences import CannotStart
from store.model.artifacts import Artifact
from store.model.command import fill
from store.model.spec import AllocSpec, TaskSpec
from transfer import urls
from transfer.errors import TransferError

PROGRAM = 0o755
_ANYWHERE = urls.Source(scheme="sftp", host="base", port=22, path="/")
_NO_OBJECT = "0" * 64
_NOTHING: Known = {}


class Impossible(Exception):
    """The files cannot be had as the template says; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What a task needs; `command` is the name of the program that is fetched for it, if one is."""

    order: Order
    command: str | None
    uid: int | None
    gid: int | None
    """Whose the directory is; None: the agent's."""

    def items(self, objects: tuple[str, ...]) -> list[home.Item]:
        """As they lie in the task's directory, once it is known what they are."""
        return [
            home.Item(
                object=sha256, to=item.to, extract=item.extract, mode=item.mode, uid=item.uid, gid=item.gid
            )
            for item, sha256 in zip(self.order.items, objects, strict=True)
        ]


def needed(alloc: AllocSpec, task: TaskSpec, launcher: Launcher, known: Known = _NOTHING) -> Needed:
    """The files of a task, with every `${…}` filled in; `known` as in an `Order`.

    Raises:
        Impossible: they cannot be had, however long one tries.
    """
    values = launcher.values(alloc, task)
    try:
        items = [_item(each, values, launcher) for each in task.artifacts]
        program = _program(task, values)
        if program is not None:
            items.append(Item(source=program, pool=urls.BASE, to=program, mode=PROGRAM))
        uid, gid = _user(task)
        found = Needed(Order(tuple(items), task.fetch_timeout, known), program, uid, gid)
        clash = home.clash(found.items((_NO_OBJECT,) * len(items)))
    except (TransferError, CannotStart, Forbidden, ValueError) as error:
        raise Impossible(str(error)) from None
    if clash is not None:
        raise Impossible(clash)
    return found


def _item(artifact: Artifact, values: Mapping[str, str], launcher: Launcher) -> Item:
    source = fill(artifact.source, values)
    base = urls.is_relative(source)
    where = urls.under(_ANYWHERE, source) if base else urls.parse(source)
    uid, gid = _owner(artifact.owner, source, launcher) if artifact.owner else (None, None)
    to = fill(artifact.to, values)
    return Item(
        source=source,
        pool=urls.BASE if base else where.pool,
        sha256=artifact.sha256 or "",
        fingerprint=artifact.fingerprint or "",
        extract=artifact.extract,
        to=to or ("" if artifact.extract else where.name),
        mode=artifact.mode,
        uid=uid,
        gid=gid,
    )


def _program(task: TaskSpec, values: Mapping[str, str]) -> str | None:
    """The name below the base of the program that this node lacks."""
    if not task.fetch or task.container is not None or not task.argv:
        return None
    path = fill(task.argv[0], values)
    if not path.startswith("/") or os.path.lexists(path):
        return None
    return Path(path).name


def _user(task: TaskSpec) -> tuple[int | None, int | None]:
    """Whose a task's directory is; an image has users of its own."""
    user = user_of(task.user) if task.container is None else None
    return (user.pw_uid, group_of(task.user, user)) if user is not None else (None, None)


def _owner(owner: str, source: str, launcher: Launcher) -> tuple[int, int]:
    try:
        user = user_of(owner)
    except CannotStart as error:
        raise CannotStart(f"owner of {urls.shown(source)}: {error}") from None
    uid, gid = (user.pw_uid, group_of(owner, user)) if user else (os.geteuid(), os.getegid())
    launcher.policy.check_user(uid, gid)
    return uid, gid
