"""A client that a public generator makes of `/openapi.json` deploys and stops something real."""

import importlib
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import eventually

pytestmark = pytest.mark.e2e
PACKAGE = "muster_as_generated"
CONFIG = """\
post_hooks: []
content_type_overrides: {application/jsonl: application/octet-stream, text/csv: application/octet-stream}
"""


def generated(cluster):
    """The generated package; a warning, such as a shape left out, is a failure."""
    document, config = cluster.home / "openapi.json", cluster.home / "generator.yaml"
    with urllib.request.urlopen(f"{cluster.url}/openapi.json", timeout=40) as answer:
        document.write_bytes(answer.read())
    config.write_text(CONFIG)
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", document, "--config", config,
         "--meta", "none", "--output-path", cluster.home / PACKAGE, "--fail-on-warning"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture
def client(cluster, monkeypatch):
    """Gives modules of the generated package by their names."""
    cluster.interval = "5"  # the generator is busy for seconds, and the node must not be offline after it
    cluster.start_manager()
    cluster.start_agent("web-1")
    generated(cluster)
    monkeypatch.syspath_prepend(cluster.home)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def call(cluster, client):
    """Calls an operation of the API by its id."""
    with client("client").Client(base_url=cluster.url) as api:
        yield lambda name, /, *words, tag="deployments", **more: client(f"api.{tag}.{name}").sync_detailed(
            *words, client=api, **more
        )


def test_a_generated_client_deploys_and_stops(client, call):
    models = client("models")
    template = {
        "name": "sleeper",
        "task_groups": [{"tasks": [{"name": "a", "config": {"command": "sleep 600"}}]}],
    }
    saved = call("create_template", tag="templates", body=models.Template.from_dict(template))
    assert (saved.status_code, saved.parsed.version, saved.parsed.changed) == (201, 1, True)

    made = call("create_deployment", body=models.Create(template="sleeper", name="one"))
    assert isinstance(made.parsed, models.Created), made.content
    deployment = made.parsed.id

    def shown():
        return call("get_deployment", deployment).parsed

    eventually(lambda: shown().status == "RUNNING")
    (task,) = shown().tasks
    assert (task.name, task.node, task.state) == ("a", "web-1", "running")
    assert [row.id for row in call("list_deployments", name="one").parsed.data] == [deployment]

    assert call("stop_deployment", deployment).parsed.status in ("STOPPING", "STOPPED")
    eventually(lambda: shown().status == "STOPPED")
    missing = call("get_deployment", "none")
    assert isinstance(missing.parsed, models.Error)
    assert missing.parsed.error == "Business instance not found"
