"""What lies under `--sftp-host`: listed, put there and removed, and nothing outside of it touched."""

import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from transfer.conversation import Conversation, Refused
from transfer.errors import Kind, TransferError
from transfer.messages import Attributes
from transfer.urls import Source, under
from transfer.wire import Wire, is_directory, is_file, is_link
from transfer.writer import HIDDEN, PART, Writer, explained

MOST_LISTED = 10_000
"""Files in a list, and directories that are looked into for it."""
DEEPEST = 40
LIST_WITHIN = 10.0
"""Seconds for one list, whose reader does not wait for longer than 30."""
LEFT_AFTER = 3600
"""Seconds without a byte after which an upload is none any more; a living one is never silent for so long."""
MOST_SWEPT = 10_000
"""Names that are looked at for leftovers."""
LONGEST = 1024
"""Bytes of a name."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a link to one."""

    name: str
    """Relative to the base."""
    size: int
    modified: int
    link: str | None = None
    """Where it points, if it is a link."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Files under the base; not `complete`: there are more, or it took too long."""

    items: list[Item]
    complete: bool


class Publisher:
    """The base's directory, over one connection, for one thread."""

    def __init__(
        self, conversation: Conversation, base: Source, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = Wire(conversation)
        self._base = base
        self._clock = clock
        self._root = base.path.rstrip("/")

    def put(self, name: str, pieces: Iterable[bytes], size: int, sha256: str | None = None) -> str:
        """Have a name hold these bytes, in place of what it held; their SHA-256. See `Writer.put`.

        Raises:
            TransferError: as its kinds say.
        """
        target = self._source(name)
        *parents, last = self._parts(target)
        if last.startswith(HIDDEN):
            raise TransferError(
                Kind.UNSUPPORTED, f"{name!r}: names with {HIDDEN} at their beginning are ours"
            )
        self._check_base()
        self._make(parents)
        digest = Writer(self._wire).put(target, pieces, size, sha256)
        self._sweep(self._at(parents), target)
        return digest

    def remove(self, name: str) -> None:
        """Remove a file, or a link; directories stay.

        Raises:
            TransferError: as its kinds say.
        """
        target = self._source(name)
        self._enter_all(self._parts(target)[:-1])
        with explained(target, "remove"):
            if is_directory(self._wire.lstat(target.path)):
                raise TransferError(Kind.UNSUPPORTED, f"{target} is a directory: only files are removed")
            self._wire.remove(target.path)

    def listing(self, prefix: str = "") -> Listing:
        """The files whose names begin with `prefix`, by name. Links to directories are not followed.

        Raises:
            TransferError: as its kinds say.
        """
        self._check_base()
        start = prefix.rpartition("/")[0]
        if start and not self._enter_all(self._parts(self._source(start))):
            return Listing([], complete=True)
        walk = _Walk(self._wire, self._base, prefix, self._clock() + LIST_WITHIN, self._clock)
        items = list(walk.items())
        return Listing(sorted(items, key=lambda item: item.name), walk.complete)

    # -- names

    def _source(self, name: str) -> Source:
        if len(name.encode(errors="replace")) > LONGEST:
            raise TransferError(Kind.UNSUPPORTED, f"a name is at most {LONGEST} bytes long")
        if any(unicodedata.category(each) in ("Cc", "Cs") for each in name) or "\ufffd" in name:
            raise TransferError(Kind.UNSUPPORTED, f"{name!r} has control characters, or is not UTF-8")
        return under(self._base, name)

    def _parts(self, target: Source) -> list[str]:
        return target.path.removeprefix(f"{self._root}/").split("/")

    def _at(self, parts: list[str]) -> Source:
        return under(self._base, "/".join(parts)) if parts else self._base

    # -- directories

    def _check_base(self) -> None:
        """See that the base is there: it is never made, as a typing error in it would go unnoticed.

        Raises:
            TransferError: it is not.
        """
        missing = TransferError(Kind.FAULT, f"--sftp-host: there is no directory {self._base} on the server")
        try:
            with explained(self._base, "look at"):
                found = self._wire.stat(self._base.path)
        except TransferError as error:
            raise (missing if error.kind == Kind.MISSING else error) from None
        if not is_directory(found):
            raise missing

    def _make(self, parents: list[str]) -> None:
        for depth in range(1, len(parents) + 1):
            directory = self._at(parents[:depth])
            if not self._enter(directory):
                with explained(directory, "make the directory", self._wire):
                    try:
                        self._wire.mkdir(directory.path)
                    except Refused:
                        if not self._enter(directory):  # unless somebody else made it just now
                            raise

    def _enter_all(self, parents: list[str]) -> bool:
        """Whether these directories, each in the one before, are there; raises as `_enter` does."""
        return all(self._enter(self._at(parents[:depth])) for depth in range(1, len(parents) + 1))

    def _enter(self, directory: Source) -> bool:
        """Whether it is there.

        Raises:
            TransferError: it is no directory, or a link that leads out of the base.
        """
        try:
            with explained(directory, "look at"):
                found = self._wire.lstat(directory.path)
        except TransferError as error:
            if error.kind == Kind.MISSING:
                return False
            raise
        if is_link(found):
            with explained(directory, "follow"):
                root, where = self._wire.real(self._base.path), self._wire.real(directory.path)
                if not where.startswith(f"{root.rstrip('/')}/"):
                    text = f"{directory} is a link that leads outside of --sftp-host"
                    raise TransferError(Kind.UNSUPPORTED, text)
                found = self._wire.stat(directory.path)
        if not is_directory(found):
            raise TransferError(Kind.UNSUPPORTED, f"{directory} is a file, not a directory")
        return True

    def _sweep(self, directory: Source, written: Source) -> None:
        """Remove what broken uploads left here long ago; what was just `written` tells the server's time.

        Best effort, after a success: its failure is nobody's.
        """
        with suppress(TransferError), explained(directory, "list"):
            before = (self._wire.lstat(written.path).mtime or 0) - LEFT_AFTER
            entries = islice(self._wire.entries(directory.path), MOST_SWEPT)
            for name, found in list(entries):
                if name.startswith(HIDDEN) and name.endswith(PART) and (found.mtime or before) < before:
                    self._wire.remove(f"{directory.path.rstrip('/')}/{name}")


class _Walk:
    """A bounded look into all directories that may hold names with a prefix."""

    def __init__(
        self, wire: Wire, base: Source, prefix: str, until: float, clock: Callable[[], float]
    ) -> None:
        self._wire = wire
        self._base = base
        self._root = base.path.rstrip("/")
        self._prefix = prefix
        self._until = until
        self._clock = clock
        self.complete = True

    def items(self) -> Iterator[Item]:
        """Files; says `complete` at the end."""
        todo, looked, found = [self._prefix.rpartition("/")[0]], 0, 0
        while todo:
            directory = todo.pop()
            looked += 1
            for item, deeper in self._look(directory):
                if deeper:
                    if item.name.count("/") < DEEPEST:
                        todo.append(item.name)
                    else:
                        self.complete = False
                    continue
                found += 1
                yield item
                if found >= MOST_LISTED:
                    break
            if found >= MOST_LISTED or looked >= MOST_LISTED or self._clock() > self._until:
                self.complete = False
                return

    def _look(self, directory: str) -> Iterator[tuple[Item, bool]]:
        path = f"{self._root}/{directory}" if directory else self._base.path
        try:
            with explained(self._base, "list"):
                for last, found in self._wire.entries(path):
                    if self._clock() > self._until:  # one directory may have millions, or no end
                        return
                    name = f"{directory}/{last}" if directory else last
                    if last.startswith(HIDDEN):
                        continue
                    if is_directory(found) and (name + "/").startswith(self._prefix[: len(name) + 1]):
                        yield Item(name, 0, 0), True
                    elif not is_directory(found) and name.startswith(self._prefix):
                        yield from self._file(name, found)
        except TransferError as error:
            if error.kind not in (Kind.MISSING, Kind.DENIED):
                raise
            # It went away meanwhile, or is not ours to see.

    def _file(self, name: str, found: Attributes) -> Iterator[tuple[Item, bool]]:
        link = None
        path = f"{self._root}/{name}"
        if is_link(found):
            try:
                link = self._wire.target(path)
                found = self._wire.stat(path)
            except Refused:
                found = Attributes()
            if is_directory(found):
                return
        elif not is_file(found):
            return  # a socket, a device
        yield Item(name, found.size or 0, found.mtime or 0, link), False
