"""What test runs leave in /tmp."""

import shutil
import subprocess

import pytest

from tests.leftovers import temporary

pytestmark = pytest.mark.unit


def test_what_a_killed_run_has_left_is_removed_by_the_next_and_a_living_one_keeps_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, other = tmp_path / f"muster-x-{dead.pid}.abc", tmp_path / "muster-x-somebody.else"
    for path in (left, other):
        (path / "deep").mkdir(parents=True)
    mine = temporary("x")
    again = temporary("x")
    assert sorted(tmp_path.iterdir()) == sorted((mine, again, other))
    shutil.rmtree(mine)
