"""Hostile archives: refused with the entry's name and the reason; nothing in the home, nothing outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentd.artifacts import extract, zips
from agentd.artifacts.links import Links
from tests.hostile_archives import HOSTILE
from tests.placed import Allocation, seen

pytestmark = pytest.mark.integration


@pytest.fixture
def alloc(tmp_path):
    return Allocation(tmp_path)


def test_the_corpus_is_large():
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing(alloc, tmp_path, name):
    make, words = HOSTILE[name]
    item = alloc.archive(make())
    before = seen(tmp_path)
    said = alloc.place(item)
    assert (said["say"], said["kind"]) == ("failed", "hostile"), said
    assert words in said["text"]
    assert said["text"].startswith("not unpacked: ")
    assert "\n" not in said["text"]
    assert len(said["text"]) < 400
    assert said["object"] == item["object"]
    assert seen(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["tar: link, then file through it", "tar: link through link out", "zip: parent", "tar.gz: bomb"]
)
def test_one_bad_archive_spoils_all_of_an_order(alloc, tmp_path, name):
    items = [
        alloc.file(b"fine", "bin/tool"),
        alloc.archive(HOSTILE[name][0](), "sub"),
        alloc.file(b"fine", "bin/other"),
    ]
    before = seen(tmp_path)
    child = subprocess.run(
        [sys.executable, "-m", "agentd.artifacts.placing"],
        input=json.dumps(alloc.word(*items)).encode() + b"\n",
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    said = json.loads(child.stdout)
    assert (said["say"], said["kind"], said["object"]) == ("failed", "hostile", items[1]["object"])
    assert seen(tmp_path) == before


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            b"\x28\xb5\x2f\xfd",
            "zstd archives are not unpacked here: tar, tar.gz, tar.bz2, tar.xz and zip are",
        ),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip archives are not unpacked here"),
        (b"Rar!\x1a\x07", "rar archives are not unpacked here"),
    ],
)
def test_formats_that_are_not_read_are_named(alloc, head, words):
    said = alloc.place(alloc.archive(head + bytes(600)))
    assert said["kind"] == "unsupported"
    assert words in said["text"]


@pytest.mark.parametrize("name", HOSTILE)
def test_even_what_slips_through_the_checks_writes_nothing_outside(alloc, tmp_path, name, monkeypatch):
    monkeypatch.setattr(extract, "parts_of", lambda raw: tuple(raw.split(b"/")))
    monkeypatch.setattr(zips, "check_windows", lambda raw: None)
    monkeypatch.setattr(Links, "check", lambda links: None)
    monkeypatch.setattr(Links, "through", lambda links, path: None)
    item = alloc.archive(HOSTILE[name][0]())
    before = seen(tmp_path)
    alloc.place(item)
    alloc.remove(alloc.home.name)
    assert seen(tmp_path) == before
