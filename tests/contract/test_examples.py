"""The examples are templates that a manager takes."""

from pathlib import Path

import pytest
import yaml

from tests.fakes import Manager

pytestmark = pytest.mark.contract
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_taken_and_comes_back_as_it_was_sent(fake_store, path):
    manager, body = Manager(fake_store), yaml.safe_load(path.read_text())
    answer = manager.post("/api/task/task_group", body)
    assert answer.status_code == 200, answer.text
    found = manager.post("/api/task/query", {"name": body["name"]}).json
    assert [t["name"] for g in found["task_groups"] for t in g["tasks"]] == [
        t["name"] for g in body["task_groups"] for t in g["tasks"]
    ]
