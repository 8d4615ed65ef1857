"""How long the API waits for who sends a request: in all, and by what came of it."""

import errno
import socket
import struct
from concurrent.futures import Future

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import NoMoreData
from gunicorn.workers import gthread

from manager_api import api_worker
from manager_api.api_worker import CROWD, CROWDED, GRACE, RATE, Crowd, Paced, Worker

pytestmark = pytest.mark.unit


class Sender:
    """A socket on a clock of its own: each time somebody waits, it says what comes next, after so long."""

    def __init__(self, clock, *says):
        self.clock, self.says, self.timeout = clock, list(says), None

    def gettimeout(self):
        return self.timeout

    def settimeout(self, timeout):
        self.timeout = timeout

    def recv(self, size, flags=0):
        after, data = self.says[0] if self.says else (float("inf"), b"")
        if flags & socket.MSG_DONTWAIT and after > 0:
            raise BlockingIOError
        if after > 0 and after > self.timeout:
            self.clock.advance(self.timeout)
            self.says[:1] = [(after - self.timeout, data)] if self.says else []
            raise TimeoutError
        self.clock.advance(after)
        self.says.pop(0)
        return data[:size]


@pytest.fixture
def crowd():
    return Crowd()


def paced(clock, crowd, *says):
    sender = Sender(clock, *says)
    return Paced(sender, crowd, clock.now), sender


def read_on(reader):
    read = 0
    while True:
        read += len(reader.chunk())


def test_what_is_there_is_read_at_once(clock, crowd):
    reader, _ = paced(clock, crowd, (0, b"GET /"))
    began = clock.now()
    assert (reader.chunk(), clock.now() - began) == (b"GET /", 0)


@pytest.mark.parametrize(("head", "error"), [(True, NoMoreData), (False, TimeoutError)])
def test_a_byte_now_and_then_buys_no_time(clock, crowd, head, error):
    reader, sender = paced(clock, crowd, *[(GRACE - 1, b"x")] * 9)
    reader.begin(head=head)
    began = clock.now()
    with pytest.raises(error):
        read_on(reader)
    assert clock.now() - began == pytest.approx(GRACE, abs=1)
    assert sender.timeout is None, "who reads the answer slowly is waited for"


def test_who_keeps_the_pace_may_take_hours(clock, crowd):
    reader, _ = paced(clock, crowd, *[(10, bytes(10 * RATE))] * 1000)
    assert sum(len(reader.chunk(10 * RATE)) for _ in range(1000)) == 10_000 * RATE
    with pytest.raises(NoMoreData):
        reader.chunk()


def test_our_own_time_is_not_theirs(clock, crowd):
    reader, _ = paced(clock, crowd, (1, b"a"), (1, b"b"))
    assert reader.chunk() == b"a"
    clock.advance(10 * GRACE)
    assert reader.chunk() == b"b"


def test_a_body_has_its_time_whatever_the_head_took(clock, crowd):
    reader, _ = paced(clock, crowd, (GRACE - 1, b"head"), (GRACE - 1, b"body"), (GRACE - 1, b"next"))
    for head, wanted in ((True, b"head"), (False, b"body"), (True, b"next")):
        reader.begin(head=head)
        assert reader.chunk() == wanted


def test_silence_ends_at_the_socket_s_own_timeout(clock, crowd):
    reader, sender = paced(clock, crowd)
    reader.begin(head=False)
    sender.timeout = 5
    began = clock.now()
    with pytest.raises(TimeoutError):
        reader.chunk()
    assert (clock.now() - began, sender.timeout) == (5, 5)


def test_in_a_crowd_everybody_has_less_time_and_afterwards_as_much_as_before(clock, crowd):
    for _ in range(CROWD):
        crowd.__enter__()
    reader, _ = paced(clock, crowd)
    began = clock.now()
    with pytest.raises(NoMoreData):
        reader.chunk()
    assert clock.now() - began == CROWDED
    crowd.__exit__()
    assert crowd.grace == GRACE


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def worker():
    made = Worker.__new__(Worker)
    made._crowd, made.nr_conns = Crowd(), 1
    return made


def connection(ours):
    return gthread.TConn(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2))


def test_a_connection_that_says_nothing_yet_waits_without_a_thread(worker, ends, monkeypatch):
    monkeypatch.setattr(api_worker, "SOON", 0)
    assert worker.handle(connection(ends[0])) is gthread._DEFER


def test_an_end_is_waited_for_where_nobody_else_waits(worker, ends, monkeypatch):
    """Not on the thread that accepts: that one only counts."""
    ours, theirs = ends
    monkeypatch.setattr(gthread.ThreadWorker, "handle", lambda self, conn: False)
    theirs.sendall(b"GET /")
    theirs.shutdown(socket.SHUT_WR)
    conn, done = connection(ours), Future()
    done.set_result(worker.handle(conn))
    assert (ours.fileno(), theirs.recv(1)) == (-1, b"")
    worker.finish_request(conn, done)
    assert worker.nr_conns == 0


def test_who_takes_nothing_of_an_answer_is_given_up_without_a_word(worker, ends, monkeypatch):
    def stuck(self, req, conn):
        conn.sock.sendall(bytes(1 << 24))

    def handle(self, conn):
        timeout = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
        assert struct.unpack("ll", timeout) == (api_worker.TAKES_NOTHING, 0)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 10_000))
        with pytest.raises(BrokenPipeError) as gone:
            self.handle_request(None, conn)
        assert gone.value.errno == errno.EPIPE, "gunicorn logs a stack of any other"
        return False

    monkeypatch.setattr(gthread.ThreadWorker, "handle", handle)
    monkeypatch.setattr(gthread.ThreadWorker, "handle_request", stuck)
    ours, theirs = ends
    theirs.sendall(b"GET /")
    theirs.shutdown(socket.SHUT_WR)
    assert worker.handle(connection(ours)) is False
