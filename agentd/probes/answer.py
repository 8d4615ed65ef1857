"""An HTTP answer, read piece by piece as it arrives, and what it says of a target's health."""

import re
from dataclasses import dataclass

MOST_BODY = 64 * 1024
MOST_HEAD = 64 * 1024
MOST_CHUNK_LINE = 1024
_START = b"HTTP/"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?:[ \r\n]|$)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one probe found; `reason` is empty when all is well."""

    ok: bool
    reason: str = ""


WELL = Verdict(ok=True)


class NotHttp(ValueError):
    """What came is no HTTP answer."""


class Answer:
    """Feed it what arrives; the verdict falls with the last byte, or with the first that is too many.

    A bad status is enough for a verdict. A good answer is read to its end (at most 64 KiB of body),
    because a target that is hung up on in the middle complains in its log at each probe.
    """

    def __init__(self, status: tuple[int, int], body: str | None) -> None:
        self._wanted = status
        self._text = body
        self._buffer = bytearray()
        self._head_size = 0
        self._searched = 0
        self._code = 0
        self._chunked = False
        self._left: int | None = None
        """Bytes to come, of the body or of this chunk; None: until the end of the connection."""
        self._size = 0
        self._body = bytearray()

    def feed(self, data: bytes) -> Verdict | None:
        """Take what has arrived; a verdict as soon as there is one."""
        self._buffer += data
        try:
            if not self._code:
                if not self._heads():
                    return None
                low, high = self._wanted
                if not low <= self._code <= high:
                    wanted = f"{low}" if low == high else f"{low}-{high}"
                    return Verdict(ok=False, reason=f"answered {self._code}, wanted {wanted}")
            whole = self._chunks() if self._chunked else self._take()
        except NotHttp as error:
            return Verdict(ok=False, reason=str(error))
        return self._judge() if whole or self._size >= MOST_BODY else None

    def end(self) -> Verdict:
        """The other side has closed."""
        if self._code and not self._chunked and self._left is None:
            return self._judge()
        begun = self._code or self._buffer or self._head_size
        where = "in the middle of its answer" if begun else "without an answer"
        return Verdict(ok=False, reason=f"closed the connection {where}")

    def _judge(self) -> Verdict:
        if self._text is None or self._text.encode() in self._body:
            return WELL
        text = self._text if len(self._text) <= 60 else f"{self._text[:60]}…"
        cut = " in its first 64 KiB" if self._size >= MOST_BODY else ""
        return Verdict(ok=False, reason=f"the answer lacks '{text}'{cut}")

    def _heads(self) -> bool:
        """Pass over interim answers (1xx); whether the head of the final one is there."""
        while self._head():
            if self._code:
                return True
        return False

    def _head(self) -> bool:
        """Read one head; whether all of it is there. `_code` stays 0 if it is an interim one."""
        buffer = self._buffer
        if not _START.startswith(bytes(buffer[: len(_START)])):
            raise NotHttp(_stranger(bytes(buffer[:40])))
        found = _HEAD_END.search(buffer, self._searched)
        if self._head_size + (found.end() if found else len(buffer)) > MOST_HEAD:
            raise NotHttp("the answer's headers are longer than 64 KiB")
        if found is None:
            self._searched = max(0, len(buffer) - 3)
            return False
        head = bytes(buffer[: found.start()])
        status = _STATUS.match(head)
        if status is None:
            raise NotHttp(_stranger(head[:40]))
        del buffer[: found.end()]
        self._head_size += found.end()
        self._searched = 0
        code = int(status[1])
        if code >= 200 or code == 101:
            self._code = code
            self._framing(head)
        return True

    def _framing(self, head: bytes) -> None:
        """Where the body ends."""
        if self._code in (101, 204, 304):
            self._left = 0
            return
        length = None
        for name, value in _FRAMING.findall(head):
            if name[:1] in b"Tt":
                self._chunked = self._chunked or b"chunked" in value.lower()
            else:
                length = value.strip()
        if self._chunked:
            self._left = 0
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise NotHttp(f"the answer's Content-Length is '{_shown(length[:40])}'")
            self._left = int(length)

    def _take(self) -> bool:
        """Move what belongs to the body; whether all of it is there."""
        part = self._buffer if self._left is None else self._buffer[: self._left]
        self._size += len(part)
        if self._text is not None:
            self._body += part[: MOST_BODY - len(self._body)]
        del self._buffer[: len(part)]
        if self._left is not None:
            self._left -= len(part)
        return self._left == 0

    def _chunks(self) -> bool:
        """Move whole and begun chunks; whether the last one has come."""
        while self._size < MOST_BODY:
            if self._left and not self._take():
                return False
            end = self._buffer.find(b"\n")
            if end > MOST_CHUNK_LINE or (end < 0 and len(self._buffer) > MOST_CHUNK_LINE):
                raise NotHttp("the answer's chunks have no sizes")
            if end < 0:
                return False
            line = bytes(self._buffer[:end]).partition(b";")[0].strip()
            del self._buffer[: end + 1]
            if not line:  # it ends the chunk before
                continue
            if not _HEX.fullmatch(line):
                raise NotHttp(f"the answer has a chunk of size '{_shown(line[:40])}'")
            self._left = int(line, 16)
            if self._left == 0:
                return True
        return False


def _stranger(data: bytes) -> str:
    hint = "; is it https?" if data[:1] == b"\x15" else ""
    return f"the answer is not HTTP: '{_shown(data.strip())}'{hint}"


def _shown(data: bytes) -> str:
    return ascii(data)[2:-1]
