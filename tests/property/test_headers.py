"""Whatever headers say, a call is answered, and an error says what is wrong."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SOAK, fake_client, fresh_store
from tests.fakes import Manager

pytestmark = pytest.mark.property

TEMPLATE = {"name": "t", "task_groups": [{"tasks": [{"name": "a", "config": {"command": "/bin/true"}}]}]}
WORDS = [
    "application/problem+json", "application/json", "*/*", ";q=", "0", "1.0", "x", ", ", '"', "W/", "-", "gzip", "*",
    "identity", "7", "é", "\t", "=", "\\", "bytes=0-", "a" * 200,
]  # fmt: skip
NAMES = [
    "Accept", "Accept-Encoding", "If-None-Match", "If-Match", "Idempotency-Key", "Muster-Durability", "X-Request-Id",
    "Content-Encoding", "Content-Type", "Last-Event-ID", "Range", "Cookie", "Host", "X-Forwarded-For",
]  # fmt: skip
VALUES = st.lists(st.sampled_from(WORDS), max_size=5).map("".join) | st.text(
    st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20
)
CALLS = [
    ("GET", "/v1/nodes", None), ("GET", "/v1/deployments/none", None), ("HEAD", "/v1/templates", None),
    ("OPTIONS", "/v1/nodes", None), ("PATCH", "/v1/nodes", None), ("GET", "/no/such", None),
    ("POST", "/api/task/task_group", TEMPLATE), ("POST", "/v1/deployments", {}), ("GET", "/v1/events", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def manager():
    with pytest.MonkeyPatch.context() as patched:
        yield Manager(fresh_store(fake_client(patched)))


@settings(max_examples=3000 if SOAK else 150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CALLS), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_headers_of_any_kind_are_answered(manager, call, headers):
    method, path, body = call
    found = manager.http.simulate_request(method, path, json=body, headers=headers)
    assert found.status_code < 500, found.text
    assert found.headers["x-request-id"]
    if found.status_code >= 400 and method != "HEAD":
        problem = found.headers["content-type"] == "application/problem+json"
        said = orjson.loads(found.content)
        assert said["error"]
        assert ("title" in said) is problem
