"""What is installed is what is in the repository: editable installs do not show what a wheel lacks."""

import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROGRAMS = PROJECT["tool"]["importlinter"]["root_packages"]


def _packages():
    found = {file.parent.relative_to(ROOT) for name in PROGRAMS for file in (ROOT / name).rglob("*.py")}
    return {".".join(path.parts) for path in found}


def test_every_package_is_installed():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) >= _packages()


def test_every_file_that_programs_read_is_installed():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    beside = {
        file.relative_to(ROOT)
        for name in PROGRAMS
        for file in (ROOT / name).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    known = {
        file.relative_to(ROOT)
        for name, patterns in data.items()
        for pattern in patterns
        for file in (ROOT / name.replace(".", "/")).glob(pattern)
    }
    assert beside <= known
