"""Wishes for placing, changing, waiting and filling in that cannot come true are refused when they are sent."""

import pytest

from manager_api.http.templates import schemas
from tests.builders import a_task, a_template
from tests.fakes import Manager

pytestmark = pytest.mark.contract

GROUP, TASK = "task_groups.0", "task_groups.0.tasks.0"
CHECKED = {"healthcheck": {"tcp": "127.0.0.1:80"}}


@pytest.fixture
def manager(fake_store):
    return Manager(fake_store)


def refused(manager, body, says):
    before = manager.store.meta().rev
    answer = manager.post("/api/task/task_group", body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json["detail"]
    assert manager.store.meta().rev == before


def two(*tasks, count=1, db=None, **more):
    """A group `web` of these tasks, and a group `db` with tasks `server` (with a check) and `copy`."""
    own = a_template(*tasks, name="etl", **more)["task_groups"][0]
    server = a_task("server", ports={"sql": 5432}, **CHECKED)
    other = {"name": "db", "count": count, "tasks": [server, a_task("copy")], **(db or {})}
    return {"name": "etl", "task_groups": [{"name": "web", **own}, other]}


def waits(depends_on, **more):
    return two(a_task("a", depends_on=depends_on), **more)


def of_parameter(rule, name="x"):
    return {**a_template(), "parameters": {name: rule}}


def says(text, **more):
    return a_template(a_task(command=["x", text], **more))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (a_template(count="some"), f'{GROUP}.count: not a whole number from 1 to 20000, nor "all"'),
        (a_template(placement="web-1"), f"{GROUP}.placement: Invalid"),
        (a_template(placement={"color": "red"}), f"{GROUP}.placement.color: Unknown field"),
        (a_template(placement={"node": 5}), f"{GROUP}.placement.node: not a text"),
        (a_template(placement={"strategy": "pile"}), f"{GROUP}.placement.strategy: not one of spread, binpack"),
        (a_template(placement={"labels": ["a"]}), f"{GROUP}.placement.labels: not an object"),
        (a_template(placement={"labels": {"a": []}}), f"{GROUP}.placement.labels.a: not 1 to 100 values"),
        (a_template(placement={"labels": {"a": None}}), f"{GROUP}.placement.labels.a: not a text"),
        (a_template(placement={"labels": {"": "x"}}), f"{GROUP}.placement.labels.: a label needs a name"),
        (a_template(placement={"max_replicas_per_node": 0}), "max_replicas_per_node: not a whole number from 1"),
        (a_template(placement={"node": "n", "max_replicas_per_node": 1}, count=2), "1, and 2 are wanted on the one node n"),
        (a_template(a_task(command="n1:/x"), placement={"node": "n2"}), f"{GROUP}.placement.node: n2, and task 'main' is pinned to n1"),
        (a_template(placement={"node": "${node.id}"}), f"{GROUP}.placement.node: ${{node.id}} is not known here, only ${{param.NAME}} is"),
        (a_template(placement={"labels": {"zone": ["a", "${param.z}"]}}), "placement.labels.zone.1: ${param.z} is not known"),
        (a_template(a_task(command="n1:/x"), count="all"), f"{GROUP}.count: \"all\" is one on each node, and task 'main' is pinned to n1"),
        (a_template(reschedule="soon"), f'{GROUP}.reschedule: neither "never" nor {{"after": a duration}}'),
        (a_template(reschedule={}), f"{GROUP}.reschedule: neither"),
        (a_template(reschedule={"after": "5"}), f"{GROUP}.reschedule.after: not a duration"),
        (a_template(on_disconnect="stop"), f'{GROUP}.on_disconnect: neither "keep" nor {{"stop_after"'),
        (a_template(on_disconnect={"stop_after": None}), f"{GROUP}.on_disconnect.stop_after: not a duration"),
        (a_template(duplicates="maybe"), f"{GROUP}.duplicates: not one of allow, never"),
        (a_template(duplicates="never"), f"{GROUP}.duplicates: never: needs on_disconnect"),
        (a_template(duplicates="never", on_disconnect={"stop_after": "10s"}, reschedule={"after": "35s"}), "reschedule.after (35s) must be longer than 35s"),
        (a_template(duplicates="never", on_disconnect={"stop_after": "10s"}), "reschedule.after (30s) must be longer than 35s"),
        (a_template(a_task("a"), a_task("b", stop={"timeout": "1m"}), duplicates="never", on_disconnect={"stop_after": "5s"}, reschedule={"after": "80s"}), "the longest stop.timeout (60s)"),
        (a_template(update={"max_parallel": 0}), f"{GROUP}.update.max_parallel: not a whole number from 1"),
        (a_template(update={"auto_revert": "yes"}), f"{GROUP}.update.auto_revert: neither true nor false"),
        (a_template(update={"canary": 2}), f"{GROUP}.update.canary: 2 is more than the count, 1"),
        (a_template(update={"canary": 1}, count="all"), f'{GROUP}.update.canary: does not go with count "all"'),
        (a_template(update={"min_healthy": "10m"}), f"{GROUP}.update.healthy_deadline: 300s, and must be longer than min_healthy (600s)"),
        (a_template(update={"healthy_deadline": "0s"}), f"{GROUP}.update.healthy_deadline: 0 is not long enough"),
        (a_template(priority=5), f"{GROUP}.priority: Unknown field"),
        ({**a_template(), "priority": 0}, "priority: not a whole number from 1 to 100"),
        ({**a_template(), "preempt": 1}, "preempt: neither true nor false"),
        ({**a_template(), "ttl": "0s"}, "ttl: 0 is not long enough"),
        ({**a_template(), "ttl": 5}, "ttl: not a duration"),
    ],
)  # fmt: skip
def test_groups(manager, body, sentence):
    refused(manager, body, sentence)


PINNED = {"placement": {"node": "n"}}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (a_template(a_task(ports=[80])), f"{TASK}.ports: not an object"),
        (a_template(a_task(ports={"a b": 80})), f"{TASK}.ports.a b: not a name of 1 to 63"),
        (a_template(a_task(ports={"x" * 64: 80})), "not a name of 1 to 63"),
        (a_template(a_task(ports={"a": 65536})), f"{TASK}.ports.a: not a port from 1 to 65535"),
        (a_template(a_task(ports={"a": -1})), f"{TASK}.ports.a: not a port"),
        (a_template(a_task(ports={"a": True})), f"{TASK}.ports.a: not a port"),
        (a_template(a_task(ports={"a-b": 0, "A_B": 0})), f"{TASK}.ports.A_B: 'a-b' would be MUSTER_PORT_A_B as well"),
        (a_template(a_task(ports={"a": 80, "b": 80})), f"{TASK}.ports: one number stands under two names"),
        (a_template(a_task("a", ports={"x": 80}), a_task("b", ports={"y": 80})), "task_groups.0.tasks.1.ports.y: 80 is taken by task 'a'"),
        (a_template(a_task(ports={"a": 80}), count=2, **PINNED), f"{GROUP}.count: 2 are wanted on the one node n, where port 80 is but once"),
        (a_template(a_task(command="n:/x", ports={"a": 80}), count=2), f"{GROUP}.count: 2 are wanted on the one node n"),
        (a_template(a_task(ports={"a": 80}), update={"canary": 1}, **PINNED), f"{GROUP}.update.canary: would need port 80 beside the old one"),
        (says("${port.http}"), f"{TASK}.config.command.1: ${{port.http}} is not known: neither the task nor one beside it"),
        (a_template(a_task(config={"env": {"P": "${port.x}"}})), f"{TASK}.config.env.P: ${{port.x}} is not known"),
        (a_template(a_task(healthcheck={"http": "http://h:${port.x}/"})), f"{TASK}.healthcheck.http: ${{port.x}} is not known"),
        (a_template(a_task(healthcheck={"tcp": "${port.x}"})), f"{TASK}.healthcheck.tcp: ${{port.x}} is not known"),
        (a_template(a_task(healthcheck={"tcp": "h:${node.id}"})), f"{TASK}.healthcheck.tcp: not host:port"),
        (a_template(a_task(config={"driver": "container", "image": "i", "ports": ["${port.x}:80"]})), f"{TASK}.config.ports.0: ${{port.x}} is not known"),
        (a_template(a_task("a", command="x ${port.x}"), a_task("b", ports={"x": 0}), a_task("c", ports={"x": 0})), "${port.x} is not clear: b, c have a port of that name"),
        (a_template(a_task("a", command="n1:/x ${port.x}"), a_task("b", command="n2:/x", ports={"x": 0})), "${port.x} is not known"),
    ],
)  # fmt: skip
def test_ports(manager, body, sentence):
    refused(manager, body, sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (waits({"nobody": "started"}), f"{TASK}.depends_on: task 'a' depends on 'nobody', which is not in its group, nor is there"),
        (waits({"server": "started"}), "which is not in its group; db.server is meant?"),
        (waits({"db.nobody": "started"}), "depends on 'db.nobody', which is not in its group"),
        (waits({"web": "started"}), "depends on 'web', its own group"),
        (waits({"web.a": "started"}), "depends on 'web.a', its own group"),
        (waits({"db": "healthy"}), "'db' to be healthy, and 'copy' has no healthcheck; db.TASK waits for one"),
        (waits({"db.copy": "healthy"}), "'db.copy' to be healthy, and 'copy' has no healthcheck"),
        (waits({"db.server": "4 healthy"}, count=3), "waits for 4 of 'db.server', of which there are 3"),
        (waits(["2 of db"]), "waits for 2 of 'db', of which there are 1"),
        (waits({"db": "0 healthy"}), f"{TASK}.depends_on.db: not one of started, healthy, completed, nor a number"),
        (waits({"db": "2 of healthy"}), f"{TASK}.depends_on.db: not one of"),
        (waits({"db": 2}), f"{TASK}.depends_on.db: not one of"),
        (waits(["0 of db healthy"]), "'0 of db healthy' is not a dependency such as"),
        (waits([""]), "'' is not a dependency such as"),
        (waits(["db", "db started"]), f"{TASK}.depends_on: 'db' is named twice"),
        (waits("db"), f"{TASK}.depends_on: neither a list of task names nor an object"),
        (two(a_task("a", depends_on={"b": "2 started"}), a_task("b")), "depends on 2 of 'b', which is in its own group, once"),
        (waits({"db": "started"}, db={"tasks": [a_task("server", depends_on={"web.a": "started"}), a_task("c", depends_on=["server"])]}), "task_groups: tasks a, c, server depend on each other in a circle"),
        (two(a_task("a", depends_on={"db.server": "started"}), a_task("z", depends_on=["a"]), db={"tasks": [a_task("server", depends_on={"web.a": "started"})]}), "task_groups: tasks a, server depend on each other in a circle"),
        (two(a_task(command="x ${addr.db.server.sql}")), f"{TASK}.config.command: ${{addr.db.server.sql}} is not known: it needs a dependency in depends_on, which has none in another group"),
        (two(a_task(command="x ${addr.db.copy}", depends_on=["db.server"])), "depends_on, which has db.server"),
        (two(a_task(command="x ${addr.db.server.web}", depends_on=["db.server"])), "${addr.db.server.web} is not known: db.server has no port 'web'"),
        (two(a_task(command="x ${addr.db.sql}", depends_on=["db"]), db={"tasks": [a_task("b", ports={"sql": 1}), a_task("c", ports={"sql": 2})]}), "${addr.db.sql} is not clear: b, c have"),
    ],
)  # fmt: skip
def test_dependencies(manager, body, sentence):
    refused(manager, body, sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({**a_template(), "parameters": ["x"]}, "parameters: not an object"),
        ({**a_template(), "parameters": {f"p{n}": {} for n in range(101)}}, "parameters: 101 parameters, at most 100"),
        (of_parameter({}, "a b"), "parameters.a b: not a name of 1 to 63"),
        (of_parameter({}, "a.b"), "parameters.a.b: not a name of 1 to 63"),
        (of_parameter("x"), "parameters.x: not an object"),
        (of_parameter({"secret": True}), "parameters.x.secret: Unknown field"),
        (of_parameter({"required": "yes"}), "parameters.x.required: neither true nor false"),
        (of_parameter({"pattern": "("}), "parameters.x: pattern: not a regular expression"),
        (of_parameter({"pattern": "a" * 501}), "parameters.x: pattern: longer than 500 characters"),
        (of_parameter({"pattern": 5}), "parameters.x.pattern: not a text"),
        (of_parameter({"type": "float"}), "parameters.x.type: not one of string, int, number, bool"),
        (of_parameter({"type": "int", "default": "x"}), "parameters.x: default: not a whole number"),
        (of_parameter({"pattern": "a+", "default": "b"}), "parameters.x: default: does not match a+"),
        (of_parameter({"pattern": "a+", "enum": ["aa", "b"]}), "parameters.x: enum: does not match a+"),
        (of_parameter({"enum": []}), "parameters.x.enum: not a list of 1 to 100 values"),
        (of_parameter({"enum": ["a"], "default": "b"}), "parameters.x: default: not one of a"),
        (of_parameter({"required": True, "default": "a"}), "parameters.x: required, and with a default"),
        (of_parameter({"min": 1}), "parameters.x: min and max go with type int and number"),
        (of_parameter({"type": "int", "min": 2, "max": 1}), "parameters.x: min is more than max"),
        (of_parameter({"default": "\x00"}), "parameters.x.default: holds NUL"),
        (of_parameter({"default": "x" * 4097}), "parameters.x.default: 4097 characters, at most 4096"),
        ({**says("${param.y}"), "parameters": {"x": {}}}, "${param.y} is not known: declared are x"),
        (says("${job.x}"), "${job.x} is not known; known are alloc.dir"),
        (a_template(a_task(config={"user": "${param.u}"})), f"{TASK}.config.user: ${{param.u}} is not known"),
    ],
)  # fmt: skip
def test_parameters(manager, body, sentence):
    refused(manager, body, sentence)


FINE = [
    a_template(count="all", update={"max_parallel": 5}, placement={"labels": {"gpu": "true"}}),
    a_template(count=20_000),
    a_template(placement={"node": "n", "group": "edge", "labels": {"zone": ["a", "b"]}, "spread": "rack", "strategy": "binpack", "max_replicas_per_node": 2}),
    a_template(reschedule="never", on_disconnect={"stop_after": "1h"}, duplicates="never"),
    a_template(reschedule={"after": "36s"}, on_disconnect={"stop_after": "10s"}, duplicates="never"),
    a_template(reschedule={"after": "0s"}, on_disconnect="keep", duplicates="allow"),
    a_template(count=3, update={"max_parallel": 2, "min_healthy": "0s", "healthy_deadline": "1m", "canary": 1, "auto_promote": True, "auto_revert": True}),
    a_template(a_task(ports={"http": 0, "admin": 8080}, command="x ${port.http}", healthcheck={"http": "http://127.0.0.1:${port.http}/health"})),
    a_template(a_task("a", ports={"http": 0}), a_task("b", command="x ${port.http}", healthcheck={"tcp": "127.0.0.1:${port.http}"})),
    a_template(a_task("a", "n1:/x", ports={"p": 80}), a_task("b", "n2:/x", ports={"p": 80})),
    a_template(a_task(ports={"a": 80}), count=3, update={"canary": 1}, placement={"max_replicas_per_node": 2}),
    two(a_task(command="x ${addr.db.server.sql} ${addr.db.server}", depends_on={"db.server": "2 healthy"}), count=3),
    a_template(a_task(ports={"http": 0}, config={"driver": "container", "image": "i", "ports": ["127.0.0.1:${port.http}:80/tcp"]})),
    two(a_task(command="x ${addr.db.sql} ${addr.db}", depends_on={"db": "started"})),
    waits({"db.server": "200 healthy"}, db={"count": "all"}),
    {**a_template(a_task(command="${param.host}:/x ${param.a}", config={"user": "${param.a}", "cwd": "${param.b}", "env": {"A": "${param.a}"}}), placement={"node": "${param.host}", "labels": {"z": "${param.a}"}}),
     "parameters": {"a": {"required": True, "pattern": "[a-z]+"}, "b": {"default": "/tmp", "description": "where ${it} runs"}, "host": {"enum": ["n1", "n2"]}},
     "ttl": "8h", "priority": 90, "preempt": True},
    {**a_template(a_task(config={"driver": "container", "image": "app:${param.tag}", "mounts": ["/srv/${param.tag}:/data"]})), "parameters": {"tag": {"type": "number", "min": 1, "max": 9.5, "default": "1.5"}}},
]  # fmt: skip


@pytest.mark.parametrize("body", FINE)
def test_what_is_taken_comes_back_as_it_was_written_and_is_the_same_when_sent_again(manager, body):
    assert manager.post("/api/task/task_group", body).json["version"] == 1
    found = manager.post("/api/task/query", {"name": body["name"]}).json
    assert {**found, "version": None} == {**canonical(body), "version": None}
    assert manager.post("/api/task/task_group", found).json["version"] == 1


def canonical(body):
    """A pin at the start of a command is stored beside it; everything else as it was."""
    groups = []
    for group in body["task_groups"]:
        tasks = []
        for task in group["tasks"]:
            config = dict(task["config"])
            command = config.get("command", "")
            pin, colon, rest = command.partition(":/")
            if colon and " " not in pin:
                config |= {"node": pin, "command": "/" + rest}
            tasks.append({**task, "config": config})
        groups.append({**group, "tasks": tasks})
    return {**body, "task_groups": groups}


def stored(manager, body):
    assert manager.post("/api/task/task_group", body).status_code == 200
    return manager.post("/api/task/query", {"name": body["name"]}).json


def test_sentences_and_compose_s_words_are_stored_in_one_form(manager):
    task = a_task("a", depends_on=["2 of db.server healthy", "db.copy", "b completed"])
    kept = stored(manager, two(task, a_task("b"), count=2))["task_groups"][0]["tasks"][0]
    assert kept["depends_on"] == {"db.server": "2 healthy", "db.copy": "started", "b": "completed"}
    task = a_task("a", depends_on={"db.server": {"condition": "service_healthy"}})
    kept = stored(manager, two(task))["task_groups"][0]["tasks"][0]
    assert kept["depends_on"] == {"db.server": "healthy"}


def test_what_yaml_made_numbers_of_is_stored_as_texts(manager):
    body = a_template(placement={"labels": {"rack": 5, "gpu": True, "zone": ["a", 1.5]}, "node": None})
    body["parameters"] = {"x": None, "n": {"type": "int", "default": 5}, "b": {"enum": [True, "no"]}}
    kept = stored(manager, body)
    assert kept["task_groups"][0]["placement"] == {
        "labels": {"rack": "5", "gpu": "true", "zone": ["a", "1.5"]}
    }
    assert kept["parameters"] == {
        "x": {},
        "n": {"type": "int", "default": "5"},
        "b": {"enum": ["true", "no"]},
    }


def with_image(text="app:${param.tag}", **config):
    task = a_task(config={"driver": "container", "image": text, **config})
    return {**a_template(task), "parameters": {"tag": {}}}


@pytest.mark.parametrize(
    ("body", "value", "sentence"),
    [
        (with_image("${param.tag}"), "--privileged", f"{TASK}.config.image: not an image"),
        (with_image(), "a b", f"{TASK}.config.image: not an image"),
        (with_image(), "${param.tag}", f"{TASK}.config.image: ${{param.tag}} is not known"),
        (with_image(mounts=["/srv/${param.tag}:/data"]), "x:/etc", f"{TASK}.config.mounts.0: not a mount"),
        (with_image("i", ports=["${param.tag}"]), "1:2 --privileged", f"parameters: filled in: {TASK}.config.ports.0: not a port such as"),
        (with_image("i", user="${param.tag}"), "a b", f"{TASK}.config.user: not a user"),
        (with_image("i", cwd="${param.tag}"), "relative", f"{TASK}.config.cwd: not an absolute path"),
        ({**a_template(a_task(command="${param.tag}")), "parameters": {"tag": {}}}, "", f"{TASK}.config.command: names nothing to run"),
        ({**a_template(a_task(healthcheck={"http": "${param.tag}"})), "parameters": {"tag": {}}}, "file:///etc/passwd", "healthcheck.http: not a URL"),
        ({**a_template(placement={"node": "${param.tag}"}), "parameters": {"tag": {}}}, "a\nb", "placement.node: holds a control character"),
        ({**a_template(placement={"node": "${param.tag}"}), "parameters": {"tag": {}}}, "${node.id}", "placement.node: ${node.id} is not known here"),
        ({**a_template(), "parameters": {"tag": {"pattern": "[a-z]+"}}}, "A", "parameters: parameter 'tag': does not match [a-z]+"),
    ],
)  # fmt: skip
def test_a_value_that_makes_nonsense_of_a_template_is_refused(manager, body, value, sentence):
    from marshmallow import ValidationError

    from manager_api.http.frame.bodies import sentence as told

    template = stored(manager, body)
    with pytest.raises(ValidationError) as refusal:
        schemas.parameters_of(template, {"tag": value})
    assert sentence in told(refusal.value.messages)


def test_values_that_fit_are_complete(manager):
    template = stored(manager, with_image(mounts=["/srv/${param.tag}:/data"]))
    assert schemas.parameters_of(template, {"tag": 5}) == {"tag": "5"}
    assert schemas.parameters_of(a_template(), {}) == {}
