"""Followers of events on a real gunicorn: they hold no thread, hear everything once, and resume."""

import contextlib
import gzip
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manager_api.api_worker import CROWD
from manager_api.http.events.event_watcher import MOST_HELD
from manager_api.recorder import Recorder
from manager_api.settings import StoreAccess
from manager_api.supervisor import gunicorn_conf
from store import bootstrap
from store.binaries import find_binary
from store.clock import SystemClock
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.events import Events
from store.kv.store import Store
from store.model.event import Event, as_text
from tests.conftest import eventually

pytestmark = pytest.mark.integration


class Watcher:
    """A client that follows, and what it heard."""

    def __init__(self, port, query="follow=1", last=None, receive=None):
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        self.socket.sendall(f"GET /v1/events?{query} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        self.raw = b""

    def begin(self):
        self.read_until(lambda: b"retry: " in self.raw)
        return self

    def read_until(self, done):
        while not done():
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise EOFError(self.raw[-300:])
            self.raw += piece
        return self

    @property
    def events(self):
        found = []
        for block in self.raw.partition(b"\r\n\r\n")[2].split(b"\n\n")[:-1]:
            lines = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
            if b"data" in lines:
                found.append((lines.get(b"id", b"").decode(), json.loads(lines[b"data"])))
        return found

    def reasons(self):
        return [event["reason"] for _, event in self.events]

    def until(self, reason):
        word = b'"reason":"%s"' % reason.encode()
        looked = 0

        def found():
            nonlocal looked
            start, looked = max(0, looked - 2000), len(self.raw)
            return word in self.raw[start:]

        self.read_until(found)
        return self.read_until(lambda: self.raw.endswith(b"\n\n"))

    def close(self):
        self.socket.close()


class Api:
    """gunicorn as `manager` starts it, with the recorder, over a store of its own."""

    def __init__(self, home):
        self.home = home
        self.server = EmbeddedServer(Files(home), binary=find_binary(wrote="valkey").path)
        self.server.start()
        self.store = Store(self.server.client("test"))
        bootstrap.begin(self.store, None)
        self.access = StoreAccess(
            url=self.server.local_url, advertised_port=self.server.port, holder="test", home=home,
            password_file=str(Files(home).password),
        )  # fmt: skip
        self.recorder = Recorder(home / "events.db", lambda: self.server.client("recorder"), SystemClock())
        self.recorder.start()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.process = None

    def start(self, workers=1):
        argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(gunicorn_conf())]
        argv += ["--bind", f"fd://{self.listener.fileno()}", "manager_api.wsgi:app"]
        environment = {**os.environ, **self.access.environment(), "MUSTER_API_WORKERS": str(workers)}
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=environment, pass_fds=[self.listener.fileno()], stdout=log, stderr=log
            )
        eventually(self.answers, 60)
        return self

    def answers(self):
        """Its listener is there before it is: a call may wait for it in vain."""
        with contextlib.suppress(OSError):
            return self.get("/healthz")[0] == 200

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def end(self):
        self.stop()
        self.recorder.stop()
        self.listener.close()
        self.server.stop()

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def tell(self, *reasons, **about):
        events = [
            Event(kind=about.get("kind", "test"), reason=each, subject=about.get("subject", {}))
            for each in reasons
        ]
        records = [each.as_record(time=time.time(), actor="api", epoch=self.store.epoch) for each in events]
        Events(self.store.client, self.store.keys).add(records)

    def log(self):
        return Path(self.home / "api.log").read_text()


@pytest.fixture
def api(tmp_path):
    found = Api(tmp_path)
    yield found
    found.end()


def test_300_watchers_hold_up_nobody_and_hear_the_same(api):
    api.start(workers=1)
    with ThreadPoolExecutor(30) as pool:
        watchers = list(pool.map(lambda _: Watcher(api.port).begin(), range(300)))
        answers = list(pool.map(lambda _: api.get("/v1/events")[0], range(100)))
        assert answers == [200] * 100
        said = [f"event {n}" for n in range(50)]
        api.tell(*said)
        answers = list(pool.map(lambda _: api.get("/readyz")[0], range(100)))
        assert set(answers) == {503}  # nobody leads here; but it is answered
        list(pool.map(lambda each: each.until(said[-1]), watchers))
    assert all(each.reasons() == said for each in watchers)
    assert len({tuple(number for number, _ in each.events) for each in watchers}) == 1
    for each in watchers:
        each.close()
    assert api.get("/healthz")[0] == 200
    assert api.log().count("Traceback") == 0


def test_the_head_of_the_answer(api):
    api.start()
    head = Watcher(api.port).begin().raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    assert {"Cache-Control: no-store", "X-Accel-Buffering: no", "Connection: close"} <= set(head)
    assert any(line.startswith("Muster-Version: ") for line in head)
    assert any(line.startswith("X-Request-Id: ") for line in head)
    assert "Content-Type: text/event-stream; charset=utf-8" in head


def test_answers_without_a_body_leave_the_connection_usable(api):
    api.start()
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)

    def ask(method, path, **headers):
        connection.request(
            method, path, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    _, head, whole = ask("GET", "/openapi.json")
    assert ask("HEAD", "/openapi.json")[0] == 200
    status, held, body = ask("GET", "/openapi.json", If_None_Match=head["ETag"])
    assert (status, held["ETag"], body) == (304, head["ETag"], b"")
    status, held, body = ask("HEAD", "/v1/events?follow=1", X_Request_Id="job-7")
    assert (status, held["X-Request-Id"], body) == (200, "job-7", b"")
    assert ask("OPTIONS", "/v1/events")[1]["Allow"] == "GET, HEAD"
    _, held, body = ask("GET", "/openapi.json", Accept_Encoding="gzip")
    assert (held["Content-Encoding"], gzip.decompress(body)) == ("gzip", whole)
    assert connection.sock is not None, "one connection for all of them"


def test_a_worker_that_ends_lets_go_and_followers_resume_without_loss(api):
    api.start()
    watcher = Watcher(api.port).begin()
    api.tell("one", "two")
    watcher.until("two")
    api.stop()
    with pytest.raises(EOFError):
        watcher.read_until(lambda: False)
    api.tell("three", "four")
    api.start()
    again = Watcher(api.port, last=watcher.events[-1][0]).begin()
    api.tell("five")
    assert again.until("five").reasons() == ["three", "four", "five"]


def test_a_killed_worker(api):
    api.start()
    watcher = Watcher(api.port).begin()
    api.tell("one")
    watcher.until("one")
    worker = int(Path(f"/proc/{api.process.pid}/task/{api.process.pid}/children").read_text().split()[0])
    os.kill(worker, 9)
    with pytest.raises((EOFError, ConnectionError)):
        watcher.read_until(lambda: False)
    api.tell("two")
    again = Watcher(api.port, last=watcher.events[-1][0]).begin()
    api.tell("three")
    assert again.until("three").reasons() == ["two", "three"]


def test_a_slow_reader_is_dropped_and_the_others_hear_on(api):
    api.start()
    slow = Watcher(api.port, receive=4096).begin()
    quick = Watcher(api.port).begin()
    text = "x" * 400
    count = 8 * MOST_HELD // 500
    for start in range(0, count, 100):
        api.tell(*(f"{n} {text}" for n in range(start, start + 100)), f"{start} done")
        quick.until(f"{start} done")
    api.tell("end")
    quick.until("end")
    assert len(quick.events) >= count
    eventually(lambda: "takes too little: dropped" in api.log())
    with pytest.raises((EOFError, ConnectionError)):
        slow.read_until(lambda: False)
    again = Watcher(api.port, last=slow.events[-1][0]).begin().until("end")
    assert [n for n, _ in slow.events + again.events] == [n for n, _ in quick.events]


def test_a_burst_drops_nobody_who_reads(api):
    api.start()
    watchers = [Watcher(api.port).begin() for _ in range(10)]
    said = [f"{n} {'x' * 400}" for n in range(5000)]
    with ThreadPoolExecutor(10) as pool:
        heard = [pool.submit(each.until, "end") for each in watchers]
        api.tell(*said, "end")
        for each in heard:
            each.result(60)
    assert all(each.reasons() == [*said, "end"] for each in watchers)
    for each in watchers:
        each.close()


def test_a_long_past_and_then_what_comes_without_gap_or_double(api):
    api.tell("zero")
    api.start()
    for start in range(0, 3000, 500):
        api.tell(*(f"event {n}" for n in range(start, start + 500)))
    watcher = Watcher(api.port, "follow=1&after=0-0")
    writer = threading.Thread(target=lambda: [api.tell(f"event {n}") for n in range(3000, 3300)])
    writer.start()
    watcher.until("event 3299")
    writer.join()
    assert watcher.reasons() == ["zero", *(f"event {n}" for n in range(3300))]


def test_filters_of_a_follower(api):
    api.start()
    watcher = Watcher(api.port, "follow=1&deployment=d1&kind=deployment").begin()
    api.tell("not this", kind="deployment.placed", subject={"deployment": "d2"})
    api.tell("nor this", kind="allocation.placed", subject={"deployment": "d1"})
    api.tell("this", kind="deployment.placed", subject={"deployment": "d1"})
    assert watcher.until("this").reasons() == ["this"]


def test_an_unknown_last_event_is_a_gap(api):
    api.tell("one")
    api.start()
    last = as_text(Events(api.store.client, api.store.keys).last())
    eventually(lambda: api.get("/v1/events")[1]["data"])
    watcher = Watcher(api.port, last="5-0").begin().until("one")
    assert [(number, event["kind"]) for number, event in watcher.events] == [("", "gap"), (last, "test")]


def test_a_stream_that_begins_anew_is_a_gap_for_who_follows(api):
    api.start()
    watcher = Watcher(api.port).begin()
    api.tell("one")
    watcher.until("one")
    client, key = api.store.client, api.store.keys.events
    pipe = client.pipeline(transaction=True)
    pipe.delete(key)
    pipe.xadd(key, {"e": b"{}"}, id="5-0")
    pipe.execute()
    watcher.read_until(lambda: b"event: gap" in watcher.raw)
    api.tell("later")
    watcher.until("later")
    assert watcher.reasons()[0] == "one"
    assert watcher.reasons()[2:] == ["later"]


def test_watchers_that_went_away_are_forgotten_and_the_store_is_no_longer_listened_to(api):
    api.start()
    watchers = [Watcher(api.port).begin() for _ in range(5)]

    def listening():
        return sum(
            "xread" in each["cmd"] and each["name"] == "muster-api" for each in api.store.client.client_list()
        )

    eventually(listening)
    for each in watchers:
        each.close()
    eventually(lambda: not listening())
    later = Watcher(api.port).begin()
    api.tell("later")
    later.until("later")


def test_ends_that_nobody_closes_and_heads_that_never_end_hold_up_nobody(api):
    """gunicorn would wait for each end for two seconds, accepting nobody, and for each head for ever."""
    api.start(workers=1)
    said = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    with contextlib.ExitStack() as held:

        def connections(count, text):
            found = [
                held.enter_context(socket.create_connection(("127.0.0.1", api.port))) for _ in range(count)
            ]
            for each in found:
                each.sendall(text)
            return found

        connections(40, said + b"\r\n")
        assert api.get("/healthz")[0] == 200
        slow = connections(CROWD + 50, said)
        poller = select.poll()
        for each in slow:
            poller.register(each, select.POLLIN)
        eventually(lambda: len(poller.poll(0)) >= 50)
        assert api.get("/healthz")[0] == 200
        assert "Traceback" not in api.log()
