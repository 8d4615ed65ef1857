"""Held reads on a real gunicorn: each has a thread, hold up nobody, hear of changes together, and end with it."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from store.codec import dumps
from store.keys import TEMPLATES
from tests.conftest import SOAK
from tests.integration.test_events_live import Api

pytestmark = pytest.mark.integration

WAITERS = 500 if SOAK else 60
PATH = "/v1/templates"


@pytest.fixture
def api(tmp_path):
    found = Api(tmp_path)
    yield found
    found.end()


class Waiter:
    """A client whose read is held."""

    def __init__(self, port, after):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.connection.request("GET", f"{PATH}?after={after}&wait=5m", headers={"Accept-Encoding": "gzip"})

    def answer(self):
        found = self.connection.getresponse()
        return found.status, found.headers, found.read()


def revision(api, query=""):
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
    connection.request("GET", f"{PATH}{query}")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer.headers["Muster-Revision"]


def test_many_who_wait_hold_up_nobody_and_are_told_the_same(api):
    api.start(workers=1)
    after = revision(api, f"?after={revision(api)}&wait=0s")
    waiters = [Waiter(api.port, after) for _ in range(WAITERS)]
    with ThreadPoolExecutor(8) as pool:
        assert {status for status, _ in pool.map(api.get, ["/v1/nodes"] * 50)} == {200}
    body = {
        "name": "t" * 190,
        "task_groups": [{"tasks": [{"name": "a" * 200, "config": {"command": "/bin/true"}}]}],
    }
    for n in range(3):
        record = {"v": 1, "version": 1, "body": {**body, "name": f"{n}"}}
        api.store.put(TEMPLATES, f"{n}{'t' * 190}", dumps(record))
    answers = [each.answer() for each in waiters]
    assert {status for status, _, _ in answers} == {200}
    assert len({data for _, _, data in answers}) <= 3, "found anew for each change at most"
    assert len({headers["X-Request-Id"] for _, headers, _ in answers}) == WAITERS
    assert {headers["Muster-Revision"] for _, headers, _ in answers}.isdisjoint({after})
    assert api.log().count("Traceback") == 0


def test_a_worker_that_ends_answers_those_who_wait(api):
    api.start(workers=1)
    after = revision(api, f"?after={revision(api)}&wait=0s")
    waiters = [Waiter(api.port, after) for _ in range(10)]
    revision(api)
    api.stop()
    assert [json.loads(data)["data"] for _, _, data in (each.answer() for each in waiters)] == [[]] * 10
