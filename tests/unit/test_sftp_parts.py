"""Parts of reading over SFTP that need no server: messages, questions and answers, known servers."""

import base64
import random
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer import messages
from transfer.conversation import IN_FLIGHT, Conversation, Refused, Shorter
from transfer.errors import MOST_TEXT, TransferError
from transfer.hostkeys import HostKey, trust
from transfer.login import Login
from transfer.messages import Attributes, Garbled, Inbox, Type
from transfer.sftp import errors
from transfer.ssh import Socket
from transfer.urls import parse

pytestmark = pytest.mark.unit

CONTENT = random.Random(3).randbytes(700_000)


class Server:
    """Speaks SFTP about one file, as oddly as it is told: few bytes at a time, and answers out of order."""

    def __init__(self, content=CONTENT, *, at_most=1 << 20, disorder=0, piece=10_000):
        self._content, self._at_most, self._piece = content, at_most, piece
        self._chance = random.Random(disorder) if disorder else None
        self._asked, self._out, self.answers = bytearray(), bytearray(), []
        self.lengths, self.open, self.most = [], 0, 0

    def sendall(self, data):
        self._asked += data
        while len(self._asked) >= 4 and len(self._asked) >= (
            size := 4 + int.from_bytes(self._asked[:4], "big")
        ):
            self._answer(bytes(self._asked[4:size]))
            del self._asked[:size]

    def _answer(self, question):
        kind, number = struct.unpack_from(">BI", question)
        say = lambda kind, *fields: self.answers.append(messages.pack(kind, number, *fields))  # noqa: E731
        if kind == Type.INIT:
            say(Type.VERSION)
        elif kind == Type.FSTAT:
            say(Type.ATTRS, struct.pack(">IQII", 9, len(self._content), 1, 2))
        elif kind == Type.READ:
            offset, length = struct.unpack_from(">QI", question, len(question) - 12)
            self.lengths.append(length)
            self.open += length
            self.most = max(self.most, self.open)
            data = self._content[offset : offset + min(length, self._at_most)]
            if data:
                say(Type.DATA, messages.text(data))
            else:
                say(Type.STATUS, struct.pack(">I", 1), messages.text(b"EOF"), messages.text(b""))
        else:
            say(Type.STATUS, struct.pack(">I", 0))

    def recv(self, size):
        if self._chance:
            self._chance.shuffle(self.answers)
        while self.answers:
            self._out += self.answers.pop(0)
        data = bytes(self._out[: min(size, self._piece)])
        del self._out[: len(data)]
        return data


SIZE = len(CONTENT)


def read(server, offset=0, size=SIZE):
    *pieces, last = Conversation(server).read(b"handle", offset, size)
    assert last == Attributes(len(server._content), None, 2)
    return b"".join(pieces)


@pytest.mark.parametrize("at_most", [1 << 20, 100_000, 32_768, 4096, 1000])
@pytest.mark.parametrize("disorder", [0, 1, 2])
def test_bytes_come_in_order_from_servers_that_give_little_or_answer_anyhow(at_most, disorder):
    server = Server(at_most=at_most, disorder=disorder)
    assert read(server) == CONTENT
    assert read(Server(at_most=at_most, disorder=disorder), 123_456) == CONTENT[123_456:]


def test_a_server_that_gives_little_is_asked_for_little():
    server = Server(CONTENT * 20, at_most=32_768)
    assert read(server, size=20 * len(CONTENT)) == CONTENT * 20
    assert len(server.lengths) < 2 * 20 * len(CONTENT) / 32_768 + 50


def test_the_end_of_a_file_is_not_taken_for_all_that_a_server_gives():
    server = Server()
    talk = Conversation(server)
    assert len(b"".join(list(talk.read(b"handle", 0, None))[:-1])) == SIZE
    server.lengths.clear()
    list(talk.read(b"handle", 0, SIZE))
    assert len(server.lengths) == 3


def test_no_more_is_asked_for_than_may_be_kept():
    server = Server(bytes(4 * IN_FLIGHT))
    pieces = Conversation(server).read(b"handle", 0, 4 * IN_FLIGHT)
    got = sum(len(next(pieces)) for _ in range(5))
    assert IN_FLIGHT <= server.most <= IN_FLIGHT + got + (1 << 18)


def test_a_file_that_ends_too_soon_is_told_from_one_of_which_nobody_knows_the_size():
    with pytest.raises(Shorter):
        read(Server(), size=len(CONTENT) + 1)
    assert read(Server(), size=None) == CONTENT


def test_answers_that_nobody_waits_for_are_not_kept():
    server = Server(CONTENT * 10)
    talk = Conversation(server)
    for _ in range(3):
        pieces = talk.read(b"handle", 0, 10 * len(CONTENT))
        next(pieces)
        pieces.close()
        talk.close(b"handle")
    assert len(b"".join(list(talk.read(b"handle", 0, len(CONTENT)))[:-1])) == len(CONTENT)
    talk.close(b"handle")
    assert (len(talk._answers), len(talk._unwanted - talk._open)) == (0, 0)


class Saying:
    """Sends what it was made with, whatever it is asked."""

    def __init__(self, *said):
        self._said = [messages.pack(Type.VERSION, 3), *said]

    def sendall(self, data):
        pass

    def recv(self, size):
        return self._said.pop(0) if self._said else b""


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-what",
        b"\0\0\0\1\x67",
        b"\xff\xff\xff\xff",
        messages.pack(Type.DATA, 1, struct.pack(">I", 9), b"short"),
        messages.pack(Type.DATA, 1),
        messages.pack(Type.HANDLE, 1, messages.text(b"x")),
        messages.pack(Type.ATTRS, 1, b"\0\0\0\x0f"),
        messages.pack(Type.ATTRS, 7, b"\0\0\0\0"),
        messages.pack(Type.STATUS, 1),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(said):
    with pytest.raises(Garbled):
        Conversation(Saying(said)).stat("/x")


def test_the_end_of_a_connection_is_an_end():
    with pytest.raises(EOFError):
        Conversation(Saying()).stat("/x")
    with pytest.raises(EOFError):
        Conversation(Saying(b"\0\0\0\x20\x69")).stat("/x")


def test_a_refusal_has_the_servers_words():
    said = messages.pack(
        Type.STATUS, 1, struct.pack(">I", 4), messages.text("größe".encode()), messages.text(b"")
    )
    with pytest.raises(Refused, match="größe") as caught:
        Conversation(Saying(said)).stat("/x")
    assert caught.value.code == 4


@given(st.lists(st.binary(max_size=200), max_size=20), st.randoms(use_true_random=False))
def test_messages_are_cut_out_of_a_stream_however_it_comes(bodies, chance):
    sent = b"".join(messages.pack(Type.DATA, n, messages.text(body)) for n, body in enumerate(bodies))
    inbox, got = Inbox(), []
    while sent:
        cut = chance.randint(0, len(sent))
        inbox.feed(sent[:cut])
        sent = sent[cut:]
        while (message := inbox.next()) is not None:
            got.append((message.number, message.body))
    assert got == list(enumerate(bodies))


def test_what_cannot_be_sent_for_too_long_is_an_error():
    left, right = socket.socketpair()

    def fill():
        while True:
            sender.send(bytes(100_000))

    with right, Socket(left, silence=0.0) as sender:
        sender.settimeout(0.01)
        with pytest.raises(TimeoutError):
            fill()
        with pytest.raises(OSError, match="takes nothing"):
            sender.send(b"x")
        right.recv(1 << 24)
        assert sender.send(b"x") == 1


# -- which servers are known

KEY = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519 somebody")
OTHER = HostKey("ssh-rsa", b"\0\0\0\x07ssh-rsa somebody else")


def known(tmp_path, names, url="sftp://u@Files.example.com/x", key=KEY):
    file = tmp_path / "known_hosts"
    file.write_text(f"{names} {key.type} {base64.b64encode(key.blob).decode()} a comment\n")
    return trust(parse(url), Login(known_hosts=(file,)))


@pytest.mark.parametrize(
    ("names", "url", "is_known"),
    [
        ("files.example.com", "sftp://u@files.example.com/x", True),
        ("other,files.example.com", "sftp://u@files.example.com/x", True),
        ("FILES.example.com", "sftp://u@files.example.com/x", True),
        ("*.example.com", "sftp://u@files.example.com/x", True),
        ("file?.example.com", "sftp://u@files.example.com/x", True),
        ("*.example.com,!files.*", "sftp://u@files.example.com/x", False),
        ("files.example.org", "sftp://u@files.example.com/x", False),
        ("files.example.com", "sftp://u@files.example.com:2222/x", False),
        ("[files.example.com]:2222", "sftp://u@files.example.com:2222/x", True),
        ("[files.example.com]:2223", "sftp://u@files.example.com:2222/x", False),
        ("::1", "sftp://u@[::1]/x", True),
        ("@cert-authority files.example.com", "sftp://u@files.example.com/x", False),
        ("@revoked files.example.com", "sftp://u@files.example.com/x", False),
        ("#files.example.com", "sftp://u@files.example.com/x", False),
        ("|1|nonsense", "sftp://u@files.example.com/x", False),
    ],
)
def test_lines_of_known_hosts_are_read_as_openssh_reads_them(tmp_path, names, url, is_known):
    assert known(tmp_path, names, url).takes(KEY) is is_known
    assert not known(tmp_path, names, url).takes(OTHER)


def test_the_type_of_key_that_is_known_is_asked_for_first(tmp_path):
    assert known(tmp_path, "files.example.com").types[0] == "ssh-ed25519"
    assert known(tmp_path, "files.example.com", key=OTHER).types[:2] == ("ssh-rsa", "ssh-ed25519")


def test_a_pinned_fingerprint_counts_alone(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text(KEY.line(parse("sftp://u@files/x")))
    login = Login(known_hosts=(file,), fingerprints=(OTHER.fingerprint,))
    found = trust(parse("sftp://u@files/x"), login)
    assert (found.takes(KEY), found.takes(OTHER)) == (False, True)


def test_what_a_server_says_is_one_short_line_that_steers_no_terminal():
    words = "\x1b[2Jgone\r\nfor good \u202e" + "a" * 300_000
    with pytest.raises(TransferError) as caught, errors(parse("sftp://h/f")):
        raise Refused(4, words)
    said = str(caught.value)
    assert said.startswith("the server refuses sftp://h/f: ")
    assert "gone" in said
    assert said.isprintable()
    assert len(said) <= MOST_TEXT
