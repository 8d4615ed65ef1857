"""Zip archives: what the standard library reads of them, after a look at what it would believe.

Names are those of the central directory: UTF-8 if they say so or happen to be, else cp437, as the format has
it. Times have no zone and count as UTC: the same on all nodes.
"""

import calendar
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from agentd.artifacts.entries import Entry, Type, check_windows, hostile
from agentd.artifacts.home import MOST_PATH
from agentd.artifacts.stream import PIECE

MOST_DIRECTORY = 128 * 1024**2
"""Bytes of a central directory, which is read into memory: a million entries need less."""
_ENCRYPTED = 0x1 | 0x40
_UTF8 = 0x800
_PATCH = 0x20
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_WHERE64 = struct.Struct("<4sLQL")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    OSError,  # bzip2's, which bears no number
)


class Zip:
    """The entries of an archive, in the order of its directory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def __iter__(self) -> Iterator[Entry]:
        """Raises `TransferError`: HOSTILE, at whatever is not plain."""
        start = _directory(self._file, self._size)
        self._file.seek(0)
        try:
            archive = zipfile.ZipFile(self._file)
        except _DAMAGE as error:
            raise _damage(None, error) from None
        infos = archive.infolist()
        if archive.start_dir != start:
            raise hostile(None, "the zip archive is damaged: it has two directories")
        _check_overlaps(infos, start)
        for info in infos:
            yield _entry(archive, info)


def _directory(file: BinaryIO, size: int) -> int:
    """Where the central directory begins; it is followed by its end mark, and that by nothing."""
    tail_size = min(size, _END.size + 65535)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise hostile(None, "the zip archive is cut short")
    _, disk, other_disk, _, _, length, offset, comment = _END.unpack_from(tail, at)
    end = size - tail_size + at
    if end + _END.size + comment != size:
        raise hostile(None, "something follows the end of the zip archive, or it is cut short")
    if (disk or other_disk) and (disk, other_disk) != (0xFFFF, 0xFFFF):
        raise hostile(None, "it is one volume of a zip archive")
    file.seek(max(end - _WHERE64.size, 0))
    if file.read(4) == b"PK\6\7":  # as `zipfile` does, whatever the numbers are
        length, offset, end = _directory64(file, end)
    if offset + length != end:
        raise hostile(None, "the zip archive is damaged: its directory is not where it should be")
    if length > MOST_DIRECTORY:
        raise hostile(None, "the zip archive has too many entries")
    return int(offset)


def _directory64(file: BinaryIO, end: int) -> tuple[int, int, int]:
    """Length and offset of a large archive's directory, and where it ends."""
    at = end - _WHERE64.size - _END64.size
    file.seek(max(at, 0))
    raw = file.read(_WHERE64.size + _END64.size)
    if at < 0 or raw[:4] != b"PK\6\6":
        raise hostile(None, "the zip archive is damaged: it is large, and lacks what large ones have")
    found = _END64.unpack_from(raw)
    return found[8], found[9], at


def _check_overlaps(infos: list[zipfile.ZipInfo], start: int) -> None:
    """Files that share their packed bytes are a bomb."""
    ordered = sorted(infos, key=lambda each: each.header_offset)
    ends = [*(each.header_offset for each in ordered[1:]), start]
    for info, end in zip(ordered, ends, strict=False):
        if info.header_offset < 0 or info.header_offset + 30 + info.compress_size > end:
            raise hostile(info.orig_filename.encode(), "shares its bytes with another entry")


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    name = _name(info)
    check_windows(name)
    if info.flag_bits & _ENCRYPTED:
        raise hostile(name, "is encrypted")
    if info.flag_bits & _PATCH or info.compress_type not in _METHODS:
        raise hostile(name, f"is packed in a way that is not read here (method {info.compress_type})")
    mode = info.external_attr >> 16
    found = _type(name, mode)
    if found is Type.DIRECTORY and info.file_size:
        raise hostile(name, "is a directory and has contents")
    target = b""
    if found is Type.SYMLINK:
        if info.file_size >= MOST_PATH:
            raise hostile(name, "is a link to nothing that could be a path")
        target = b"".join(_data(archive, info, name))
    usual = 0o755 if found is Type.DIRECTORY else 0o644
    return Entry(
        name=name,
        type=found,
        size=info.file_size if found is Type.FILE else 0,
        mode=mode & 0o7777 or usual,
        mtime=_mtime(info),
        target=target,
        data=_data(archive, info, name),
    )


def _name(info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & _UTF8:
        return info.orig_filename.encode("utf-8", "surrogatepass")
    raw = info.orig_filename.encode("cp437")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return info.orig_filename.encode()
    return raw


def _type(name: bytes, mode: int) -> Type:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR or (name.endswith(b"/") and kind in (0, stat.S_IFREG)):
        return Type.DIRECTORY
    if kind in (0, stat.S_IFREG):
        return Type.FILE
    if kind == stat.S_IFLNK:
        return Type.SYMLINK
    raise hostile(name, f"is neither file, directory nor link (mode {mode:o})")


def _mtime(info: zipfile.ZipInfo) -> float:
    try:
        return max(calendar.timegm((*info.date_time, 0, 0, 0)), 0)
    except (ValueError, OverflowError):
        return 0


def _data(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: bytes) -> Iterator[bytes]:
    try:
        with archive.open(info) as file:
            while piece := file.read(PIECE):
                yield piece
    except _DAMAGE as error:
        raise _damage(name, error) from None


def _damage(name: bytes | None, error: Exception) -> Exception:
    """What to raise: a disk that cannot be read is not the archive's fault."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return hostile(
        name, f"is damaged ({error})" if name is not None else f"the zip archive is damaged ({error})"
    )
