"""The whole API as its document describes it, asked by schemathesis: no 5xx, nothing that is not described.

A real store, a real leader, nodes that are puppets. Here a part of what can be asked; all of it as `soak`.
"""

import io
import re
import time
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

import pytest

from manager_api.http.app import create_app
from manager_api.workspaces import WorkspaceSettings
from store import bootstrap
from store.binaries import find_binary
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.store import Store
from tests.builders import a_task, a_template
from tests.conftest import SOAK
from tests.fakes import ACCESS, Manager, Puppet

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600 if SOAK else 300)]
WORKSPACES = WorkspaceSettings(template="desk")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
ENDLESS = ("follow",)
"""Words after which an answer has no end."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own: what is asked for may be a backup of all of it."""
    found = EmbeddedServer(Files(tmp_path_factory.mktemp("whole")), binary=find_binary(wrote="valkey").path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def manager(server, tmp_path):
    client = server.client("test")
    client.flushall()
    store = Store(client)
    bootstrap.begin(store, None)
    found = Manager(store)
    password = str(server.files.password)
    found.services.access = replace(
        ACCESS, url=server.local_url, password_file=password, home=tmp_path, workspaces=WORKSPACES
    )
    found.http.app = create_app(found.services)
    found.lead()
    for number in (1, 2):
        Puppet(found, f"web-{number}", f"192.168.10.{99 + number}")
    found.post("/v1/templates", a_template(a_task(), name="etl"))
    desk = a_template(
        a_task(command="/bin/desk ${param.user_id} ${param.data}", ports={"http": 0}), name="desk"
    )
    declared = {"user_id": {"required": True}, "data": {"default": ""}}
    made = found.post("/v1/templates", {**desk, "parameters": declared})
    assert made.status_code == 201, made.text
    found.post("/v1/deployments", {"template": "etl"})
    yield found
    found.end()


def asked_kindly(app):
    """The application for a client that unpacks nothing, waits for nobody, and wants an end."""

    def wrapped(env, start):
        env.pop("HTTP_ACCEPT_ENCODING", None)
        if "HTTP_MUSTER_DURABILITY" in env:
            env["HTTP_MUSTER_DURABILITY"] = env["HTTP_MUSTER_DURABILITY"].replace("replicated", "local")
        words = parse_qsl(env.get("QUERY_STRING", ""), keep_blank_values=True)
        kept = [(name, value) for name, value in words if name not in (*ENDLESS, "wait")]
        kept += [("wait", "1ms")] if "after" in dict(kept) else []
        if kept != words:
            env["QUERY_STRING"] = urlencode(kept)
        return asked_again(app, env, start)

    return wrapped


def asked_again(app, env, start):
    """As a client does whose answer is that whoever leads cannot say yet, or is busy."""
    body, until = env["wsgi.input"].read(), time.monotonic() + 20.0
    while True:
        begun = []
        answer = app({**env, "wsgi.input": io.BytesIO(body)}, lambda *words, begun=begun: begun.append(words))
        status, headers = begun[0][:2]
        later = status.startswith("503") and "retry-after" in {name.lower() for name, _ in headers}
        if not later or time.monotonic() > until:
            start(*begun[0])
            return answer
        time.sleep(0.1)


def configured(phases):
    from schemathesis.config import SchemathesisConfig

    known = ("examples", "coverage", "fuzzing", "stateful")
    told = {name: {"enabled": name in phases} for name in known}
    for name, most in phases.items():
        told[name] |= {"generation": {"max-examples": most}} if most else {}
    return SchemathesisConfig.from_dict(
        {
            **({} if SOAK else {"seed": 7}),  # at full size every run looks elsewhere
            "generation": {"deterministic": not SOAK, "database": "none", "no-shrink": not SOAK},
            "phases": told,
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        }
    )


class Findings:
    """What schemathesis did, and what it found, each once."""

    def __init__(self, app, phases, only=None):
        import schemathesis
        from schemathesis.engine import events, from_schema

        schemathesis.serializer.alias("application/jsonl", "application/octet-stream")
        self.problems, self.statuses, self.labels = {}, [], set()
        self.transitions = 0
        self.schema = schemathesis.openapi.from_wsgi(
            "/openapi.json", asked_kindly(app), config=configured(phases)
        )
        asked = self.schema.include(path=only) if only else self.schema
        for event in from_schema(asked).execute():
            if isinstance(event, events.ScenarioFinished | events.FuzzScenarioFinished):
                self._take(event.recorder)
            elif isinstance(event, events.NonFatalError):
                self.problems[event.label, str(event.value)[:200]] = repr(event.value)
            elif isinstance(event, events.FatalError):
                raise event.exception
            elif isinstance(event, events.PhaseStarted) and event.payload is not None:
                self.transitions = event.payload.transitions_selected

    def _take(self, recorder):
        for interaction in recorder.interactions.values():
            if interaction.response is not None:
                self.statuses.append(interaction.response.status_code)
        for case_id, checks in recorder.checks.items():
            operation = recorder.cases[case_id].value.operation.label
            self.labels.add(operation)
            for check in checks:
                failed = check.failure_info
                if failed is None or self._is_partial(failed, recorder.cases[case_id].value):
                    continue
                self.problems.setdefault(
                    (operation, failed.failure.title),
                    f"{failed.failure}\n{failed.code_sample}\n{self._answer(recorder, case_id)}",
                )

    @staticmethod
    def _answer(recorder, case_id):
        answer = recorder.interactions[case_id].response
        return answer and answer.content[:300]

    @staticmethod
    def _is_partial(failed, case):
        """`fields` asks for rows that lack the rest: their parameter says so, no schema can."""
        return failed.failure.title == "Response violates schema" and "fields" in (case.query or {})

    def told(self):
        return "\n\n".join(f"{key}: {text}" for key, text in self.problems.items())


def operations(app):
    document = app.simulate_get("/openapi.json").json
    return {
        f"{method.upper()} {path}"
        for path, calls in document["paths"].items()
        for method in calls
        if re.fullmatch("get|put|post|delete", method)
    }


def test_every_call_answers_as_described(manager):
    found = Findings(manager.http.app, {"examples": None, "fuzzing": 200 if SOAK else 2})
    assert not found.problems, found.told()
    assert operations(manager.http) - found.labels <= {"GET /openapi.json"}
    assert {200, 400, 404, 409} <= set(found.statuses)


def test_calls_upon_what_other_calls_made_answer_as_described(manager):
    found = Findings(manager.http.app, {"stateful": 500 if SOAK else 20})
    assert not found.problems, found.told()
    assert found.transitions > 50
    assert {200, 404} <= set(found.statuses)


@pytest.mark.soak
def test_every_corner_of_every_schema_answers_as_described(manager):
    found = Findings(manager.http.app, {"coverage": None})
    assert not found.problems, found.told()


def test_what_is_not_described_is_found(manager):
    """That the tests above can fail: an answer beside the description, and a fault, are told."""

    def lying(env, start):
        def say(status, headers, *more):
            fault = env["PATH_INFO"] == "/v1/templates" and env["REQUEST_METHOD"] == "GET"
            return start("500 Internal" if fault else status, headers, *more)

        return manager.http.app(env, say)

    found = Findings(lying, {"examples": None}, only="/v1/templates")
    assert ("GET /v1/templates", "Server error") in found.problems, found.told()
