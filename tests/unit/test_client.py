"""The client of the command line, against servers that break off."""

import socket
import threading

import pytest

from muster.client import Client, Refused, Unreachable

pytestmark = pytest.mark.unit


@pytest.fixture
def serve():
    """A server that answers one request with given bytes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def begin(answer):
        def run():
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.sendall(answer)
            peer.close()

        threading.Thread(target=run, daemon=True).start()
        return Client(f"http://127.0.0.1:{listener.getsockname()[1]}")

    yield begin
    listener.close()


HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", HEAD % b"200 OK", HEAD % b"200 OK" + b"x" * 50])
def test_an_answer_that_breaks_off_is_unreachable(serve, answer):
    with pytest.raises(Unreachable):
        serve(answer).get("/")


def test_an_error_that_breaks_off_is_refused_with_its_status(serve):
    with pytest.raises(Refused) as refused:
        serve(HEAD % b"503 Service Unavailable").get("/")
    assert refused.value.status == 503
