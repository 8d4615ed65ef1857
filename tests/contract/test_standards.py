"""What holds for every call: ids, forms of errors, tags, compression, HEAD and OPTIONS."""

import gzip
import logging
import re
import zlib

import falcon
import falcon.testing
import orjson
import pytest

from manager_api.http.app import create_app
from manager_api.http.frame import standards
from manager_api.http.frame.compression import Compressed
from store import logs
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

PROBLEM = {"Accept": "application/problem+json"}
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def manager(store):
    return Manager(store)


def get(manager, path, **headers):
    return manager.http.simulate_get(
        path, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


# -- X-Request-Id


def test_an_id_goes_in_and_out(manager):
    assert get(manager, "/v1/nodes", X_Request_Id="job-7/step:2").headers["x-request-id"] == "job-7/step:2"
    first, second = (get(manager, "/v1/nodes").headers["x-request-id"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{24}", first)
    assert first != second
    assert re.fullmatch(r"[0-9a-f]{24}", get(manager, "/no/such").headers["x-request-id"]), "of errors, too"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, 'a"b', "ä", "{}"])
def test_an_id_that_does_not_fit_into_a_log_line_is_not_taken(manager, bad):
    assert re.fullmatch(r"[0-9a-f]{24}", get(manager, "/v1/nodes", X_Request_Id=bad).headers["x-request-id"])


def test_every_line_of_the_log_names_the_request(manager, monkeypatch, tmp_path):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr("manager_api.http.nodes.nodes.listing", lambda _: 1 // 0)
    root.handlers[:] = []  # pytest's own: `setup` would close them
    try:
        logs.setup(tmp_path / "log")
        assert get(manager, "/v1/nodes", X_Request_Id="seen-7").status_code == 500
        logging.getLogger("api").warning("of nobody's request")
    finally:
        root.handlers[:], root.level = before[0], before[1]
    text = (tmp_path / "log").read_text()
    assert "api: [seen-7] unexpected" in text
    assert "api: of nobody's request" in text
    assert "ZeroDivisionError" in text


# -- errors


def test_errors_are_problems_for_who_asks(manager):
    plain = get(manager, "/v1/deployments/none")
    assert plain.headers["content-type"] == "application/json"
    assert set(plain.json) == {"error", "detail"}
    found = get(manager, "/v1/deployments/none", X_Request_Id="r-1", **PROBLEM)
    assert (found.status_code, found.headers["content-type"]) == (404, "application/problem+json")
    assert orjson.loads(found.content) == {
        **plain.json,
        "type": "urn:muster:error:business-instance-not-found",
        "title": "Business instance not found",
        "status": 404,
        "instance": "urn:muster:request:r-1",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/no/such", 404), ("PATCH", "/v1/nodes", 405), ("GET", "/v1/nodes?x=1", 400)],
)
def test_falcons_own_errors_are_problems_too(manager, method, path, status):
    path, _, query = path.partition("?")
    found = manager.http.simulate_request(method, path, query_string=query, headers=PROBLEM)
    assert found.status_code == orjson.loads(found.content)["status"] == status
    assert found.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert found.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("accept", "is_problem"),
    [
        ("*/*", False),
        ("application/*", False),
        ("application/json, application/problem+json", True),
        ("application/json, application/problem+json;q=0.5", False),
        ("application/problem+json;q=0", False),
        ("Application/Problem+JSON", True),
        ("application/problem+json;q=x", False),
    ],
)
def test_who_asks_for_problems(manager, accept, is_problem):
    found = get(manager, "/v1/deployments/none", Accept=accept)
    assert ("problem" in found.headers["content-type"]) is is_problem


class Five:
    envelope = "contract5"

    def on_get(self, _req, _resp):
        raise standards.preconditions.changed("it is at 7")


def test_errors_of_contract_5_have_its_envelope(manager):
    app = create_app(manager.services)
    app.add_route("/five", Five())
    http = falcon.testing.TestClient(app)
    assert http.simulate_get("/five").json == {
        "status": 412,
        "message": "it is at 7",
        "error": "The record has changed",
        "detail": "it is at 7",
    }
    assert http.simulate_put("/five").json.keys() == {"status", "message", "error", "detail"}
    assert "message" not in orjson.loads(http.simulate_get("/five", headers=PROBLEM).content)


# -- tags


@pytest.mark.parametrize(
    "path", ["/v1/nodes", "/api/task/node", "/v1/templates", "/v1/deployments", "/v1/nodes/web-1"]
)
def test_what_is_known_is_not_sent_again(manager, path):
    node = Puppet(manager)
    first = get(manager, path)
    tag = first.headers["etag"]
    again = get(manager, path, If_None_Match=f'"other", {tag}')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in again.headers
    assert get(manager, path, If_None_Match="*").status_code == 304
    assert get(manager, path, If_None_Match='"other"').content == first.content
    if "node" in path:
        node.beat(cpu_percent=99.0)
        changed = get(manager, path, If_None_Match=tag)
        assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)


def test_a_tag_is_known_whatever_the_encoding(manager):
    for number in range(9):
        Puppet(manager, f"web-{number}", ip=f"192.168.10.{number}")
    plain, squeezed = get(manager, "/v1/nodes"), get(manager, "/v1/nodes", **GZIP)
    assert squeezed.headers["content-encoding"] == "gzip"
    for tag in (plain.headers["etag"], squeezed.headers["etag"]):
        assert get(manager, "/v1/nodes", If_None_Match=tag).status_code == 304
        assert get(manager, "/v1/nodes", If_None_Match=tag, **GZIP).status_code == 304


class Record:
    def on_get(self, req, resp):
        standards.preconditions.tag(resp, 41)
        resp.data = req.get_param("body", default="{}").encode()

    def on_put(self, req, resp):
        resp.data = orjson.dumps(standards.preconditions.expected(req))


def test_a_records_tag_is_its_revision_and_what_is_shown_of_it(manager):
    app = create_app(manager.services)
    app.add_route("/record", Record())
    http = falcon.testing.TestClient(app)
    one, other = (http.simulate_get("/record", params={"body": each}).headers["etag"] for each in ("1", "2"))
    assert re.fullmatch(r'"41-[0-9a-f]{16}"', one)
    assert one != other
    assert (
        http.simulate_get("/record", params={"body": "1"}, headers={"If-None-Match": one}).status_code == 304
    )
    assert (
        http.simulate_get("/record", params={"body": "1"}, headers={"If-None-Match": '"41"'}).status_code
        == 200
    )
    long = http.simulate_get("/record", params={"body": "1" * 2000}, headers=GZIP)
    assert re.fullmatch(r'W/"41-[0-9a-f]{16}"', long.headers["etag"]), (
        "its bytes are not those of the plain one"
    )
    for tag in (one, long.headers["etag"], '"41"'):
        assert http.simulate_put("/record", headers={"If-Match": tag}).json == 41
    a_list = get(manager, "/v1/nodes").headers["etag"]
    assert http.simulate_put("/record", headers={"If-Match": a_list}).status_code == 400


# -- gzip


def test_long_answers_are_compressed_for_who_takes_it(manager):
    assert "content-encoding" not in get(manager, "/v1/nodes", **GZIP).headers, "short"
    for number in range(9):
        Puppet(manager, f"web-{number}", ip=f"192.168.10.{number}")
    plain = get(manager, "/v1/nodes")
    found = get(manager, "/v1/nodes", **GZIP)
    assert gzip.decompress(found.content) == plain.content
    assert int(found.headers["content-length"]) == len(found.content) < len(plain.content) / 3
    assert plain.headers["vary"] == found.headers["vary"] == "Accept, Accept-Encoding"
    for refused in ("gzip;q=0", "br", "*;q=0", "identity"):
        assert "content-encoding" not in get(manager, "/v1/nodes", Accept_Encoding=refused).headers


class Parts:
    """Parts of an answer, one by one."""

    def __init__(self):
        self.given, self.closed = 0, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.given += 1
        if self.given > 3:
            raise StopIteration
        return b"part %d;" % self.given

    def close(self):
        self.closed += 1


def test_parts_of_a_stream_leave_at_once_and_its_end_is_told():
    source = Parts()
    body, reader = Compressed(source), zlib.decompressobj(31)
    parts = iter(body)
    for number in (1, 2, 3):
        assert reader.decompress(next(parts)) == b"part %d;" % number
        assert source.given == number
    assert reader.decompress(b"".join(parts)) == b""
    assert reader.eof
    body.close()
    assert source.closed == 1


@pytest.mark.parametrize(
    ("media", "squeezed"), [("text/plain; charset=utf-8", True), ("text/event-stream", False)]
)
def test_which_streams_are_compressed(manager, media, squeezed):
    class Streamed:
        def on_get(self, _req, resp):
            resp.content_type = media
            resp.stream = source

    source, app = Parts(), create_app(manager.services)
    app.add_route("/parts", Streamed())
    found = falcon.testing.TestClient(app).simulate_get("/parts", headers=GZIP)
    assert ("content-encoding" in found.headers) is squeezed
    assert (gzip.decompress(found.content) if squeezed else found.content) == b"part 1;part 2;part 3;"
    assert "content-length" not in found.headers
    assert source.closed == 1


# -- methods


def test_head_is_get_without_the_body(manager):
    Puppet(manager)
    for path in ("/v1/nodes", "/v1/nodes/web-1", "/v1/nodes/none", "/healthz"):
        full, head = get(manager, path), manager.http.simulate_head(path)
        assert (head.status_code, head.content) == (full.status_code, b"")
        skipped = {"x-request-id"}
        assert {key: value for key, value in head.headers.items() if key not in skipped} == {
            key: value for key, value in full.headers.items() if key not in skipped
        }


def test_head_reads_no_stream_and_lets_it_go(manager):
    class Streamed:
        def on_get(self, _req, resp):
            resp.stream = source

    source, app = Parts(), create_app(manager.services)
    app.add_route("/parts", standards.heads(Streamed()))
    found = falcon.testing.TestClient(app).simulate_head("/parts")
    assert (found.status_code, source.given, source.closed) == (200, 0, 1)
    assert "content-length" not in found.headers
    watching = manager.http.simulate_head(
        "/v1/events", query_string="follow=1", headers={"Accept": "text/event-stream"}
    )
    assert (watching.status_code, watching.headers["content-type"]) == (200, "text/event-stream")


def test_options_say_what_there_is(manager):
    found = manager.http.simulate_options("/v1/deployments")
    assert (found.status_code, found.content) == (200, b"")
    assert found.headers["allow"] == "GET, HEAD, POST"


def test_what_every_answer_carries(manager):
    for found in (get(manager, "/v1/nodes"), get(manager, "/no/such"), manager.post("/v1/deployments", {})):
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["muster-version"]
    assert get(manager, "/v1/nodes").headers["cache-control"] == "private, no-cache"
    assert get(manager, "/no/such").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("fails", "cached"), [("", "public, max-age=60"), ("1", "no-store")])
def test_what_a_call_says_of_caches_holds_unless_it_fails(manager, fails, cached):
    class Page:
        def on_get(self, req, resp):
            resp.set_header("Cache-Control", "public, max-age=60")
            resp.text = "page"
            if req.get_param("fails"):
                raise ZeroDivisionError

    app = create_app(manager.services)
    app.add_route("/page", Page())
    found = falcon.testing.TestClient(app).simulate_get("/page", params={"fails": fails} if fails else {})
    assert found.headers["cache-control"] == cached
    assert ("etag" in found.headers) is not bool(fails)
