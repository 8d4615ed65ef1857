"""Archives unpacked into a home: only files, directories and links, and nothing of them outside.

What an archive is, its first bytes say, not its name. Kept: contents, times, links, permissions without
setuid, setgid, sticky and the right of others to write. Not kept: owners, extended attributes. Refused, with
everything else in the archive: whatever is not plainly inside of the directory that it is unpacked in, what
is there twice (directories may be), and what `budget` takes for a bomb. Symbolic links are made last, when
it is clear where each of them leads; nothing is ever written through one.
"""

import os
from collections.abc import Iterable
from typing import BinaryIO

from agentd.artifacts.budget import Budget
from agentd.artifacts.entries import Entry, Parts, Type, hostile, parts_of, shown
from agentd.artifacts.stream import PACKINGS, Stream, pieces
from agentd.artifacts.tar import BLOCK, Tar
from agentd.artifacts.tree import FILE_BITS, Owner, Taken, Tree, write
from agentd.artifacts.zips import Zip
from transfer.errors import Kind, TransferError

_ZIP = (b"PK\3\4", b"PK\5\6")
_ELSEWHERE = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "rar",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress",
    b"\x5d\0\0": "lzma",
}
"""What people might expect to be unpacked."""
READ = "tar, tar.gz, tar.bz2, tar.xz and zip are"


class Extraction:
    """One archive that goes to one directory of a tree."""

    def __init__(self, tree: Tree, into: Parts, owner: Owner) -> None:
        self._tree = tree
        self._into = into
        self._owner = owner
        self._mine: set[int] = set()

    def run(self, file: BinaryIO) -> None:
        """Unpack an archive that can be sought in.

        Raises:
            TransferError: HOSTILE, UNSUPPORTED, FULL.
            Taken: an artifact placed before has something where this one has something else.
            OSError: it cannot be written.
        """
        size = os.fstat(file.fileno()).st_size
        budget = Budget(size, self._tree.fd)
        self._tree.directory(self._into, self._owner)
        for entry in entries(file, size, budget.most):
            try:
                budget.take(entry.name, entry.size)
                self._place(entry)
            except Taken as taken:
                if hash(taken.path) in self._mine:
                    raise hostile(entry.name, "is there twice, or as different things") from None
                raise

    def _place(self, entry: Entry) -> None:
        inside = parts_of(entry.name)
        path = (*self._into, *inside)
        link = self._tree.links.through(path)
        if link is not None:
            raise hostile(entry.name, f"leads through the link {shown(b'/'.join(link))}")
        if not inside and entry.type is not Type.DIRECTORY:
            raise hostile(entry.name, "has no name")
        known = path in self._tree.links.targets
        if known or (entry.type is not Type.DIRECTORY and hash(path) in self._mine):
            raise Taken(path)
        if entry.type is Type.DIRECTORY:
            self._tree.late_directory(path, self._owner, entry.mode, entry.mtime)
            self._made(path)
            return
        if entry.type is Type.FILE:
            self._file(entry, path)
        elif entry.type is Type.SYMLINK:
            self._tree.late_link(path, entry.target, self._into, self._owner, entry.mtime)
        else:
            self._hard_link(entry, path)
        self._made(path)

    def _made(self, path: Parts) -> None:
        for depth in range(len(self._into) + 1, len(path) + 1):
            self._mine.add(hash(path[:depth]))

    def _file(self, entry: Entry, path: Parts) -> None:
        with self._tree.file(path, self._owner, entry.mode & FILE_BITS, entry.mtime) as fd:
            if write(fd, entry.data) != entry.size:
                raise hostile(entry.name, "is shorter or longer than it says")

    def _hard_link(self, entry: Entry, path: Parts) -> None:
        try:
            target = (*self._into, *parts_of(entry.target))
        except TransferError:
            raise hostile(entry.name, f"is a hard link to {shown(entry.target)}, which is outside") from None
        if self._tree.links.through(target) is not None:
            raise hostile(entry.name, f"is a hard link to {shown(entry.target)}, which lies behind a link")
        if target in self._tree.links.targets:
            link = self._tree.links.targets[target]
            self._tree.late_link(path, link, self._into, self._owner, entry.mtime)
            return
        if hash(target) not in self._mine:
            raise hostile(entry.name, f"is a hard link to {shown(entry.target)}, which is not before it")
        try:
            self._tree.hard_link(path, target, self._owner)
        except PermissionError:
            raise hostile(entry.name, f"is a hard link to {shown(entry.target)}, a directory") from None


def entries(file: BinaryIO, size: int, most: int) -> Iterable[Entry]:
    """The entries of an archive, by its first bytes; at most so many bytes come out of it.

    Raises:
        TransferError: HOSTILE or UNSUPPORTED, it is none that is read here.
    """
    head = file.read(BLOCK)
    file.seek(0)
    if head.startswith(_ZIP):
        return Zip(file, size)
    for magic, make in PACKINGS.items():
        if head.startswith(magic):
            return Tar(Stream(pieces(file, make), most))
    for magic, what in _ELSEWHERE.items():
        if head.startswith(magic):
            raise TransferError(Kind.UNSUPPORTED, f"{what} archives are not unpacked here: {READ}")
    if head[257:262] == b"ustar" or (len(head) == BLOCK and _is_old_tar(head)):
        return Tar(Stream(pieces(file, None), most))
    raise hostile(None, f"it is no archive that is read here: {READ}")


def _is_old_tar(head: bytes) -> bool:
    """Whether the first header's checksum is right: what tells an archive of before 1988. Or it is empty."""
    said = head[148:156].strip(b" \0")
    if not head.strip(b"\0"):
        return True
    return said.isdigit() and int(said, 8 if said.strip(b"01234567") == b"" else 10) == sum(head) - sum(
        head[148:156]
    ) + 8 * ord(" ")
