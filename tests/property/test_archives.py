"""Whatever is packed comes out as it was; whatever is done to an archive, nothing is written outside."""

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SOAK
from tests.hostile_archives import HOSTILE, directory, entry, hard, link, pax, tar, zipped
from tests.placed import Allocation, seen

pytestmark = pytest.mark.property

PACK = {"none": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\:", exclude_categories=("Cs",)),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
trees = st.recursive(
    st.binary(max_size=3000),
    lambda below: st.dictionaries(names, below, max_size=5),
    max_leaves=20,
).filter(lambda tree: isinstance(tree, dict))


def flat(tree, at=""):
    """(path, contents); contents of a directory: None."""
    for name, below in tree.items():
        if isinstance(below, dict):
            yield at + name, None
            yield from flat(below, f"{at}{name}/")
        else:
            yield at + name, below


def found(home):
    return {
        str(path.relative_to(home)): None if path.is_dir() else path.read_bytes() for path in home.rglob("*")
    }


def modes(home):
    return {str(path.relative_to(home)): path.stat().st_mode & 0o7777 for path in home.rglob("*")}


@settings(max_examples=400 if SOAK else 60, deadline=None)
@given(
    tree=trees,
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    pack=st.sampled_from(sorted(PACK)),
    mode=st.integers(0, 0o7777),
    mtime=st.integers(0, 2**33 - 1),
    to=st.sampled_from(["", "sub", "sub/deep"]),
)
def test_a_tar_comes_out_as_it_was(tree, form, pack, mode, mtime, to):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for path, data in flat(tree):
            info = tarfile.TarInfo(path)
            info.mode, info.mtime, info.size = mode, mtime, len(data or b"")
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            try:
                archive.addfile(info, io.BytesIO(data or b""))
            except ValueError:  # too long a name for that format
                return
    with tempfile.TemporaryDirectory(prefix="muster-archives-") as where:
        alloc = Allocation(Path(where))
        assert alloc.place(alloc.archive(PACK[pack](buffer.getvalue()), to)) == {"say": "placed"}
        home = alloc.home / to
        assert found(home) == dict(flat(tree))
        wanted = {path: mode & 0o755 | (0o700 if data is None else 0) for path, data in flat(tree)}
        assert modes(home) == wanted
        assert {path.stat().st_mtime for path in home.rglob("*")} <= {mtime}


@settings(max_examples=400 if SOAK else 60, deadline=None)
@given(tree=trees, method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
def test_a_zip_comes_out_as_it_was(tree, method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, data in flat(tree):
            if data is None:
                archive.writestr(zipfile.ZipInfo(path + "/"), b"")
            else:
                archive.writestr(path, data)
    with tempfile.TemporaryDirectory(prefix="muster-archives-") as where:
        alloc = Allocation(Path(where))
        assert alloc.place(alloc.archive(buffer.getvalue())) == {"say": "placed"}
        assert found(alloc.home) == dict(flat(tree))


parts = st.sampled_from([b"a", b"b", b"c", b"..", b".", b"", b"canary", b"file"])
paths = st.lists(parts, min_size=1, max_size=5).map(b"/".join)
entries = st.one_of(
    st.builds(entry, paths, st.just(b"evil")),
    st.builds(directory, paths),
    st.builds(link, paths, paths),
    st.builds(hard, paths, paths),
    st.builds(lambda path, one: pax(path=path) + one, paths, st.builds(entry, paths, st.just(b"evil"))),
)


def unpacked(data):
    """Place an archive; whatever becomes of it, nothing outside changes, and no link leads out."""
    with tempfile.TemporaryDirectory(prefix="muster-archives-") as where:
        alloc = Allocation(Path(where))
        item = alloc.archive(data)
        before = seen(alloc.directory.parent)
        said = alloc.place(item)
        if said["say"] == "placed":
            top = alloc.home.resolve()
            for path in alloc.home.rglob("*"):
                assert path.resolve().is_relative_to(top), path
            alloc.remove(alloc.home.name)
        else:
            assert said["kind"] in ("hostile", "unsupported"), said
        assert seen(alloc.directory.parent) == before


@settings(max_examples=5000 if SOAK else 300, deadline=None)
@given(st.lists(entries, max_size=8))
def test_no_tar_of_any_paths_and_links_leaves_its_directory(made):
    unpacked(tar(*made))


@settings(max_examples=5000 if SOAK else 150, deadline=None)
@given(
    st.lists(
        st.tuples(paths.map(bytes.decode), paths, st.sampled_from([0o100644, 0o120777, 0o40755])), max_size=6
    )
)
def test_no_zip_of_any_paths_and_links_leaves_its_directory(made):
    unpacked(zipped(*made))


small = sorted(name for name in HOSTILE if "bomb" not in name)


@settings(max_examples=10000 if SOAK else 300, deadline=None)
@given(st.data())
def test_no_damage_to_any_archive_makes_it_write_outside(data):
    raw = bytearray(HOSTILE[data.draw(st.sampled_from(small))][0]())
    for _ in range(data.draw(st.integers(1, 6))):
        if raw:
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    unpacked(bytes(raw))
