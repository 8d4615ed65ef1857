"""Fixtures of the tests that have servers of their own."""

import pytest

from tests.linear.chaos import Stage
from tests.sentinels import SentinelStore
from tests.transfers import login_at
from transfer.urls import parse


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


@pytest.fixture
def reading(sshd):
    """Gives a reader of files at an SSH server; all are closed."""
    from transfer.sftp import SftpReader

    made = []

    def read(login=None, *, server=sshd, port=None, patience=None, user=None):
        source = parse(server.url("x", port=port, user=user))
        more = () if patience is None else (patience,)
        made.append(SftpReader(source, login or login_at(server), *more))
        return made[-1]

    yield read
    for reader in made:
        reader.close()
