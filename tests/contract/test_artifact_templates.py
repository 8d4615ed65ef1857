"""What templates may say of files, and what is refused when it is sent; no answer repeats a password."""

import json
import logging

import pytest

from manager_api.http.templates import schemas
from store.model import parameters, spec
from tests.builders import a_task, a_template
from tests.fakes import Manager

pytestmark = pytest.mark.contract

TASK = "task_groups.0.tasks.0"
FIRST = f"{TASK}.artifacts.0"
SUM = "0123456789abcdef" * 4
KEY = "SHA256:" + "a" * 43
SECRET = "hunter2"
HELD_BACK = "a password has no place in a template"


@pytest.fixture
def manager(fake_store):
    return Manager(fake_store)


def files(*artifacts, **more):
    return a_template(a_task(artifacts=list(artifacts), **more))


def one(source="clean.tar.gz", **more):
    return files({"source": source, **more})


def open_ones(*artifacts, **declared):
    return {**files(*artifacts), "parameters": declared}


def stored(body):
    return schemas.TemplateSchema().load(body)["task_groups"][0]["tasks"][0]["artifacts"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (a_template(a_task(artifacts="clean.tar.gz")), f"{TASK}.artifacts: Not a valid list"),
        (files(5), f"{FIRST}: Invalid input type"),
        (files({}), f"{FIRST}.source: Missing data"),
        (files({"source": "a", "color": 1}), f"{FIRST}.color: Unknown field"),
        (files(*["a"] * 1001), f"{TASK}.artifacts: 1001 artifacts, at most 1000"),
        (one(5), f"{FIRST}.source: not a text"),
        (one(""), f"{FIRST}.source: empty"),
        (one("a\x00"), f"{FIRST}.source: holds NUL"),
        (one("a\nb"), f"{FIRST}.source: holds a control character"),
        (one("x" * 5000), f"{FIRST}.source: 5000 characters, at most 4096"),
        (one("ftp://h/x"), f"{FIRST}.source: ftp:// is not one of sftp, http, https, file"),
        (one("sftp:/h/x"), f"{FIRST}.source: neither a URL such as sftp://host/path/file nor a path under"),
        (one("sftp://h"), f"{FIRST}.source: not a URL such as sftp://host/path/file"),
        (one("http://h:x/y"), f"{FIRST}.source: not a URL: its host or port cannot be read"),
        (one("file://etc/x"), f"{FIRST}.source: file:// is followed by an absolute path"),
        (one("sftp://${param.p}?b"), f"{FIRST}.source: a ? or # in a path is written"),
        (one("ftp://${param.p}"), f"{FIRST}.source: ftp:// is not one of"),
        (one("sftp://h/a?b"), f"{FIRST}.source: a ? or # in a path is written %3F or %23"),
        (one("http://h/a b"), f"{FIRST}.source: a space in a URL is written %20"),
        (one("/etc/x"), f"{FIRST}.source: not a path under --sftp-host, which it must not leave"),
        (one("a/../../x"), f"{FIRST}.source: not a path under --sftp-host"),
        (one("${param.d}/../x"), f"{FIRST}.source: not a path under --sftp-host"),
        (one("./"), f"{FIRST}.source: names no file"),
        (one("${port.http}/x"), f"{FIRST}.source: ${{port.http}} is not known here"),
        (one("${task.dir}/x"), f"{FIRST}.source: ${{task.dir}} is not known here"),
        (one("${node.color}"), f"{FIRST}.source: ${{node.color}} is not known; known are"),
        (one("${param.nope}"), f"{FIRST}.source: ${{param.nope}} is not known: the template declares none"),
        (one(sha256="abc"), f"{FIRST}.sha256: not a SHA-256 digest, which has 64 hexadecimal digits"),
        (one(sha256="g" * 64), f"{FIRST}.sha256: not a SHA-256 digest"),
        (one(sha256=5), f"{FIRST}.sha256: not a text"),
        (one(sha256="${node.id}"), f"{FIRST}.sha256: not a SHA-256 digest"),
        (one(extract="yes"), f"{FIRST}.extract: neither true nor false"),
        (one(to="/etc/x"), f"{FIRST}.to: not a path inside the task's directory"),
        (one(to="../x"), f"{FIRST}.to: not a path inside the task's directory"),
        (one(to="a/.."), f"{FIRST}.to: not a path inside"),
        (one(to="a\x00"), f"{FIRST}.to: holds NUL"),
        (one(to=""), f"{FIRST}.to: empty"),
        (one(to="conf/"), f"{FIRST}.to: names a directory: say what the file is to be called in it"),
        (one(to="."), f"{FIRST}.to: names a directory"),
        (one(to="é" * 128), f"{FIRST}.to: a name of more than 255 bytes"),
        (one(to="${alloc.dir}/x"), f"{FIRST}.to: ${{alloc.dir}} is not known here"),
        (one("http://h/a%2Fb"), f"{FIRST}.to: needed: the source's own name is no file's name"),
        (one("http://h/a/.."), f"{FIRST}.to: needed"),
        (one(mode=493), f'{FIRST}.mode: a number, which YAML makes of 0755 (493): write it in quotes, "0755"'),
        (one(mode="4755"), f"{FIRST}.mode: setuid, setgid and sticky bits are not given"),
        (one(mode="rwx"), f'{FIRST}.mode: not a mode such as "0755"'),
        (one(mode=True), f"{FIRST}.mode: not a mode"),
        (one(mode="0644", extract=True), f"{FIRST}.mode: goes with a file; an archive brings its own modes"),
        (one(owner="a b"), f"{FIRST}.owner: not a user such as www-data"),
        (one("sftp://h/x", fingerprint="MD5:aa"), f"{FIRST}.fingerprint: not a fingerprint such as ssh-keygen -l prints"),
        (one("http://h/x", fingerprint=KEY), f"{FIRST}.fingerprint: goes with sftp://"),
        (one("x", fingerprint=KEY), f"{FIRST}.fingerprint: goes with sftp://"),
        (files("a/x", "b/x"), f"{TASK}.artifacts.1.to: x is where artifact 0 lands, too"),
        (files("a", {"source": "b", "to": "./a"}), f"{TASK}.artifacts.1.to: a is where artifact 0 lands, too"),
        (files({"source": "b", "to": "a//c"}, "a"), f"{TASK}.artifacts.0.to: a/c would need a, the file of artifact 1"),
        (files({"source": "z.zip", "to": "a", "extract": True}, "a"), f"{TASK}.artifacts.0.to: a would need a, the file of artifact 1"),
        (files(*[{"source": "z.zip", "extract": True}] * 2), f"{TASK}.artifacts.1.to: the same archive is unpacked there twice"),
        (files(*["${param.v}"] * 2 + [{"source": "y", "to": "${param.v}"}] * 2), f"{TASK}.artifacts.3.to: ${{param.v}} is where artifact 2 lands"),
        (a_template(a_task(fetch="yes")), f"{TASK}.fetch: neither true nor false"),
        (a_template(a_task(fetch=True, command="clean.sh")), f"{TASK}.fetch: needs a command such as /opt/apps/clean.sh, not 'clean.sh'"),
        (a_template(a_task(fetch=True, command="/opt/apps/")), f"{TASK}.fetch: needs a command such as"),
        (a_template(a_task(fetch=True, command="/opt/..")), f"{TASK}.fetch: needs a command such as"),
        (a_template(a_task(fetch=True, config={"driver": "container", "image": "i"})), f"{TASK}.fetch: goes with driver: process"),
        (a_template(a_task(fetch=True, command="/opt/clean.sh", artifacts=["apps/clean.sh"])), f"{TASK}.fetch: would fetch clean.sh to where an artifact lies"),
        (a_template(a_task(fetch=True, command="/opt/x", artifacts=[{"source": "b", "to": "x/y"}])), f"{TASK}.fetch: would fetch x to where an artifact lies"),
        (a_template(a_task(fetch_timeout="0s")), f"{TASK}.fetch_timeout: 0 is not long enough"),
        (a_template(a_task(fetch_timeout=5)), f"{TASK}.fetch_timeout: not a duration"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(manager, body, sentence):
    before = manager.store.meta().rev
    answer = manager.post("/api/task/task_group", body)
    assert answer.status_code == 400, answer.text
    assert sentence in answer.json["detail"]
    assert manager.store.meta().rev == before


@pytest.mark.parametrize(
    "source",
    [
        f"sftp://user:{SECRET}@host/x",
        f"sftp://user:{SECRET}@host",
        f"http://user:{SECRET}@host:99999999/x",
        f"sftp://user:{SECRET}#1@host/x",
        f"sftp://:{SECRET}@host/x",
        f"ftp://user:{SECRET}@host/x",
        f"://user:{SECRET}@host/x",
        f"user:{SECRET}@host/x",
        f"sftp:user:{SECRET}@host/x",
        f"sftp:/user:{SECRET}@host/../x",
        f"sftp://user:{SECRET}@${{node.id}}/x",
        f"${{param.s}}://user:{SECRET}@host/x",
        f"sftp://user:{SECRET}@host/${{color.x}}",
        f"sftp://user:{SECRET}@host/a\nb",
    ],
)
def test_no_answer_log_or_record_repeats_a_password(manager, caplog, source):
    caplog.set_level(logging.DEBUG)
    for body in (files(source), open_ones("${param.url}", url={"default": source})):
        answer = manager.post("/api/task/task_group", body)
        assert answer.status_code == 400, answer.text
        assert SECRET not in answer.text
    client = manager.store.client
    assert not [key for key in client.keys() if SECRET.encode() in repr(client.dump(key)).encode()]  # noqa: SIM118
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("${param.url}", f"sftp://user:{SECRET}@host/x"),
        ("sftp://u:${param.url}@host/x", SECRET),
        ("sftp://${param.url}@host/x", f"user:{SECRET}"),
    ],
)
def test_nor_one_that_a_deployment_brings(manager, source, given):
    body = open_ones(source, url={})
    answer = manager.post("/api/task/task_group", body)
    if answer.status_code == 200:
        answer = manager.post("/v1/deployments", {"template": "etl", "parameters": {"url": given}})
    assert answer.status_code == 400, answer.text
    assert HELD_BACK in answer.json["detail"]
    assert SECRET not in answer.text


def test_a_default_that_would_be_a_password_is_refused_where_it_stands(manager):
    answer = manager.post(
        "/api/task/task_group",
        open_ones("sftp://${param.who}@host/x", who={"enum": ["me", f"me:{SECRET}"]}),
    )
    assert answer.json["detail"].startswith(f"parameters.who: {HELD_BACK}")


def test_what_is_taken_is_kept_in_one_form_and_sparse():
    whole = {
        "source": "sftp://me@host:2222/apps/a%20b.tgz", "sha256": f"SHA256:{SUM.upper()}", "extract": True,
        "to": "lib/", "owner": "1000:1000", "fingerprint": KEY, "mode": None,
    }  # fmt: skip
    bare, found, plain = stored(files("clean.tar.gz", whole, {"source": "b", "to": "conf/x", "mode": "0600"}))
    assert bare == {"source": "clean.tar.gz"}
    assert found == {**{key: each for key, each in whole.items() if each is not None}, "sha256": SUM}
    assert plain == {"source": "b", "to": "conf/x", "mode": "0600"}


@pytest.mark.parametrize(
    "artifacts",
    [
        [{"source": "a.tgz", "extract": True}, {"source": "b.tgz", "extract": True}, "conf"],
        [{"source": "a.tgz", "extract": True, "to": "x"}, {"source": "y", "to": "x/y"}],
        ["${node.id}/x", "${alloc.index}-${param.p}"],
        ["file:///srv/x", "https://h/p?q=a:b@c", "http://[::1]:80/z", "sftp://[fd00::1]/w"],
        [{"source": "http://h/", "to": "x"}, "a:b/c"][1:],
        [
            "资料/清洗 🚀.csv",
            {"source": "ab", "to": "${param.p}/x", "sha256": "${param.p}", "owner": "${param.p}"},
        ],
        [
            "file://${param.p}",
            "sftp://${param.p}",
            "http://h${param.p}",
            "http://h:${param.p}/a",
            "file://${param.p}/b",
        ],
        [{"source": "${param.p}://h/x", "fingerprint": "${param.p}"}],
        [],
    ],
)
def test_what_looks_odd_and_is_fine(manager, artifacts):
    body = open_ones(*artifacts, p={})
    answer = manager.post("/api/task/task_group", body)
    assert answer.status_code == 200, answer.text
    again = manager.post("/api/task/query", {"name": "etl"}).json
    assert manager.post("/api/task/task_group", again).json["version"] == 1, "canonical already"


@pytest.mark.parametrize("command", ["/opt/a.sh --fast", "n1:/opt/a.sh", ["/a", "b"], "${param.p}"])
def test_what_can_be_fetched_by_its_name(manager, command):
    body = {**a_template(a_task(command=command, fetch=True, fetch_timeout="30m")), "parameters": {"p": {}}}
    assert manager.post("/api/task/task_group", body).status_code == 200


def test_the_task_s_directory_can_be_named_where_a_path_is_wanted(manager):
    task = a_task(
        command=["${task.dir}/bin/x"],
        config={
            "cwd": "${task.dir}/data",
            "driver": "container",
            "image": "i",
            "mounts": ["${task.dir}/c:/c:ro"],
        },
    )
    assert manager.post("/api/task/task_group", a_template(task)).status_code == 200
    (group,) = spec.groups(a_template(task))
    assert "artifacts" in group.tasks[0].features, "older agents do not know it"


def test_parameters_are_filled_in_as_they_are_and_nothing_that_looks_like_a_variable_is():
    body = open_ones(
        {"source": "${param.v}/${node.id}.tgz", "to": "${param.v}", "sha256": "${param.sum}", "owner": "${param.u}"},
        v={}, sum={}, u={},
    )  # fmt: skip
    filled = parameters.fill(body, {"v": "a${alloc.id}", "sum": f"sha256:{SUM.upper()}", "u": "me"})
    (task,) = spec.groups(filled)[0].tasks
    (found,) = task.artifacts
    dollar = "a${text.dollar}{alloc.id}"
    assert (found.source, found.to) == (f"{dollar}/${{node.id}}.tgz", dollar)
    assert (found.sha256, found.owner) == (SUM, "me")
    assert "literal" in task.features


def test_a_deployment_whose_parameters_make_no_artifact_is_refused(manager):
    body = open_ones(
        {"source": "${param.v}.tgz", "sha256": "${param.sum}"}, v={"default": "a"}, sum={"default": SUM}
    )
    assert manager.post("/api/task/task_group", body).status_code == 200
    for given, says in (
        ({"v": "../a"}, ".source: not a path under"),
        ({"sum": "x"}, ".sha256: not a SHA-256"),
    ):
        answer = manager.post("/v1/deployments", {"template": "etl", "parameters": given})
        assert answer.status_code == 400
        assert says in answer.json["detail"]


def test_of_what_is_taken_the_answer_and_the_records_are_json(manager):
    manager.post("/api/task/task_group", one(sha256=SUM.upper()))
    found = json.loads(manager.post("/api/task/query", {"name": "etl"}).text)
    assert found["task_groups"][0]["tasks"][0]["artifacts"] == [{"source": "clean.tar.gz", "sha256": SUM}]
