"""The prober against real servers on loopback, which answer well, badly, late, or not at all."""

import collections
import contextlib
import errno
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from agentd.probes import attempt, names
from agentd.probes.prober import Prober
from store.clock import SystemClock
from store.model.policies import HealthCheck
from tests.conftest import ManualClock, eventually, need

pytestmark = pytest.mark.integration

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
SOON = 0.05
"""Seconds between probes of tests that need several."""


class Server:
    """A listener on loopback; `behave(connection, first line)` answers each connection, on a thread."""

    def __init__(self, behave, host="127.0.0.1", tls=None):
        self.behave, self.tls = behave, tls
        self.asked = collections.Counter()
        self.open = self.most_open = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with self._lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                line = connection.recv(4096).partition(b"\r\n")[0].decode("ascii", "replace")
                self.asked[line] += 1
                self.behave(connection, line)
        with self._lock:
            self.open -= 1

    def url(self, path="/", host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"

    def close(self):
        self.over.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def serve():
    running = []

    def start(behave, **more):
        if isinstance(behave, bytes):
            running.append(Server(lambda connection, _: connection.sendall(behave), **more))
        else:
            running.append(Server(behave, **more))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def hang(serve):
    """A server that hears and never answers."""
    return serve(lambda connection, _: connection.recv(1))  # returns when the prober hangs up


class Probing:
    """A prober, and everything it said."""

    def __init__(self, clock=None):
        self.results = collections.defaultdict(list)
        self.executed = []
        self.prober = Prober(
            lambda key, result: self.results[key].append(result),
            lambda key, check: self.executed.append((key, check)),
            clock or SystemClock(),
        )

    def one(self, **check):
        """The first result of a probe."""
        self.prober.watch({"it": HealthCheck(interval=600.0, **check)})
        return eventually(lambda: self.results["it"])[0]


@pytest.fixture
def probing():
    made = []

    def make(clock=None):
        made.append(Probing(clock))
        return made[-1]

    yield make
    for each in made:
        each.prober.stop()


def http(url, **more):
    return {"kind": "http", "target": url, **more}


def threads():
    return [each for each in threading.enumerate() if each.name == "probes"]


# -- http


@pytest.mark.parametrize(
    ("answer", "check", "says"),
    [
        (OK, {}, ""),
        (OK, {"body": "ready"}, ""),
        (OK, {"body": "unready"}, "the answer lacks 'unready'"),
        (OK, {"status": (201, 204)}, "answered 200, wanted 201-204"),
        (b"HTTP/1.1 503 Oh\r\n\r\n", {}, "answered 503, wanted 200-399"),
        (b"HTTP/1.1 503 Oh\r\n\r\nso", {"status": (503, 503)}, ""),
        (b"HTTP/1.1 404 No\r\n\r\n", {"body": "ready"}, "answered 404, wanted 200-399"),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", {}, ""),
        (b"", {}, "closed the connection without an answer"),
        (b"220 mail ESMTP\r\n", {}, "the answer is not HTTP: '220 mail ESMTP'"),
        (bytes(range(256)), {}, "the answer is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nready",
            {"body": "ready"},
            "in the middle of its answer",
        ),
    ],
)
def test_answers(serve, probing, answer, check, says):
    server = serve(answer)
    result = probing().one(**http(server.url("/health"), **check))
    assert result.ok == (not says)
    assert says in result.reason
    if says:
        assert result.reason.startswith(server.url("/health"))


def test_a_redirect_is_an_answer_and_is_not_followed(serve, probing):
    target = serve(OK)
    server = serve(f"HTTP/1.1 302 Found\r\nLocation: {target.url()}\r\nContent-Length: 0\r\n\r\n".encode())
    assert probing().one(**http(server.url())).ok
    assert sum(target.asked.values()) == 0


def test_a_text_in_a_later_chunk(serve, probing):
    def behave(connection, _):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in (b"a" * 5000, b"it is re", b"ady", b""):
            connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        connection.recv(1)  # and keeps the connection

    assert probing().one(**http(serve(behave).url(), body="ready")).ok


def test_what_is_asked(serve, probing):
    heard = []

    def behave(connection, line):
        heard.append(line)
        connection.sendall(OK)

    server = serve(behave)
    assert probing().one(**http(server.url("/a/b?c=d#e"))).ok
    assert heard == ["GET /a/b?c=d HTTP/1.1"]


def test_a_body_without_end_is_read_only_so_far(serve, probing):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nready")
        while True:
            connection.sendall(b"x" * 4096)

    assert probing().one(**http(serve(behave).url(), body="ready")).ok


def test_nobody_listens(probing):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    assert probing().one(**http(url)).reason == f"{url}: connection refused"
    assert probing().one(kind="tcp", target=f"127.0.0.1:{port}").reason == (
        f"127.0.0.1:{port}: connection refused"
    )


def test_no_answer(hang, probing):
    result = probing().one(**http(hang.url(), timeout=0.2))
    assert result.reason == f"{hang.url()}: no answer within 0.2 s"


def test_a_trickle_is_no_answer(serve, probing):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not server.over.wait(0.01):
            connection.sendall(b"x")

    server = serve(behave)
    assert probing().one(**http(server.url(), timeout=2.0)).reason.endswith("no whole answer within 2 s")


def test_a_listener_that_takes_no_more_connections(probing):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # the kernel lets a few in beyond what was said
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        result = probing().one(kind="tcp", target=target, timeout=0.2)
    assert result.reason == f"{target}: no connection within 0.2 s"


def test_what_cannot_be_asked_is_said(probing):
    assert "no host name" in probing().one(**http("http://${port.web}/")).reason
    assert "not host:port" in probing().one(kind="tcp", target="${port.web}").reason


def test_tcp(serve, probing):
    assert probing().one(kind="tcp", target=f"127.0.0.1:{serve(OK).port}").ok


# -- addresses and names


@pytest.fixture
def over_ipv6(serve):
    def start(behave):
        try:
            return serve(behave, host="::1")
        except OSError:
            pytest.skip("no IPv6 here")

    return start


def test_ipv6(over_ipv6, probing):
    server = over_ipv6(OK)
    assert probing().one(**http(server.url(host="[::1]"))).ok
    assert probing().one(kind="tcp", target=f"[::1]:{server.port}").ok


def test_localhost_is_both_and_needs_no_looking_up(over_ipv6, probing, monkeypatch):
    """Nobody listens at 127.0.0.1: the other address is tried."""
    monkeypatch.setattr(names.Names, "_ask", lambda *_: pytest.fail("it was looked up"))
    assert probing().one(**http(over_ipv6(OK).url(host="localhost"))).ok


def test_a_name_that_takes_long_keeps_nobody_waiting(serve, probing, monkeypatch):
    server, known, real = serve(OK), threading.Event(), names.socket.getaddrinfo

    def look_up(host, *rest, **more):
        if host == b"slow.example" and not more["flags"]:
            known.wait(30)
            host = b"127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(names.socket, "getaddrinfo", look_up)
    it = probing()
    it.prober.watch(
        {
            "slow": HealthCheck(interval=SOON, **http(server.url(host="slow.example"))),
            "other": HealthCheck(interval=SOON, **http(server.url())),
        }
    )
    eventually(lambda: len(it.results["other"]) > 3)
    assert it.results["slow"] == []
    known.set()
    eventually(lambda: len(it.results["slow"]) > 3)
    assert all(each.ok for each in it.results["slow"])


@pytest.mark.parametrize(
    ("host", "says"),
    [("nobody.invalid", "'nobody.invalid' cannot be looked up: "), ("a..b", "'a..b' cannot be")],
)
def test_a_name_that_nobody_has(probing, monkeypatch, host, says):
    def look_up(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(names.socket, "getaddrinfo", look_up)
    assert says in probing().one(**http(f"http://{host}/")).reason


# -- https


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    need(shutil.which("openssl"), "openssl")
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=somebody.else", "-days", "1", "-keyout", home / "key", "-out", home / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "cert", home / "key")
    return context


@pytest.mark.parametrize("at_once", [attempt.AT_ONCE, 1000])
def test_https_with_a_certificate_that_nobody_signed(serve, probing, certificate, monkeypatch, at_once):
    """Read in small pieces, too: what is decrypted already makes no socket ready."""
    monkeypatch.setattr(attempt, "AT_ONCE", at_once)
    body = b"x" * 60_000 + b"ready"
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    server = serve(answer, tls=certificate)
    assert probing().one(**http(server.url(scheme="https"), body="ready")).ok
    assert probing().one(**http(server.url(scheme="https", host="localhost"), body="ready")).ok


def test_a_bad_answer_over_https(serve, probing, certificate):
    server = serve(b"HTTP/1.1 500 Oh\r\n\r\n", tls=certificate)
    assert "answered 500" in probing().one(**http(server.url(scheme="https"))).reason


def test_https_of_who_speaks_http_and_the_other_way_round(serve, probing, certificate):
    plain, secret = serve(b"HTTP/1.1 400 What\r\n\r\n"), serve(OK, tls=certificate)
    assert "does not speak TLS; is it http?" in probing().one(**http(plain.url(scheme="https"))).reason
    assert not probing().one(**http(secret.url())).ok


def test_a_handshake_that_never_comes(probing):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert probing().one(**http(url, timeout=0.2)).reason == f"{url}: no answer within 0.2 s"


# -- exec


def test_exec_is_asked_for_and_told(probing):
    it, check = probing(), HealthCheck(kind="exec", argv=("/bin/true",), interval=SOON)
    it.prober.watch({"it": check})
    for count, (said, ok, reason) in enumerate(
        [
            ((3, ""), False, "exit code 3"),
            ((None, "no answer within 10 s"), False, "no answer within 10 s"),
            ((None, ""), False, "no exit code"),
            ((0, ""), True, ""),
        ],
        start=1,
    ):
        eventually(lambda count=count: len(it.executed) == count)
        assert it.executed[-1] == ("it", check)
        it.prober.executed("it", *said)
        eventually(lambda count=count: len(it.results["it"]) == count)
        assert (it.results["it"][-1].ok, it.results["it"][-1].reason) == (ok, reason)


def test_never_two_commands_of_a_key_at_once(serve, probing):
    it, server = probing(), serve(OK)
    beside = {"http": HealthCheck(interval=SOON, **http(server.url()))}
    it.prober.watch({"it": HealthCheck(kind="exec", interval=SOON), **beside})
    eventually(lambda: len(it.results["http"]) > 5)
    assert len(it.executed) == 1
    it.prober.watch(beside)
    it.prober.watch({"it": HealthCheck(kind="exec", argv=("other",), interval=SOON), **beside})
    seen = len(it.results["http"])
    eventually(lambda: len(it.results["http"]) > seen + 5)
    assert len(it.executed) == 1, "the command of the earlier watch has not ended"
    it.prober.executed("it", 0)
    eventually(lambda: len(it.executed) == 2)
    assert it.executed[1][1].argv == ("other",)
    assert it.results["it"] == [], "what the earlier watch found is no news"
    it.prober.executed("nobody asked for this", 0)
    it.prober.executed("it", 0)
    assert eventually(lambda: it.results["it"])[0].ok


def test_a_command_that_was_broken_off_says_nothing_of_its_target(probing):
    it = probing()
    it.prober.watch({"it": HealthCheck(kind="exec", interval=SOON)})
    for count in range(1, 4):
        eventually(lambda count=count: len(it.executed) == count)
        it.prober.broken_off("it")
    eventually(lambda: len(it.executed) == 4)
    it.prober.executed("it", 0)
    assert eventually(lambda: it.results["it"])[0].ok


def test_a_command_that_cannot_be_asked_for_is_asked_for_again(caplog):
    calls = []

    def start_exec(key, _):
        calls.append(key)
        raise RuntimeError("the keeper is busy")

    prober = Prober(lambda *_: calls.append("a result"), start_exec, SystemClock())
    prober.watch({"it": HealthCheck(kind="exec", interval=SOON)})
    eventually(lambda: len(calls) > 3)
    prober.stop()
    assert set(calls) == {"it"}
    assert "the keeper is busy" in caplog.text


# -- many


def test_a_thousand_on_one_thread(probing, monkeypatch):
    """The listener is served by one thread, so that threads and descriptors can be counted."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    asked, most = collections.Counter(), collections.Counter()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:

        def answer():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), connection:
                    asked[connection.recv(4096).split()[1]] += 1
                    connection.sendall(OK)
                most["threads"] = max(most["threads"], len(set(threading.enumerate()) - before))
                most["fds"] = max(most["fds"], descriptors())

        threading.Thread(target=answer, daemon=True).start()
        before, fds, it = set(threading.enumerate()), descriptors(), probing()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        it.prober.watch(
            {f"d.{n}": HealthCheck(kind="http", target=f"{url}/{n}", interval=2.0) for n in range(1000)}
        )
        eventually(lambda: len(it.results) == 1000 and all(len(each) > 1 for each in it.results.values()), 60)
        listener.shutdown(socket.SHUT_RDWR)
    assert all(each[0].ok for each in it.results.values())
    assert len(asked) == 1000
    assert most["threads"] == 1
    assert most["fds"] <= fds + 1024 // 4 + 10


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_targets_that_hang_do_not_keep_the_others_out(serve, hang, probing):
    it, server = probing(), serve(OK)
    checks = {f"h{n}": HealthCheck(timeout=600.0, **http(hang.url(f"/{n}"))) for n in range(150)}
    it.prober.watch({**checks, "well": HealthCheck(interval=SOON, **http(server.url()))})
    eventually(lambda: len(hang.asked) == 150)
    seen = len(it.results["well"])
    eventually(lambda: len(it.results["well"]) > seen + 3)
    assert it.results.keys() == {"well"}


def test_never_two_probes_of_a_key_at_once(serve, probing):
    at_once, most, lock = collections.Counter(), collections.Counter(), threading.Lock()

    def behave(connection, line):
        with lock:
            at_once[line] += 1
            most[line] = max(most[line], at_once[line])
        server.over.wait(3 * SOON)
        with lock:
            at_once[line] -= 1
        connection.sendall(OK)

    server, it = serve(behave), probing()
    it.prober.watch({f"{n}": HealthCheck(interval=SOON, **http(server.url(f"/{n}"))) for n in range(5)})
    eventually(lambda: len(it.results) == 5 and all(len(each) > 3 for each in it.results.values()))
    assert set(most.values()) == {1}


# -- watching


def test_the_same_again_changes_nothing(serve, probing):
    it, server = probing(), serve(OK)
    for _ in range(20):
        it.prober.watch({"it": HealthCheck(interval=600.0, **http(server.url("/it")))})
    eventually(lambda: it.results["it"])
    it.prober.watch(
        {
            "it": HealthCheck(interval=600.0, **http(server.url("/it"))),
            "other": HealthCheck(interval=600.0, **http(server.url("/other"))),
        }
    )
    eventually(lambda: it.results["other"])
    assert server.asked["GET /it HTTP/1.1"] == 1


def test_what_is_no_longer_wanted_is_broken_off(hang, serve, probing):
    it, server = probing(), serve(OK)
    other = HealthCheck(interval=SOON, **http(server.url()))
    it.prober.watch({"it": HealthCheck(timeout=600.0, **http(hang.url())), "other": other})
    eventually(lambda: hang.open == 1)
    it.prober.watch({"other": other})
    eventually(lambda: hang.open == 0)
    seen = len(it.results["other"])
    eventually(lambda: len(it.results["other"]) > seen + 2)
    assert "it" not in it.results


def test_another_check_under_the_same_key_is_probed_at_once(hang, serve, probing):
    it = probing()
    it.prober.watch({"it": HealthCheck(timeout=600.0, **http(hang.url()))})
    eventually(lambda: hang.open == 1)
    it.prober.watch({"it": HealthCheck(interval=600.0, **http(serve(OK).url()))})
    assert eventually(lambda: it.results["it"])[0].ok
    eventually(lambda: hang.open == 0)


def test_no_thread_before_the_first_probe_and_none_after_the_end(serve, probing):
    others = set(threads())
    it = probing()
    it.prober.watch({})
    assert set(threads()) == others
    assert it.one(**http(serve(OK).url())).ok
    assert len(set(threads()) - others) == 1
    it.prober.stop()
    assert set(threads()) == others
    it.prober.watch({"other": HealthCheck(kind="tcp", target="127.0.0.1:1")})
    it.prober.executed("other", 0)
    it.prober.stop()
    assert it.results.keys() == {"it"}


def test_a_listener_that_fails_does_not_end_the_probes(serve, caplog):
    calls = []

    def on_result(key, _):
        calls.append(key)
        raise RuntimeError("not now")

    prober = Prober(on_result, lambda *_: None, SystemClock())
    prober.watch({"it": HealthCheck(interval=SOON, **http(serve(OK).url()))})
    eventually(lambda: len(calls) > 3)
    prober.stop()
    assert "not now" in caplog.text


# -- what is not the targets' fault


def test_what_this_machine_lacks_is_not_held_against_a_target(serve, probing, monkeypatch, caplog):
    it, real, tried = probing(), socket.socket, []

    def none(*_, **__):
        tried.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    server = serve(OK)
    monkeypatch.setattr(attempt.socket, "socket", none)
    it.prober.watch({"it": HealthCheck(interval=SOON, **http(server.url()))})
    eventually(lambda: len(tried) > 3)
    monkeypatch.setattr(attempt.socket, "socket", real)
    assert eventually(lambda: it.results["it"])[0].ok
    assert caplog.text.count("Too many open files") == 1, "said once"


def test_a_suspended_machine_is_not_a_target_that_is_late(serve, probing):
    go, server = threading.Event(), None

    def behave(connection, line):
        if "slow" in line:
            go.wait(30)
        connection.sendall(OK)

    server, clock = serve(behave), ManualClock()
    it = probing(clock)
    slow = {"slow": HealthCheck(interval=600.0, timeout=10.0, **http(server.url("/slow")))}
    it.prober.watch(slow)
    eventually(lambda: server.asked["GET /slow HTTP/1.1"])
    clock.advance(3600.0)
    it.prober.watch({**slow, "other": HealthCheck(interval=600.0, **http(server.url()))})
    assert eventually(lambda: it.results["other"])[0].at == clock.now()
    assert "slow" not in it.results
    go.set()
    assert eventually(lambda: it.results["slow"])[0].ok


def test_time_is_the_clock_s(hang, serve, probing):
    """In steps too small for a suspension, the timeout runs; not sooner, not later."""
    clock, server = ManualClock(), serve(OK)
    it = probing(clock)
    slow = {"slow": HealthCheck(interval=600.0, timeout=4.0, **http(hang.url()))}
    it.prober.watch(slow)
    eventually(lambda: hang.open == 1)
    for step in range(1, 6):
        clock.advance(0.9)
        kick = HealthCheck(interval=600.0, **http(server.url(f"/{step}")))
        it.prober.watch({**slow, f"kick{step}": kick})
        eventually(lambda step=step: it.results[f"kick{step}"])
        assert bool(it.results["slow"]) == (step == 5)
    assert it.results["slow"][0].reason.endswith("no answer within 4 s")
    assert it.results["slow"][0].at == 1000.0
