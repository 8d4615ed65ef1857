"""Fixtures of the tests that have servers of their own."""

import pytest

from tests.sentinels import SentinelStore


@pytest.fixture
def make(tmp_path):
    made = []

    def start(**how):
        made.append(SentinelStore(tmp_path, **how))
        return made[-1]

    yield start
    for each in made:
        each.end()
