"""The virtual machine, for the tests here."""

import pytest

from tests.vm.machine import Machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory, worker_id):
    base = tmp_path_factory.getbasetemp()
    cache = (base if worker_id == "master" else base.parent) / "vm"  # one for all test processes
    cache.mkdir(exist_ok=True)
    return Machine(cache)
