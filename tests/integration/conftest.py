"""Fixtures of the tests that have servers of their own."""

import pytest

from tests.linear.chaos import Stage
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


@pytest.fixture(params=["redis", "valkey"])
def stage(request, tmp_path):
    """A server to disturb, with the processes that use it."""
    found = Stage(tmp_path, request.param)
    yield found
    found.end()
