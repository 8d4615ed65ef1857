"""Bodies of clients that are slow, or gone."""

import socket

import falcon
import falcon.testing
import pytest

from manager_api.http.frame import uploads
from manager_api.http.frame.errors import ApiError

pytestmark = pytest.mark.unit


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def request(ours, size):
    """As gunicorn hands it on."""
    environ = falcon.testing.create_environ(method="PUT", path="/x", headers={"Content-Length": str(size)})
    return falcon.Request({**environ, "wsgi.input": ours.makefile("rb"), "gunicorn.socket": ours})


def test_a_body_comes_in_pieces_to_its_length_and_no_further(ends, monkeypatch):
    monkeypatch.setattr(uploads, "PIECE", 4)
    ours, theirs = ends
    theirs.sendall(b"0123456789GET /")
    assert list(uploads.pieces(request(ours, 10), 10)) == [b"0123", b"4567", b"89"]


def test_a_silent_sender_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(uploads, "SILENT_AT_MOST", 0.01)
    ours, theirs = ends
    theirs.sendall(b"0123")
    with pytest.raises(ApiError) as caught:
        list(uploads.pieces(request(ours, 10), 10))
    assert caught.value.body["detail"] == "0 of 10 bytes came: nothing was replaced"


def test_a_sender_that_left_is_not_waited_for(ends):
    ours, theirs = ends
    theirs.sendall(b"0123")
    theirs.close()
    with pytest.raises(ApiError) as caught:
        list(uploads.pieces(request(ours, 10), 10))
    assert caught.value.body["detail"] == "4 of 10 bytes came: nothing was replaced"
