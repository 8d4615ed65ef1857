"""Contract 2 as its users run it: real containers, their data, their addresses; and the counts of all workers."""

import re
import urllib.request

import psutil
import pytest

from tests.conftest import eventually
from tests.integration.test_containers import IMAGE, podman  # noqa: F401 - a fixture

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("podman")]

SERVE = ["/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:${port.http}", "-h", "/data"]


def a_template(image):
    container = {"driver": "container", "image": image, "command": SERVE, "network": "host"}
    tasks = [
        {"name": "prepare", "config": {"command": ["mkdir", "-p", "${param.data}"]}},
        {"name": "server", "config": {**container, "mounts": ["${param.data}:/data"]}, "ports": {"http": 0},
         "depends_on": {"prepare": "completed"}, "stop": {"timeout": "100ms"}},
    ]  # fmt: skip
    declared = {"user_id": {"required": True}, "data": {"required": True}}
    return {"name": "matlab", "parameters": declared, "task_groups": [{"name": "main", "tasks": tasks}]}


def start(cluster):
    data = cluster.home / "users"
    flags = {"template": "matlab", "data": str(data), "ttl": "1h", "url": "http://127.0.0.1:{port}/"}
    cluster.start_manager(*(word for key, value in flags.items() for word in (f"--workspace-{key}", value)))
    cluster.start_agent(containers="auto")
    assert cluster.call("/api/task/task_group", a_template(IMAGE))[0] == 200
    return data


def create(cluster, user):
    status, made = cluster.call("/create", {"user_id": user})
    assert (status, made["message"]) == (202, "Container creation initiated"), made
    return made if made["url"] else {**made, "url": eventually(lambda: url_of(cluster, user))}


def url_of(cluster, user):
    """Where a workspace is that was placed after its answer."""
    rows = {row["user_id"]: row for row in cluster.call("/list")[1]["containers"]}
    return rows.get(user, {}).get("url")


def served(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return None


def remove(cluster, user):
    request = urllib.request.Request(f"{cluster.url}/v1/workspaces/{user}", method="DELETE")
    with urllib.request.urlopen(request, timeout=40) as answer:
        assert answer.status == 202
    eventually(lambda: user not in {row["user_id"] for row in cluster.call("/list")[1]["containers"]})


def counts(cluster):
    """Requests for `/healthz` so far, and the containers that are active."""
    with urllib.request.urlopen(f"{cluster.url}/metrics", timeout=40) as answer:
        text = answer.read().decode()
    found = re.search(r'^api_requests_total\{endpoint="/healthz",method="GET"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0, float(
        re.search(r"^active_containers (\S+)$", text, re.MULTILINE)[1]
    )


def test_a_workspace_serves_its_user_s_files_and_leaves_them_there(cluster):
    data = start(cluster)
    made = create(cluster, "jane")
    assert create(cluster, "jane")["id"] == made["id"]
    assert create(cluster, "joe")["url"] != made["url"]
    eventually((data / "jane").is_dir)
    (data / "jane" / "hello").write_text("hello jane")
    assert eventually(lambda: served(made["url"] + "hello")) == "hello jane"
    found = cluster.call("/list")[1]
    assert (found["total"], {row["user_id"] for row in found["containers"]}) == (2, {"jane", "joe"})
    assert counts(cluster)[1] == 2
    remove(cluster, "jane")
    assert served(made["url"] + "hello") is None
    assert (data / "jane" / "hello").read_text() == "hello jane"
    again = create(cluster, "jane")
    assert again["id"] != made["id"]
    assert eventually(lambda: served(again["url"] + "hello")) == "hello jane"
    assert cluster.call("/v1/workspaces/cleanup", {})[1]["removed"] == [made["id"]]
    eventually(lambda: cluster.call(f"/v1/deployments/{made['id']}")[0] == 404, 60)
    assert counts(cluster)[1] == 2


def test_counts_are_of_all_workers_and_outlive_them(cluster):
    cluster.start_manager()
    before, _ = counts(cluster)
    for number in range(1, 31):
        cluster.call("/healthz")
        assert counts(cluster)[0] == before + number, "from whichever worker"
    old = cluster.part("worker")
    cluster.kill("worker")
    eventually(lambda: len(cluster.part("worker")) == 2 and cluster.part("worker") != old)
    for number in range(31, 61):
        cluster.call("/healthz")
        assert counts(cluster)[0] == before + number
    files = list((cluster.db.with_name(cluster.db.name + ".d") / "metrics").iterdir())
    affinity = [psutil.Process(pid).cpu_affinity() for pid in cluster.part("worker")]
    assert [len(each) for each in affinity] == [1, 1], "each worker's threads on one processor"
    kinds = {each.name.rpartition("_")[0] for each in files}
    assert len(files) <= 2 * len(kinds), "as many as workers, however many have lived"
