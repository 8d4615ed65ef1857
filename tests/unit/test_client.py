"""The client: what it sends, tries again, waits for, and says of what goes wrong; no manager."""

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

import muster
from muster.client import NEVER, AsyncClient, Client, Refused, Retries, Unreachable, about, errors
from muster.client.exchange import Answer, Call, path, with_query
from muster.client.httpx_wire import Wire as Httpx
from muster.client.plain import Wire as Plain
from muster.client.retrying import passing

pytestmark = pytest.mark.unit
WIRES = [Plain, Httpx]


def answer(body=None, status=200, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, b"" if body is None else json.dumps(body).encode())


AWAY, UNSENT = Unreachable("away"), Unreachable("away", sent=False)
BUSY = answer({"error": "The store is not available", "detail": "away"}, 503, retry_after="1")


class Script:
    """A wire that answers what a test says, in that order; `sent` is what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []
        self.pauses = []

    def send(self, call):
        self.sent.append(call)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self):
        pass


class Awaited:
    """The same, for the client that does not block."""

    def __init__(self, script):
        self._script = script

    async def send(self, call):
        return self._script.send(call)


class Blocking:
    """A client that blocks, as a test drives it."""

    def __init__(self, script, **more):
        self.client = Client("http://m", wire=script, **more)
        self.client._sleep = script.pauses.append

    def call(self, name, *args, **options):
        return getattr(self.client, name)(*args, **options)

    def some(self, name, count, *args, **options):
        """The first so many values of an iterator, or fewer if it ends."""
        rows = iter(getattr(self.client, name)(*args, **options))
        return [row for _, row in zip(range(count), rows, strict=False)]


class NonBlocking(Blocking):
    """One that does not."""

    def __init__(self, script, **more):
        async def sleep(seconds):
            script.pauses.append(seconds)

        self.client = AsyncClient("http://m", **more)
        self.client._wire = Awaited(script)
        self.client._sleep = sleep

    def call(self, name, *args, **options):
        return asyncio.run(getattr(self.client, name)(*args, **options))

    def some(self, name, count, *args, **options):
        async def take():
            found = []
            rows = getattr(self.client, name)(*args, **options)
            while len(found) < count:
                try:
                    found.append(await anext(rows))
                except StopAsyncIteration:
                    break
            await rows.aclose()
            return found

        return asyncio.run(take())


@pytest.fixture(params=[Blocking, NonBlocking])
def kind(request):
    """Both clients carry out the same."""
    return request.param


def test_a_read_is_tried_again_until_it_is_answered(kind):
    script = Script(AWAY, BUSY, answer({"data": []}))
    assert kind(script).call("get", "/v1/nodes") == {"data": []}
    assert len(script.sent) == 3
    assert len({call.headers["X-Request-Id"] for call in script.sent}) == 1, "one wish has one name"
    assert 0 < script.pauses[0] <= 0.1
    assert 1 < script.pauses[1] <= 1.2, "not before the time that the manager asks for"


def test_tries_end_and_the_last_error_is_raised(kind):
    script = Script(*[AWAY] * 9)
    with pytest.raises(Unreachable):
        kind(script, retries=Retries(tries=3)).call("get", "/")
    assert len(script.sent) == 3


def test_a_post_is_sent_again_with_the_same_key(kind):
    script = Script(AWAY, answer({"id": "1"}), answer({"id": "2"}))
    driven = kind(script)
    driven.call("post", "/v1/deployments", {})
    driven.call("post", "/v1/deployments", {})
    first, again, other = (call.headers["Idempotency-Key"] for call in script.sent)
    assert first == again != other


@pytest.mark.parametrize("status", [400, 404, 409, 412, 422, 500])
def test_what_the_manager_refuses_for_good_is_not_asked_again(kind, status):
    script = Script(answer({"error": "no"}, status))
    with pytest.raises(Refused) as refused:
        kind(script).call("post", "/", {})
    assert refused.value.status == status


def test_a_first_request_that_is_still_being_carried_out_is_waited_for(kind):
    script = Script(
        answer({"error": "The first request is still being carried out"}, 409, retry_after="1"), answer({})
    )
    kind(script).call("post", "/v1/deployments", {})
    assert len(script.sent) == 2


def test_a_manager_that_asks_for_more_patience_than_there_is_is_not_waited_for(kind):
    script = Script(answer({"error": "busy"}, 503, retry_after="3600"))
    with pytest.raises(errors.Unavailable) as busy:
        kind(script).call("get", "/")
    assert busy.value.retry_after == 3600
    assert script.pauses == []


@pytest.mark.parametrize(
    ("method", "headers", "error", "again"),
    [
        ("GET", {}, AWAY, True), ("PUT", {}, AWAY, True), ("POST", {}, AWAY, False), ("POST", {}, UNSENT, True),
        ("POST", {"Idempotency-Key": "k"}, AWAY, True), ("GET", {}, errors.Refused(500, {}), False),
        ("GET", {}, errors.Unavailable(503, {}), True), ("POST", {}, errors.Unavailable(503, {}), False),
    ],
)  # fmt: skip
def test_nothing_is_done_twice(method, headers, error, again):
    assert passing(Call(method, "/", headers), error) is again
    assert not passing(Call(method, "/", headers, content=iter([b"x"])), error), "content is read once"


def test_pauses_grow_to_their_longest_and_are_not_all_alike():
    retries, call = Retries(tries=99, first=0.1, longest=2.0), Call("GET", "/")
    grown = [retries.pause(call, tried, AWAY, lambda: 1.0) for tried in range(1, 8)]
    assert grown == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert retries.pause(call, 3, AWAY, lambda: 0.0) == pytest.approx(0.2)
    assert retries.pause(call, 98, AWAY, lambda: 1.0) == 2.0


def test_errors_say_what_was_said(kind):
    said = {"error": "No node can take this deployment", "detail": "full", "nodes": []}
    script = Script(answer(said, 409, x_request_id="r-1"))
    with pytest.raises(errors.Conflict) as found:
        kind(script).call("get", "/")
    error = found.value
    assert (error.error, error.detail, error.body, error.request_id) == (said["error"], "full", said, "r-1")
    assert str(error) == "full", "the sentence for people"
    assert error.__notes__ == ["request id r-1"], "and what to look for in the log, below a stack"


@pytest.mark.parametrize(
    ("status", "found"),
    [(400, "Invalid"), (401, "NotAllowed"), (403, "NotAllowed"), (404, "NotFound"), (409, "Conflict"),
     (412, "PreconditionFailed"), (418, "Refused"), (422, "Invalid"), (429, "Unavailable"), (500, "Refused"), (503, "Unavailable")],
)  # fmt: skip
def test_errors_are_told_apart_by_their_kind(status, found):
    assert type(errors.refusal(status, None, {})).__name__ == found
    assert str(errors.refusal(status, None, {})) == f"HTTP status {status}"


def test_options_become_headers(kind):
    script = Script(answer({}, muster_replicated="no"))
    driven = kind(script, token="secret")
    options = {
        "if_match": '"7"',
        "idempotency_key": "k",
        "replicated": True,
        "request_id": "r",
        "timeout": 2.5,
    }
    driven.call("post", "/", {"a": "é"}, **options, headers={"X-More": "1"})
    (call,) = script.sent
    wanted = {
        "If-Match": '"7"', "Idempotency-Key": "k", "Muster-Durability": "replicated", "X-Request-Id": "r",
        "X-More": "1", "Authorization": "Bearer secret", "Content-Type": "application/json",
    }  # fmt: skip
    assert wanted.items() <= call.headers.items()
    assert (call.data, call.timeout) == ('{"a": "é"}'.encode(), 2.5)
    assert driven.client.unconfirmed, "no replica said that it has it"
    assert "secret" not in repr(driven.client)


def test_an_answer_knows_what_came_with_it(kind):
    script = Script(answer({"id": "n"}, etag='"4-ab"', muster_revision="9", idempotent_replayed="true"))
    found = about(kind(script).call("get", "/v1/nodes/n"))
    assert (found.etag, found.revision, found.replayed, found.status) == ('"4-ab"', "9", True, 200)
    with pytest.raises(TypeError):
        about({"id": "n"})


def test_pages_are_read_to_the_end(kind):
    pages = [{"data": [1, 2], "next": "c1"}, {"data": [], "next": "c2"}, {"data": [3], "next": None}]
    script = Script(answer(pages[0]), AWAY, answer(pages[1]), answer(pages[2]))
    assert kind(script).some("iter_nodes", 9, label="zone=a", limit=2) == [1, 2, 3]
    asked = [parse_qs(urlsplit(call.path).query) for call in script.sent]
    assert [each.get("cursor") for each in asked] == [None, ["c1"], ["c1"], ["c2"]]
    assert all(each["limit"] == ["2"] and each["label"] == ["zone=a"] for each in asked)


def seen(script):
    """`after` and `wait` of what was asked."""
    asked = [parse_qs(urlsplit(call.path).query) for call in script.sent]
    return [(each.get("after", [None])[0], each.get("wait", [None])[0]) for each in asked]


def test_a_watch_tells_what_has_become_another_and_nothing_else(kind):
    script = Script(
        answer({"n": 1}, muster_revision="5"), answer({"n": 1}, muster_revision="5"),  # the time was over
        answer({"n": 1}, muster_revision="6"), answer({"n": 2}, muster_revision="8"),  # early; changed
    )  # fmt: skip
    assert kind(script).some("watch_node", 2, "web-1", wait=30) == [{"n": 1}, {"n": 2}]
    assert seen(script) == [(None, None), ("5", "30s"), ("5", "30s"), ("6", "30s")]
    assert script.sent[1].timeout > 30, "it may be held back for so long"


def test_a_watch_begins_after_what_is_known(kind):
    script = Script(answer({"n": 1}, muster_revision="5"), answer({"n": 2}, muster_revision="6"))
    assert kind(script).some("watch_node", 1, "web-1", after="5", wait=9) == [{"n": 2}]


def test_a_watch_outlives_its_manager_and_says_so_once(kind):
    script = Script(
        answer({"n": 1}, muster_revision="5"),
        AWAY,
        answer({}, 500),
        AWAY,
        answer({"n": 2}, muster_revision="6"),
    )
    said = []
    assert kind(script).some("watch_node", 2, "web-1", on_trouble=said.append) == [{"n": 1}, {"n": 2}]
    assert said == [AWAY]
    assert len(script.pauses) == 3
    assert seen(script)[-1] == ("5", "60s"), "what came meanwhile is not missed"


def test_a_watch_of_a_record_that_is_gone_ends(kind):
    script = Script(answer({"n": 1}, muster_revision="5"), answer({"error": "Node not found"}, 404))
    with pytest.raises(errors.NotFound):
        kind(script).some("watch_node", 2, "web-1")


def test_a_watch_begins_anew_in_another_history(kind):
    script = Script(
        answer({"n": 1}, muster_revision="5"),
        answer({"error": "x"}, 400),
        answer({"n": 0}, muster_revision="1"),
    )
    assert kind(script).some("watch_node", 2, "web-1") == [{"n": 1}, {"n": 0}]
    assert seen(script)[-1] == (None, None)


def test_a_watch_does_not_spin_on_a_manager_that_cannot_hold_back(kind):
    with pytest.raises(Unreachable, match="reads that wait"):
        kind(Script(answer({"n": 1}))).some("watch_node", 2, "web-1")


def test_paths_and_queries():
    assert path("/v1/nodes/{}/drain", "a/b c") == "/v1/nodes/a%2Fb%20c/drain"
    assert with_query("/x", {"a": None}) == "/x"
    assert with_query("/x?y=1", {"a": ["p", "q"], "b": True, "c": 0}) == "/x?y=1&a=p&a=q&b=true&c=0"


# Over real sockets, by what carries the calls.

HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"


@pytest.fixture
def serve():
    """A server that answers each request with given bytes, and hangs up; `heard` is what came."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard = []

    def begin(answered):
        def run():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                heard.append(peer.recv(65536))
                peer.sendall(answered)
                peer.close()

        threading.Thread(target=run, daemon=True).start()
        begin.heard = heard
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def client(wire, url, **more):
    return Client(url, wire=wire(url), **{"retries": NEVER, **more})


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "answered", [b"", b"nonsense\r\n\r\n", HEAD % b"200 OK", HEAD % b"200 OK" + b"x" * 50]
)
def test_an_answer_that_breaks_off_is_unreachable(serve, wire, answered):
    with pytest.raises(Unreachable) as away:
        client(wire, serve(answered)).get("/")
    assert away.value.sent, "it may have been carried out"


def test_an_error_that_breaks_off_is_refused_with_its_status(serve):
    with pytest.raises(Refused) as refused:
        client(Plain, serve(HEAD % b"503 Service Unavailable")).get("/")
    assert refused.value.status == 503


@pytest.mark.parametrize("wire", WIRES)
def test_where_nobody_listens_nothing_was_sent(wire):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        Unreachable, match=f"no manager answers at http://127.0.0.1:{port}: .*refused"
    ) as away:
        client(wire, f"http://127.0.0.1:{port}").post("/", {})
    assert not away.value.sent


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("url", ["http://127.0.0.1:x", "http://", "nonsense", "http://a b"])
def test_what_is_no_url_is_unreachable(wire, url):
    with pytest.raises(Unreachable):
        client(wire, url).get("/")


@pytest.mark.parametrize("wire", WIRES)
def test_broken_connections_are_made_again(serve, wire):
    url = serve(b"")
    driven = client(wire, url, retries=Retries(tries=3, first=0.0))
    with pytest.raises(Unreachable):
        driven.post("/v1/deployments", {"template": "t"})
    keys = [re.search(rb"(?i)idempotency-key: (\w+)", each)[1] for each in serve.heard]
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("wire", WIRES)
def test_lines_come_whole_and_the_last_one_as_far_as_it_came(serve, wire):
    body = b"one\n" + "zw\u0435i\n".encode() + b"thr"
    url = serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
    assert list(client(wire, url).lines("/")) == [b"one\n", "zw\u0435i\n".encode(), b"thr"]


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_is_refused_says_why(serve, wire):
    said = b'{"error": "Not found"}'
    url = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
    driven = client(wire, url)
    with pytest.raises(errors.NotFound, match="Not found"), driven.stream("GET", "/"):
        pass


# Events.


class Told:
    """A wire whose streams are lists of lines; an error ends one."""

    def __init__(self, *streams):
        self.streams = list(streams)
        self.asked = []
        self.pauses = []

    def send(self, call):
        return answer({"data": [{"id": "7-0"}]})

    def stream(self, call):
        self.asked.append(parse_qs(urlsplit(call.path).query))
        found = self.streams.pop(0)

        def lines():
            for each in found:
                if isinstance(each, Exception):
                    raise each
                yield each

        return contextlib.nullcontext(SimpleNamespace(headers={}, lines=lines))


def event(number):
    return [f"id: {number}-0\n".encode(), f'data: {{"id": "{number}-0"}}\n'.encode(), b"\n"]


def test_events_go_on_where_they_broke_off():
    cut = [b"id: 9-0\n", b'data: {"id": "9-0']
    refused = Refused(400, {"error": "no"})
    wire = Told([b": beat\n", *event(8), *cut, AWAY], [Refused(503, {})], [*event(9)], [refused])
    driven, said, rows = Client("http://m", wire=wire), [], []
    driven._sleep = wire.pauses.append

    def follow():
        rows.extend(row["id"] for row in driven.follow_events(kind="node", on_trouble=said.append))

    with pytest.raises(Refused, match="no"):
        follow()
    assert rows == ["8-0", "9-0"], "each once"
    assert [each["after"] for each in wire.asked] == [["7-0"], ["8-0"], ["8-0"], ["9-0"]]
    assert all(each["kind"] == ["node"] for each in wire.asked)
    assert [str(each) for each in said] == ["away", "the manager ended its answer"], "once each time"
    assert len(wire.pauses) == 3


# What it costs to have it.


def test_nothing_is_loaded_before_it_is_used():
    code = (
        "import sys, muster; assert 'muster.client' not in sys.modules; from muster import Client, about;"
        "assert 'httpx' not in sys.modules; import muster.context; muster.context.connect('http://m');"
        "assert not {'httpx', 'muster.client.models', 'asyncio', 'rich'} & set(sys.modules), sorted(sys.modules);"
        "Client('http://m'); assert 'httpx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_names_what_it_has():
    assert {name: getattr(muster, name) for name in muster.__all__}.keys() == set(muster.__all__)
    with pytest.raises(AttributeError):
        muster.nothing  # noqa: B018
