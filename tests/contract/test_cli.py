"""The command line against the API, over HTTP; a fake leader decides."""

import json
import socketserver
import threading
import wsgiref.simple_server

import pytest
from click.testing import CliRunner

import muster.__main__ as program
from manager_api.http.app import create_app
from manager_api.http.templates import templates
from store.codec import dumps, loads
from store.keys import DEPLOYMENTS, STATUS, TEMPLATES
from tests.builders import a_task, a_template
from tests.fakes import Manager

pytestmark = pytest.mark.contract

SHOP = {"name": "shop", "task_groups": [{"name": "web", "count": 10, "tasks": [a_task("web")]}]}
ALL = {"web": {"wanted": 10, "placed": 10, "up": 10}}


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Cli:
    """`muster`, and what stands behind it."""

    def __init__(self, store):
        self.manager = Manager(store)
        self.store = store
        server = self.server = wsgiref.simple_server.make_server(
            "127.0.0.1", 0, create_app(self.manager.services), Server, Quiet
        )
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"

    def __call__(self, *words, expect=0, typed=None):
        result = CliRunner().invoke(program.main, list(words), env={"MUSTER_URL": self.url}, input=typed)
        assert result.exit_code == expect, result.output
        return result

    def begin(self, template="shop", **more):
        return self.manager.post("/v1/deployments", {"template": template, **more}).json["id"]

    def say(self, deployment, **status):
        """What the leader would."""
        whole = {"v": 1, "status": "RUNNING", "reason": "", "allocations": [], **status}
        self.store.put(STATUS, deployment, dumps(whole))

    def record(self, deployment):
        return loads(self.store.get(DEPLOYMENTS, deployment).value)


@pytest.fixture
def cli(fake_store, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    monkeypatch.setattr("muster.deploying.LOOK_EVERY", 0.001)
    monkeypatch.setattr("muster.rolling.LOOK_EVERY", 0.001)
    found = Cli(fake_store)
    templates.save(found.store, SHOP)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_deploy_prints_the_id_and_passes_on_what_was_asked(cli):
    body = {**a_template(a_task(), name="p"), "parameters": {"user": {"required": True}}}
    templates.save(cli.store, body)
    words = ("--no-wait", "--name", "web", "--param", "user=a=b", "--ttl", "8h", "--wait-for-capacity")
    result = cli("deploy", "p", *words)
    found = result.stdout.strip()
    wanted = {"name": "web", "parameters": {"user": "a=b"}, "ttl": 8 * 3600.0, "wait": True, "version": 1}
    assert wanted.items() <= cli.record(found).items()
    again = cli("deploy", "p", *words)
    assert again.stdout.strip() == found
    assert f"deployment {found} is web already, and the same" in again.stderr


def test_deploy_of_a_file_saves_it_and_runs_that_version(cli, tmp_path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(a_template(a_task("new"), name="shop")))
    result = cli("deploy", str(path), "--no-wait")
    assert "template shop, version 2" in result.stderr
    assert cli.record(result.stdout.strip())["version"] == 2
    assert cli.record(cli("deploy", "shop", "--version", "1", "--no-wait").stdout.strip())["version"] == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("deploy", "nope"), 4, "there is no template named 'nope'"),
        (("deploy", "shop", "--version", "9"), 4, "kept are 1"),
        (("deploy", "shop", "--version", "0"), 2, "'--version'"),
        (("deploy", "shop", "--param", "x"), 2, "'x' is not NAME=VALUE"),
        (("deploy", "shop", "--param", "x=1", "--param", "x=2"), 2, "x is given twice"),
        (("deploy", "shop", "--param", "x=1"), 1, "parameter 'x' is not known"),
        (("deploy", "shop", "--ttl", "soon"), 1, "ttl: not a duration"),
        (("deploy", "shop", "--name", "a b"), 1, "name: not a name"),
        (("deploy", "shop", "--update"), 2, "--update goes with --name"),
        (("deploy", "missing.yaml"), 1, "missing.yaml: no such file"),
        (("scale", "nope", "web=1"), 4, "there is no deployment with id or name nope"),
        (("scale", "nope"), 2, "Missing argument"),
        (("scale", "nope", "web=x"), 2, "'x' is not a whole number"),
        (("scale", "nope", "web"), 2, "'web' is not GROUP=N"),
        (("scale", "nope", "a=1", "a=2"), 2, "a is given twice"),
        (("update", "nope"), 4, "no deployment with id or name nope"),
        (("rollback", "nope"), 4, "no deployment with id or name nope"),
        (("promote", "nope"), 4, "no deployment with id or name nope"),
        (("pause", "nope"), 4, "no deployment with id or name nope"),
        (("resume", "nope"), 4, "no deployment with id or name nope"),
        (("stop", "nope"), 4, "no deployment with id or name nope"),
        (("ps", "--status", "DEAD"), 1, "status: not one or several of"),
    ],
)
def test_what_cannot_be_done_has_its_exit_code_and_sentence(cli, words, code, says):
    before = cli.store.meta().rev
    assert says in cli(*words, expect=code).output
    assert cli.store.meta().rev == before


def test_no_manager_is_unreachable(cli):
    assert "no manager answers" in cli("ps", "--url", "http://127.0.0.1:1", expect=6).stderr


def test_a_name_with_other_content_is_updated_only_when_that_is_said(cli):
    first = cli.begin(name="web")
    cli.say(first, groups=ALL)
    templates.save(
        cli.store, {**SHOP, "task_groups": [{**SHOP["task_groups"][0], "tasks": [a_task("web", "/x")]}]}
    )
    result = cli("deploy", "shop", "--name", "web", "--no-wait", expect=1)
    assert f"'web' is deployment {first}, which has version 1, not 2" in result.stderr
    assert "--update updates it" in result.stderr
    result = cli("deploy", "shop", "--name", "web", "--no-wait", "--update", "--ttl", "1h")
    assert result.stdout.strip() == first
    assert "its time to live stays what it was" in result.stderr
    assert (cli.record(first)["version"], cli.record(first)["change"]) == (2, 1)
    templates.save(cli.store, a_template(name="other"))
    result = cli("deploy", "other", "--name", "web", "--no-wait", "--update", expect=1)
    assert "which has template 'shop', not 'other'" in result.stderr
    assert cli.record(first)["change"] == 1


def test_a_dry_run_shows_the_plan_and_fails_when_it_would_be_refused(cli, monkeypatch):
    plan = {
        "would": "place",
        "allocations": [{"group": "web", "index": 0, "node": "n1", "why": "the least loaded"}],
        "nodes": [],
    }
    monkeypatch.setattr("manager_api.http.frame.questions.ask", lambda *_, **__: plan)
    result = cli("deploy", "shop", "--dry-run")
    assert result.stdout.splitlines()[0] == "would place"
    assert result.stdout.splitlines()[2].split() == ["web", "0", "n1", "the", "least", "loaded"]
    assert json.loads(cli("deploy", "shop", "--dry-run", "-o", "json").stdout)["would"] == "place"
    first = cli.begin(name="web")
    templates.save(cli.store, {**SHOP, "ttl": "1h"})
    plan.update(would="update", counts={"place": 1, "restart": 9, "stop": 0}, left_out=7)
    result = cli("deploy", "shop", "--name", "web", "--dry-run")
    assert result.stdout.splitlines()[:3] == [
        f"would update (deployment {first})",
        "  allocations: 1 place, 9 restart",
        "  version: 1 -> 2",
    ]
    assert result.stdout.splitlines()[-1] == "  and 7 more"
    plan.update(would="refuse", allocations=[], nodes=[{"node": "n1", "reason": "is full"}])
    result = cli("deploy", "shop", "--dry-run", expect=1)
    assert "  node n1 is full" in result.stdout
    assert list(cli.store.values(DEPLOYMENTS)) == [first]
    assert list(cli.store.values(TEMPLATES)) == ["shop"]


def test_a_deployment_is_found_by_its_name_its_beginning_and_not_by_what_is_ambiguous(cli):
    old = cli.begin(name="web")
    cli("stop", "web", "--no-wait")
    assert cli("stop", "web", "--no-wait").stdout.strip() == old, "the last that had the name"
    new = cli.begin(name="web")
    other = cli.begin()
    assert cli("pause", "web").stdout.strip() == new
    assert cli("pause", other[:13]).stdout.strip() == other
    assert cli("resume", other).stdout.strip() == other
    assert "ID is empty" in cli("pause", "", expect=2).stderr
    first = other[0]

    def beginning():
        """Two at least: ids are random, and all of the above may begin alike."""
        return sum(key.startswith(first) for key in cli.store.values(DEPLOYMENTS))

    while beginning() < 2:
        cli.begin()
    result = cli("pause", first, expect=1)
    assert f"{first} is the beginning of {beginning()} deployments; give more of it" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stop", "web", "--no-wait"), "stops 10 of 10 of group web at once"),
        (("restart", "web", "--no-wait"), "restarts 10 of 10 of group web at once"),
        (("scale", "web", "web=1"), "stops 9 of 10 of group web at once"),
        (("update", "web", "--no-wait"), "replaces 10 of 10 of group web at once"),
    ],
)
def test_what_touches_much_is_asked_for_twice(cli, monkeypatch, words, says):
    found = cli.begin(name="web")
    cli.say(found, groups=ALL)
    group = {**SHOP["task_groups"][0], "tasks": [a_task("web", "/x")], "update": {"max_parallel": 10}}
    templates.save(cli.store, {**SHOP, "task_groups": [group]})
    before = cli.store.meta().rev
    result = cli(*words, expect=1)
    assert f"this {says}: give --yes if that is meant; nothing was done" in result.stderr
    monkeypatch.setattr("muster.asking._on_terminal", lambda: True)
    result = cli(*words, expect=1, typed="n\n")
    assert f"This {says}. Is that meant?" in result.stderr
    assert cli.store.meta().rev == before
    cli(*words, typed="y\n")
    after = cli.store.meta().rev
    assert after > before


def test_yes_is_enough(cli):
    found = cli.begin(name="web")
    cli.say(found, groups=ALL)
    assert cli("scale", "web", "web=1", "--yes").stderr == "web: 1\n"
    assert cli.record(found)["scale"] == {"web": 1}
    cli("stop", "web", "--yes", "--no-wait")
    assert cli.record(found)["wanted"] == "stopped"


class Script:
    """A leader whose words come one after the other, each when the command line has seen the last."""

    def __init__(self, cli, deployment, *rollouts, monkeypatch):
        self._left = list(rollouts)

        def next_word(_seconds):
            if self._left:
                cli.say(deployment, rollout=self._left.pop(0))

        monkeypatch.setattr("muster.rolling.time.sleep", next_word)


def rollout(state, updated=0, healthy=0, change=1, reason=""):
    of = {"web": {"updated": updated, "of": 3, "healthy": healthy}}
    return {"state": state, "change": change, "reason": reason, "groups": of}


@pytest.fixture
def updated(cli):
    """A deployment that has another version to go to."""
    found = cli.begin(name="web")
    cli.say(found)
    templates.save(
        cli.store, {**SHOP, "task_groups": [{**SHOP["task_groups"][0], "tasks": [a_task("web", "/x")]}]}
    )
    return found


def test_update_says_how_it_goes_until_it_is_done(cli, updated, monkeypatch):
    words = rollout("running", 1), rollout("running", 1), rollout("running", 3, 1), rollout("done", 3, 3)
    Script(cli, updated, rollout("done", 3, 3, change=0), *words, monkeypatch=monkeypatch)
    result = cli("update", "web")
    assert result.stdout.strip() == updated
    assert result.stderr.splitlines() == [
        "to version 2 (change 1)",
        "  web: 1 of 3 updated, 0 healthy",
        "  web: 3 of 3 updated, 1 healthy",
        "  web: 3 of 3 updated, 3 healthy",
    ]
    assert "nothing changed: it is at version 2" in cli("update", "web").stderr


@pytest.mark.parametrize(
    ("last", "code", "says"),
    [
        (rollout("failed", 1, reason="web.1 is not healthy"), 1, "the update failed: web.1 is not healthy"),
        (rollout("reverted", 1, reason="web.1 ended"), 1, "the update was reverted: web.1 ended"),
        (rollout("promotion", 1, 1), 0, "the canaries are up: `muster promote"),
        (rollout("paused", 1, 1), 0, "it is paused: `muster resume"),
    ],
)
def test_update_ends_where_people_or_nobody_can_go_on(cli, updated, monkeypatch, last, code, says):
    Script(cli, updated, rollout("running"), last, monkeypatch=monkeypatch)
    assert says in cli("update", "web", expect=code).stderr


def test_update_that_is_overtaken_stopped_or_slow_says_so(cli, updated, monkeypatch):
    def stop(_seconds):
        cli.manager.post("/api/task/task_group/stop", {"id": updated})

    assert "the update is not begun after 0 s" in cli("update", "web", "--timeout", "0", expect=124).stderr
    overtaken = cli("rollback", "web", "--no-wait")
    assert "to version 1 (change 2)" in overtaken.stderr
    monkeypatch.setattr(
        "muster.rolling.time.sleep",
        lambda _: cli.manager.post(f"/v1/deployments/{updated}/rollback", {"version": 1}),
    )
    assert "it was changed again meanwhile" in cli("update", "web", expect=1).stderr
    monkeypatch.setattr("muster.rolling.time.sleep", stop)
    assert "STOPPING" in cli("update", "web", expect=1).stderr


def test_promote_waits_for_what_the_leader_has_not_heard_yet(cli, updated, monkeypatch):
    cli("update", "web", "--no-wait")
    cli.say(updated, rollout=rollout("promotion", 1, 1))
    Script(cli, updated, rollout("promotion", 1, 1), rollout("done", 3, 3), monkeypatch=monkeypatch)
    assert cli("promote", "web").stderr.splitlines()[-1] == "  web: 3 of 3 updated, 3 healthy"


def test_ps_has_names_filters_and_rollouts(cli, updated):
    plain = cli.begin()
    task = {"name": "web", "node": "n1", "state": "failed", "restarts": 0, "reason": "x", "pid": None}
    cli.say(plain, status="FAILED", tasks=[task, {**task, "node": "n2"}])
    cli.say(updated, rollout=rollout("running", 1))
    lines = cli("ps").stdout.splitlines()
    assert lines[0].split()[:4] == ["ID", "NAME", "TEMPLATE", "STATUS"]
    assert any(f"{updated[:8]}  web" in line and "RUNNING (update running 1/3)" in line for line in lines)
    assert len(lines) == 4
    lines = cli("ps", "--node", "n2").stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "TEMPLATE"], "nothing of it has a name"
    assert [line.split()[4] for line in lines[1:]] == ["n2"]
    assert [row["id"] for row in json.loads(cli("ps", "--status", "failed", "-o", "json").stdout)] == [plain]
    assert json.loads(cli("ps", "--template", "other", "-o", "json").stdout) == []
    cli.say(plain, status="COMPLETED")
    assert plain[:8] not in cli("ps").stdout
    assert plain[:8] in cli("ps", "--all").stdout
    assert plain[:8] in cli("ps", "--status", "COMPLETED").stdout


def test_deploy_says_what_it_waits_for(cli, monkeypatch):
    def come(_seconds):
        key = next(iter(cli.store.values(DEPLOYMENTS)))
        cli.say(
            key, status="COMPLETED", tasks=[{"name": "web", "node": "n", "state": "completed", "reason": ""}]
        )

    def missing(_seconds):
        key = next(iter(cli.store.values(DEPLOYMENTS)))
        cli.say(key, status="PENDING", reason="no node has 1G free")
        monkeypatch.setattr("muster.deploying.time.sleep", come)

    monkeypatch.setattr("muster.deploying.time.sleep", missing)
    result = cli("deploy", "shop", "--wait-for-capacity")
    assert "  waiting: no node has 1G free" in result.stderr


def coming(state="fetching", reason="", **fetch):
    row = {"name": "web", "node": "n", "state": state, "reason": reason, "allocation": "d.0"}
    return {**row, "fetch": fetch} if fetch else row


def test_deploy_says_how_far_files_are_and_ps_does_too(cli, monkeypatch):
    words = [
        coming(reason="waits for a turn"),
        *(coming(done=done * 1024**2, total=80 * 1024**2, rate=4.1 * 1024**2) for done in (1, 2, 3)),
        coming("running"),
    ]

    def next_word(_seconds):
        key = next(iter(cli.store.values(DEPLOYMENTS)))
        cli.say(key, status="PENDING", tasks=[words.pop(0)])
        if len(words) == 1:
            listed.append(cli("ps").stdout)

    listed = []
    monkeypatch.setattr("muster.deploying.time.sleep", next_word)
    result = cli("deploy", "shop")
    assert result.stderr.splitlines()[1:] == [
        "  web on n: fetching (waits for a turn)",
        "  web on n: fetching",
        "  fetching: 1.0 of 80.0 MiB, 4.1 MiB/s",
        "  web on n: running",
    ]
    assert listed[0].splitlines()[1].split()[5] == "fetching"
    assert listed[0].rstrip().endswith("3.0 of 80.0 MiB, 4.1 MiB/s")


def test_the_reason_stands_behind_how_far_it_is(cli):
    cli.say(cli.begin(), status="PENDING", tasks=[coming(reason="no such file", done=0, total=1024)])
    assert cli("ps").stdout.rstrip().endswith("0.0 of 1.0 KiB; no such file")


def test_deploy_waits_while_files_come_unless_it_was_told_how_long(cli, monkeypatch):
    now, done = [0.0], iter(range(1, 100))

    def long(_seconds):
        now[0] += 250.0
        key = next(iter(cli.store.values(DEPLOYMENTS)))
        number = next(done)
        cli.say(key, status="PENDING", tasks=[coming(done=min(number, 5), total=9)])

    monkeypatch.setattr("muster.deploying.time.sleep", long)
    monkeypatch.setattr("muster.progress.time.monotonic", lambda: now[0])
    result = cli("deploy", "shop", expect=124)
    assert "still PENDING after 1750 s" in result.stderr, "the last byte came after 1250"
    cli("stop", "shop", "--no-wait", expect=4)
    monkeypatch.setattr("muster.deploying.time.sleep", lambda _: now.__setitem__(0, now[0] + 250.0))
    assert "after 60 s" in cli("deploy", "shop", "--timeout", "60", expect=124).stderr
