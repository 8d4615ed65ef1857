"""The placing child: `python -m agentd.artifacts.placing`. Puts a task's files into its home; see `words`.

One order, one answer. The home is there whole or not at all, whenever this is killed; what is left over then
is swept by the next one in the same allocation. Standard library only, and gone when its parent is.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from agentd.artifacts import background, home, removing, words
from agentd.artifacts.cache import PIECE, damaged, object_path
from agentd.artifacts.entries import hostile
from agentd.artifacts.extract import Extraction
from agentd.artifacts.home import Item
from agentd.artifacts.space import full, usable
from agentd.artifacts.staging import Staging, present
from agentd.artifacts.tree import Owner, Taken, Tree, write
from transfer.errors import Kind, TransferError

Json = dict[str, Any]
MOST_MEMORY = 2 * 1024**3
"""Bytes of address space: an archive that wants more of it is refused, and the node lives."""
_FICLONE = 0x40049409


@dataclass(frozen=True, slots=True)
class Order:
    """What to place, and where."""

    into: Path
    objects: Path
    owner: Owner
    items: tuple[Item, ...]


class Failed(Exception):
    """An item could not be placed."""

    def __init__(self, item: Item, error: TransferError) -> None:
        super().__init__(str(error))
        self.item = item
        self.error = error


def order(word: Json) -> Order:
    """The order that was sent.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return Order(
        into=Path(word["into"]),
        objects=Path(word["objects"]),
        owner=Owner(word.get("uid"), word.get("gid")),
        items=tuple(home.item(each) for each in word["items"]),
    )


def place(it: Order) -> None:
    """Carry an order out; a home that is there already stays as it is.

    Raises:
        Failed: an item is not what it should be.
        TransferError: the others.
        OSError: the disk.
    """
    it.into.parent.mkdir(exist_ok=True)
    parent = os.open(it.into.parent, home.DIRECTORY)
    try:
        removing.sweep(parent)
        if not present(parent, it.into.name, it.owner):
            clash = home.clash(it.items)
            if clash is not None:
                raise TransferError(Kind.UNSUPPORTED, clash)
            with Staging(parent) as staging:
                with Tree(staging.fd, it.owner) as tree:
                    fill(tree, it)
                staging.become(it.into.name, it.owner)
    finally:
        os.close(parent)


def fill(tree: Tree, it: Order) -> None:
    """Put all items into an empty directory.

    Raises:
        Failed: an item is not what it should be, or does not fit to another.
        OSError: the disk.
    """
    _check_room(tree, it.objects, it.items)
    for each in it.items:
        with _about(each):
            owner = Owner(
                it.owner.uid if each.uid is None else each.uid, it.owner.gid if each.gid is None else each.gid
            )
            with _opened(it.objects, each.object) as file:
                if each.extract:
                    _verify(file, it.objects, each.object)
                    Extraction(tree, home.parts_of(each), owner).run(file)
                else:
                    _copy(tree, file, it.objects, each, owner)
    try:
        tree.finish()
    except Taken as taken:
        raise _twice(taken) from None
    except TransferError as error:
        archives = [each for each in it.items if each.extract]
        if len(archives) == 1:
            raise Failed(archives[0], error) from None
        raise


@contextlib.contextmanager
def _about(item: Item) -> Iterator[None]:
    """What goes wrong in here is about an item."""
    try:
        yield
    except TransferError as error:
        raise Failed(item, error) from None
    except Taken as taken:
        raise Failed(item, _twice(taken)) from None
    except (MemoryError, RecursionError):
        raise Failed(item, hostile(None, "the archive takes too much memory")) from None


def _twice(taken: Taken) -> TransferError:
    return TransferError(Kind.UNSUPPORTED, f"two artifacts are placed at {str(taken)!r}")


def _check_room(tree: Tree, objects: Path, items: Sequence[Item]) -> None:
    """Look whether the plain files fit, before the first is written."""
    needed = 0
    for each in items:
        if not each.extract:
            with contextlib.suppress(OSError):
                needed += object_path(objects, each.object).stat().st_size
    room = usable(tree.fd)
    if needed > room:
        raise full("tasks' directories", needed, room)


@contextlib.contextmanager
def _opened(objects: Path, sha256: str) -> Iterator[BufferedReader]:
    try:
        fd = os.open(object_path(objects, sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise damaged(sha256) from None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        yield file


def _verify(file: BufferedReader, objects: Path, sha256: str) -> None:
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        object_path(objects, sha256).unlink(missing_ok=True)
        raise damaged(sha256)
    file.seek(0)


def _copy(tree: Tree, file: BufferedReader, objects: Path, item: Item, owner: Owner) -> None:
    """A file of its own for the task: it may write to it. What is written is what is hashed."""
    mode = 0o644 if item.mode is None else item.mode & 0o777
    with tree.file(home.parts_of(item), owner, mode, None) as fd:
        found = hashlib.sha256()
        cloned = _cloned(file.fileno(), fd)
        source = fd if cloned else file.fileno()
        while piece := os.read(source, PIECE):
            found.update(piece)
            if not cloned:
                write(fd, (piece,))
        if found.hexdigest() != item.object:
            object_path(objects, item.object).unlink(missing_ok=True)
            raise damaged(item.object)


def _cloned(source: int, target: int) -> bool:
    """Whether the file system shares the bytes between both files until one is written to."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def answer(word: Json) -> Json:
    """Carry out an order that was sent; what to say of it."""
    try:
        place(order(word))
    except Failed as failed:
        return _failed(failed.error.kind, str(failed.error), failed.item.object)
    except TransferError as error:
        return _failed(error.kind, str(error))
    except OSError as error:
        return _failed(*_explained(error))
    except (KeyError, TypeError, ValueError) as error:
        return _failed(Kind.FAULT, f"the files cannot be placed as they were ordered: {error}")
    except MemoryError:
        return _failed(Kind.HOSTILE, "not unpacked: the archive takes too much memory")
    return {"say": "placed"}


def _failed(kind: Kind, text: str, about: str | None = None) -> Json:
    return {"say": "failed", "kind": str(kind), "text": text, "object": about}


def _explained(error: OSError) -> tuple[Kind, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Kind.FULL, "no room on the disk of tasks' directories (or no more files may be made there)"
    what = f"the files cannot be placed: {error.strerror or error}"
    if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return Kind.DENIED, what
    return Kind.FAULT, what


def main() -> None:
    """One order in, one answer out."""
    background.enter()
    soft = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MOST_MEMORY if soft == resource.RLIM_INFINITY else min(MOST_MEMORY, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, soft))
    raw = sys.stdin.buffer.readline()
    if raw.endswith(b"\n"):  # else whoever sent it died over it
        sys.stdout.buffer.write(words.line(answer(words.word(raw))))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
