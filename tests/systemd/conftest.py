"""Machines with systemd, for the tests here."""

import pytest

from tests.conftest import eventually
from tests.systemd.container import Container


@pytest.fixture
def container(tmp_path):
    """A machine that is up, with Muster's units installed."""
    found = Container(tmp_path)
    try:
        found.boot()
        yield found
    finally:
        found.end()


@pytest.fixture
def running(container):
    """Its manager and its agent run and know each other."""
    container.run("systemctl", "start", "muster-manager", "muster-agent")
    eventually(lambda: any(node["status"] == 0 for node in container.nodes()), 90)
    return container
