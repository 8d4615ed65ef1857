"""Bad input gets a sentence that names the field, and changes nothing."""

import copy
import json
import re
import socket
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import fields

from manager_api.http.frame import uploads
from manager_api.http.frame.fields import Name, Text
from manager_api.http.inventory.device_schema import Plain
from tests.builders import a_task, a_template
from tests.fakes import Manager

pytestmark = pytest.mark.contract

POSTS = (
    "/api/task/task_group", "/api/task/query", "/api/task/task_group/deploy", "/api/task/task_group/query",
    "/api/task/task_group/stop", "/v1/nodes/join", "/v1/deployments", "/v1/deployments/x/scale",
)  # fmt: skip


@pytest.fixture
def manager(fake_store, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    monkeypatch.setattr("store.kv.servers.grant", lambda *_: None)
    return Manager(fake_store)


def refused(manager, body, says, path="/api/task/task_group"):
    before = manager.store.meta().rev
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = manager.http.simulate_post(path, body=raw)
    assert answer.status_code == 400, answer.text
    assert answer.json["error"] == "Invalid request format"
    assert says in answer.json["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body: empty"),
        (b"{", "body: not JSON"),
        (b'{"name": "\xff"}', "body: not JSON"),
        (b'{"name": "\\ud800"}', "body: not JSON"),
        (b"[]", "body: not a JSON object"),
        (b"null", "body: not a JSON object"),
        (b'{"name": NaN}', "body: not JSON"),
        (b"[" * 100_000, "body: not JSON"),
        (b'{"name": "' + b"x" * (10 << 20) + b'"}', "at most 4194304 are taken"),
    ],
    ids=["empty", "malformed", "latin", "surrogate", "list", "null", "nan", "deep", "10MB"],
)
def test_bodies_that_are_none(manager, path, body, says):
    refused(manager, body, says, path)


TASK = "task_groups.0.tasks.0"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "name: Missing data"),
        ({"name": "x"}, "task_groups: Missing data"),
        (a_template(name=""), "name: empty"),
        (a_template(name="a\x00b"), "name: holds a control character"),
        (a_template(name="a\nb"), "name: holds a control character"),
        (a_template(name="x" * 201), "name: 201 characters, at most 200"),
        (a_template(name=5), "name: not a text"),
        ({"name": "x", "task_groups": []}, "task_groups: empty"),
        ({"name": "x", "task_groups": {}}, "task_groups: Not a valid list"),
        ({"name": "x", "task_groups": [{"tasks": []}]}, "task_groups.0.tasks: empty"),
        ({"name": "x", "task_groups": ["a"]}, "task_groups.0: Invalid"),
        (a_template(color="red"), "task_groups.0.color: Unknown field"),
        (a_template(a_task("a"), a_task("a")), "task_groups.0.tasks.1.name: 'a' is taken by task_groups.0.tasks.0"),
        (a_template(count=0), "task_groups.0.count: not a whole number from 1"),
        (a_template(count=True), "task_groups.0.count: not a whole number"),
        (a_template(a_task(command="")), f"{TASK}.config.command: names nothing to run"),
        (a_template(a_task(command=[])), f"{TASK}.config.command: names nothing to run"),
        (a_template(a_task(command=5)), f"{TASK}.config.command: not a text"),
        (a_template(a_task(command=["a", 5])), f"{TASK}.config.command: not a text"),
        (a_template(a_task(command="a\x00")), f"{TASK}.config.command: holds NUL"),
        (a_template(a_task(command="'a")), f"{TASK}.config.command: cannot be split"),
        (a_template(a_task(command="host:")), f"{TASK}.config.command: names nothing to run"),
        (a_template(a_task(command="x" * 200_000)), f"{TASK}.config.command: longer than"),
        (a_template(a_task(command="h:/x", config={"node": "other"})), f"{TASK}.config.node: command says h, node says other"),
        (a_template(a_task(command="/x ${param.user}")), f"{TASK}.config.command: ${{param.user}} is not known: the template declares none"),
        (a_template(a_task(config={"args": "x"})), f"{TASK}.config.args: Not a valid list"),
        (a_template(a_task(config={"env": {"A=B": "x"}})), f"{TASK}.config.env.A=B: not a name"),
        (a_template(a_task(config={"env": {"A": None}})), f"{TASK}.config.env.A: not a text"),
        (a_template(a_task(config={"env": {"A": {"secret": "x"}}})), f"{TASK}.config.env.A: secrets are not offered"),
        (a_template(a_task(config={"cwd": "x"})), f"{TASK}.config.cwd: not an absolute path"),
        (a_template(a_task(config={"user": "a b"})), f"{TASK}.config.user: not a user"),
        (a_template(a_task(config={"driver": "vm"})), f"{TASK}.config.driver: not one of process, container"),
        (a_template(a_task(config={"driver": "container"})), f"{TASK}.config.image: a container needs one"),
        (a_template(a_task(config={"image": "redis"})), f"{TASK}.config.image: goes with driver: container"),
        (a_template(a_task(config={"driver": "container", "image": "i"}, hooks={"post_stop": "x"})), f"{TASK}.hooks: are for driver: process"),
        (a_template({"name": "x", "config": {}}), f"{TASK}.config.command: Missing data"),
        (a_template(a_task(config={"driver": "container", "image": "-v/:/x"})), f"{TASK}.config.image: not an image"),
        (a_template(a_task(config={"driver": "container", "image": "i", "mounts": ["a:b"]})), "not a mount such as"),
        (a_template(a_task(config={"driver": "container", "image": "i", "ports": ["0:1"]})), "not a port such as"),
        (a_template(a_task(config={"driver": "container", "image": "i", "network": "--x"})), "not a network such as"),
        (a_template(a_task(config={"umask": 22})), f"{TASK}.config.umask: not a mask such as"),
        (a_template(a_task(config={"umask": "0999"})), f"{TASK}.config.umask: not a mask such as"),
        (a_template(a_task(restart={"delay": "1"})), f"{TASK}.restart.delay: not a duration"),
        (a_template(a_task(restart={"condition": "maybe"})), f"{TASK}.restart.condition: not one of"),
        (a_template(a_task(stop={"signal": "SIGKILL"})), f"{TASK}.stop.signal: not a signal"),
        (a_template(a_task(stop={"signal": ["x"]})), f"{TASK}.stop.signal: not a signal"),
        (a_template(a_task(ulimits={"files": 5})), f"{TASK}.ulimits.files: not one of"),
        (a_template(a_task(ulimits={"nofile": "5"})), f"{TASK}.ulimits.nofile: not a whole number"),
        (a_template(a_task(healthcheck={"http": "x"})), f"{TASK}.healthcheck.http: not a URL such as"),
        (a_template(a_task(healthcheck={"http": "http://a:99999/"})), f"{TASK}.healthcheck.http:"),
        (a_template(a_task(healthcheck={"http": "file:///etc/passwd"})), f"{TASK}.healthcheck.http: not a URL"),
        (a_template(a_task(healthcheck={"tcp": "x"})), f"{TASK}.healthcheck.tcp: not host:port"),
        (a_template(a_task(healthcheck={"tcp": 0})), f"{TASK}.healthcheck.tcp: not host:port"),
        (a_template(a_task(healthcheck={})), f"{TASK}.healthcheck: exactly one of http, tcp, exec"),
        (a_template(a_task(healthcheck={"tcp": 80, "http": "http://x/"})), f"{TASK}.healthcheck: exactly one of"),
        (a_template(a_task(healthcheck={"tcp": 80, "body": "x"})), f"{TASK}.healthcheck.body: goes with http only"),
        (a_template(a_task(healthcheck={"tcp": 80, "interval": "0s"})), f"{TASK}.healthcheck.interval: shorter than 100ms"),
        (a_template(a_task(healthcheck={"tcp": 80, "retries": 0})), f"{TASK}.healthcheck.retries: not a whole number from 1"),
        (a_template(a_task(healthcheck={"tcp": 80, "on_failure": "panic"})), f"{TASK}.healthcheck.on_failure: not one of restart, report"),
        (a_template(a_task(healthcheck={"http": "http://x/", "status": "99"})), f"{TASK}.healthcheck.status: not a status"),
        (a_template(a_task(healthcheck={"test": ["NONE"]})), '.healthcheck.test: not ["CMD"'),
        (a_template(a_task(healthcheck={"test": ["CMD"]})), '.healthcheck.test: not ["CMD"'),
        (a_template(a_task(healthcheck={"exec": []})), f"{TASK}.healthcheck.exec: names nothing"),
        (a_template(a_task(resources={"limits": {"memory": "10K"}})), f"{TASK}.resources.limits.memory: less than 1M"),
        (a_template(a_task(resources={"limits": {"cpus": 0}})), f"{TASK}.resources.limits.cpus: less than 0.01"),
        (a_template(a_task(resources={"limits": {"pids": 0}})), f"{TASK}.resources.limits.pids: not a whole number from 1"),
        (a_template(a_task(resources={"limits": {"gpus": 1}})), f"{TASK}.resources.limits.gpus: Unknown field"),
        (a_template(a_task(resources={"limits": {"memory": "1M"}, "reservations": {"memory": "2M"}})), "reservations.memory: more than its limit"),
        (a_template(a_task(logs={"max_size": 5})), f"{TASK}.logs.max_size: less than 64K"),
        (a_template(a_task(logs={"max_files": -1})), f"{TASK}.logs.max_files: not a whole number"),
        (a_template(a_task(duration="0s")), f"{TASK}.duration: 0 is not long enough"),
        (a_template(a_task(hooks={"pre_start": "'"})), f"{TASK}.hooks.pre_start: cannot be split"),
        (a_template(a_task(hooks={"pre_stop": "x"})), f"{TASK}.hooks.pre_stop: Unknown field"),
        (a_template(a_task(resources={"reservations": {"memory": "x"}})), f"{TASK}.resources.reservations.memory: not a size"),
        (a_template(a_task(resources={"reservations": {"memory": "9" * 400 + "M"}})), "memory: a number beyond all measure"),
        (a_template(a_task(config={"user": "4294967295"})), f"{TASK}.config.user: users and groups have numbers up to"),
        (a_template(a_task(deploy={"replicas": 2})), f"{TASK}.deploy: only `resources`"),
        (a_template(a_task(secrets=[])), f"{TASK}.secrets: not offered"),
        (a_template(a_task("a", depends_on={"b": "started"})), "depends on 'b', which is not in its group"),
        (a_template(a_task("a", depends_on=["b"]), a_task("b", depends_on=["a"])), "tasks a, b depend on each other in a circle"),
        (a_template(a_task("a", depends_on={"a": "started"})), "in a circle"),
        (a_template(a_task("a", "n1:/x"), a_task("b", "n2:/x", depends_on=["a"])), "which is pinned to another node"),
        (a_template(a_task("a", depends_on={"b": "healthy"}), a_task("b")), "'b' to be healthy, which has no healthcheck"),
        (a_template(a_task("a", depends_on={"b": {"condition": "x"}}), a_task("b")), "depends_on.b: not one of"),
        (a_template(*(a_task(f"t{n}") for n in range(10_000))), "task_groups: 10000 tasks in all, at most 1000"),
        (a_template(a_task("a", "n1:/x"), a_task("b", "n2:/x"), count=12_000), "24000 allocations in all, at most 20000"),
        (a_template(a_task(), count=20_001), "count: not a whole number from 1 to 20000"),
    ],
)  # fmt: skip
def test_templates_that_are_none(manager, body, says):
    refused(manager, body, says)


@pytest.mark.parametrize(
    "body",
    [
        a_template(name="清洗 🚀"),
        a_template(a_task("🚀", command=["printf", "line\nline", "🚀"])),
        a_template(a_task(config={"env": {"A": "line\nline", "N": 5, "F": 1.5}})),
        a_template(
            a_task(
                user="1000:1000", deploy={"resources": {"reservations": {"memory": "512M", "cpus": "0.5"}}}
            )
        ),
        a_template(a_task(ulimits={"nofile": 65536, "nproc": {"soft": 10, "hard": 20}, "core": -1})),
        a_template(*(a_task(f"t{n}") for n in range(1000))),
        a_template(a_task(command="[fd00::1]:/x")),
    ],
)
def test_what_looks_odd_and_is_fine(manager, body):
    answer = manager.post("/api/task/task_group", body)
    assert answer.status_code == 200, answer.text
    stored = manager.post("/api/task/query", {"name": body["name"]}).json
    assert len(stored["task_groups"][0]["tasks"]) == len(body["task_groups"][0]["tasks"])


def test_compose_s_forms_are_stored_in_ours(manager):
    task = a_task(user="1000:1000", deploy={"resources": {"reservations": {"memory": "512M", "cpus": "0.5"}}})
    manager.post("/api/task/task_group", a_template(task))
    (stored,) = manager.post("/api/task/query", {"name": "etl"}).json["task_groups"][0]["tasks"]
    assert stored == {
        "name": "main", "config": {"command": "/bin/true", "user": "1000:1000"},
        "resources": {"reservations": {"memory": "512M", "cpus": "0.5"}},
    }  # fmt: skip


FULL = a_template(
    a_task("a", "web-1:/bin/sleep 5", config={"args": ["x"], "env": {"A": "b"}, "cwd": "/", "user": "1:1", "driver": "process"},
           resources={"reservations": {"memory": "1M", "cpus": 0.1}}, ulimits={"nofile": 5},
           restart={"condition": "always", "delay": "1s", "factor": 2, "max_delay": "5s", "max_attempts": 3, "window": "1m"},
           stop={"signal": "SIGINT", "timeout": "1s"}, fetch=True, fetch_timeout="5m",
           artifacts=["a", {"source": "sftp://h/b", "sha256": "0" * 64, "to": "c/d", "mode": "0600", "owner": "1:1", "fingerprint": "SHA256:" + "a" * 43},
                      {"source": "http://h/z.zip", "extract": True, "to": "z"}]),
    a_task("b", depends_on={"a": "started"}), count=2)  # fmt: skip
FLEET = {
    "name": "fleet", "ttl": "8h", "priority": 60, "preempt": True,
    "parameters": {"x": {"required": True, "pattern": "[a-z]+", "enum": ["a", "b"], "description": "d"}, "n": {"type": "int", "min": 1, "max": 5, "default": 2}},
    "task_groups": [
        {"name": "db", "count": 3, "tasks": [a_task("server", "x ${port.sql}", ports={"sql": 0}, healthcheck={"tcp": "${port.sql}"})],
         "placement": {"node": None, "group": "g", "labels": {"zone": "${param.x}", "rack": ["a", "b"]}, "spread": "rack", "strategy": "binpack", "max_replicas_per_node": 1},
         "reschedule": {"after": "2m"}, "on_disconnect": {"stop_after": "30s"}, "duplicates": "never",
         "update": {"max_parallel": 2, "min_healthy": "1s", "healthy_deadline": "1m", "canary": 1, "auto_promote": True, "auto_revert": False}},
        {"name": "web", "count": "all", "tasks": [
            a_task("site", "x ${param.n} ${addr.db.server.sql}", depends_on={"db.server": "2 healthy"}, ports={"http": 8080}, config={"env": {"A": "${param.x}"}},
                   artifacts=[{"source": "${param.x}/${node.id}", "to": "${param.x}"}]),
            a_task("other", depends_on=["2 of db healthy", "site"])]}],
}  # fmt: skip

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=20), st.just([]), st.just({}), st.just("\x00"),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(string.ascii_letters, max_size=5), st.none(), max_size=2),
)  # fmt: skip


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


@st.composite
def mutated(draw):
    """A valid template with one to three places replaced, removed, doubled or added to."""
    body = copy.deepcopy(draw(st.sampled_from([FULL, FLEET])))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(body) if path] or [("name",)]))
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(["replace", "remove", "double", "add"]))
        if change == "remove":
            parent.pop(path[-1], None) if isinstance(parent, dict) else parent.pop(path[-1])
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        elif change == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(ODD)
        else:
            parent[path[-1]] = draw(ODD)
    return body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=mutated(), path=st.sampled_from(POSTS))
def test_mutations_of_valid_templates_never_break_anything(manager, body, path):
    before = manager.store.meta().rev
    try:
        raw = json.dumps(body).encode()
    except ValueError:
        return
    answer = manager.http.simulate_post(path, body=raw)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json["error"]
        assert answer.json["detail"]
        assert manager.store.meta().rev == before
    elif path == POSTS[0]:
        found = manager.post("/api/task/query", {"name": body["name"]})
        assert found.status_code == 200
        again = manager.post("/api/task/task_group", found.json)
        assert again.json.get("version") == found.json["version"], "canonical already"


@pytest.mark.parametrize("body", [FULL, FLEET])
def test_what_is_mutated_is_valid_itself(manager, body):
    assert manager.post("/api/task/task_group", body).status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet=st.characters(codec="utf-8"), min_size=1),
    path=st.sampled_from(["/deployments/", "/v1/deployments/", "/", "/v1/"]),
)
def test_paths_of_any_text_are_answered_and_change_nothing(manager, text, path):
    from urllib.parse import quote

    before = manager.store.meta().rev
    answer = manager.http.simulate_get(path + quote(text, safe=""))
    assert answer.status_code in (200, 404, 405), answer.text  # 405: paths that are for POST only
    if answer.status_code != 200:
        assert answer.json["error"]
        assert answer.json["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "template: Missing data"),
        ({"template": "etl", "color": 1}, "color: Unknown field"),
        ({"template": "etl", "version": 0}, "version: not a whole number from 1"),
        ({"template": "etl", "version": "1"}, "version: not a whole number"),
        ({"template": "etl", "name": "a b"}, "name: not a name: 1 to 63 of"),
        ({"template": "etl", "name": "x" * 64}, "name: not a name"),
        ({"template": "etl", "name": "web\n"}, "name: not a name"),
        ({"template": "etl", "name": ""}, "name: not a name"),
        ({"template": "etl", "parameters": []}, "parameters: not an object"),
        ({"template": "etl", "parameters": {"a": None}}, "parameters.a: not a text"),
        ({"template": "etl", "parameters": {"a": ["x"]}}, "parameters.a: not a text"),
        ({"template": "etl", "parameters": {str(n): "x" for n in range(201)}}, "parameters: 201 of them, at most 200"),
        ({"template": "etl", "parameters": {"a": "x"}}, "parameters: parameter 'a' is not known"),
        ({"template": "etl", "ttl": 5}, "ttl: not a duration"),
        ({"template": "etl", "ttl": "10ms"}, "ttl: shorter than 1s"),
        ({"template": "etl", "ttl": "99999d"}, "ttl: longer than ten years"),
        ({"template": "etl", "wait": 1}, "wait: neither true nor false"),
        ({"template": "etl", "scale": {}}, "scale: not an object of groups and numbers"),
        ({"template": "etl", "scale": {"group-0": -1}}, "scale.group-0: not a whole number from 0"),
        ({"template": "etl", "scale": {"web": 1}}, "groups.web: there is no such group; there are group-0"),
    ],
)  # fmt: skip
def test_deployments_that_are_none(manager, body, says):
    manager.post("/api/task/task_group", a_template())
    refused(manager, body, says, "/v1/deployments")


@pytest.mark.parametrize(
    ("call", "body", "says"),
    [
        ("scale", {}, "groups: Missing data"),
        ("scale", {"groups": {}}, "groups: not an object of groups"),
        ("scale", {"groups": {"web": 1.5}}, "groups.web: not a whole number"),
        ("scale", {"groups": {str(n): 1 for n in range(201)}}, "groups: 201 groups, at most 200"),
        ("scale", {"web": 5}, "web: Unknown field"),
        ("scale", {"groups": {"web": 1}, "confirm": "yes"}, "confirm: neither true nor false"),
        ("stop", {"confirm": 1}, "confirm: neither true nor false"),
        ("restart", {"force": True}, "force: Unknown field"),
        ("update", {"version": 0}, "version: not a whole number"),
        ("update", {"template": "x"}, "template: Unknown field"),
        ("update", {"parameters": {"a": {}}}, "parameters.a: not a text"),
        ("rollback", {"version": "last"}, "version: not a whole number"),
        ("promote", {"confirm": True}, "confirm: Unknown field"),
        ("pause", {"for": "5m"}, "for: Unknown field"),
        ("resume", {"x": 1}, "x: Unknown field"),
    ],
)
def test_changes_that_are_none(manager, call, body, says):
    manager.post("/api/task/task_group", a_template())
    found = manager.post("/v1/deployments", {"template": "etl"}).json["id"]
    refused(manager, body, says, f"/v1/deployments/{found}/{call}")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("dry_run=maybe", "dry_run: 'maybe' is neither true nor false"),
        ("dryrun=1", "dryrun: unknown; there is dry_run"),
        ("dry_run=1&dry_run=0", "dry_run: given more than once"),
    ],
)
def test_dry_runs_that_are_none(manager, question, says):
    manager.post("/api/task/task_group", a_template())
    before = manager.store.meta().rev
    answer = manager.http.simulate_post("/v1/deployments", query_string=question, json={"template": "etl"})
    assert answer.status_code == 400
    assert says in answer.json["detail"]
    assert manager.store.meta().rev == before


def test_parameters_beyond_what_one_record_holds_are_refused(manager):
    from manager_api.http.templates import templates

    body = {**a_template(), "parameters": {f"p{n}": {} for n in range(20)}}
    templates.save(manager.store, body)
    huge = {"template": "etl", "parameters": {f"p{n}": "x" * 100_000 for n in range(20)}}
    before = manager.store.meta().rev
    answer = manager.post("/v1/deployments", huge)
    assert answer.status_code == 400, answer.text
    assert manager.store.meta().rev == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/devices", {"ids": [0] * 200_000}),
        ("PUT", "/v1/memberships", {"device_id": "1234567890", "group_ids": [0] * 200_000}),
        ("POST", "/v1/devices", {"nic": [{}] * 200_000}),
        ("POST", "/v1/devices", {"hardware": {"disks": [{}] * 200_000}}),
        (
            "POST",
            "/v1/nodes/join",
            {"id": "n", "uid": "u", "hostname": "h", "version": "1", "features": [0] * 200_000},
        ),
        ("POST", "/v1/templates", {"task_groups": [{"tasks": [{"name": "t", "artifacts": [{}] * 200_000}]}]}),
        (
            "POST",
            "/v1/templates",
            {"task_groups": [{"tasks": [{"name": "t", "config": {"args": [0] * 200_000}}]}]},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_list_that_is_too_long_is_not_looked_through(manager, monkeypatch, method, path, body):
    looked = []
    for kind in (Name, Plain, Text, fields.Nested):
        monkeypatch.setattr(kind, "_read" if kind is not fields.Nested else "_load", _counted(kind, looked))
    answer = manager.http.simulate_request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    assert re.search("200000 (in all|artifacts), at most ", answer.text), answer.text
    assert len(looked) < 1000


def _counted(kind, looked):
    name = "_load" if kind is fields.Nested else "_read"
    real = getattr(kind, name)

    def call(self, value, *args, **kwargs):
        looked.append(kind)
        return real(self, value, *args, **kwargs)

    return call


def test_a_body_that_never_comes_is_not_waited_for(manager, monkeypatch):
    here, there = socket.socketpair()
    monkeypatch.setattr(uploads, "SILENT_AT_MOST", 0.05)
    with here, there, here.makefile("rb") as stream:
        answer = manager.http.simulate_post(
            "/v1/devices",
            headers={"Content-Length": "100"},
            extras={"gunicorn.socket": here, "wsgi.input": stream},
        )
        assert (answer.status_code, "broke off" in answer.text) == (400, True), answer.text
        assert here.gettimeout() is None, "who reads slowly is waited for"
