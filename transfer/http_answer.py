"""What an HTTP server's answer says of a file. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from transfer.errors import Kind, NotNow, TransferError
from transfer.reader import Stat
from transfer.urls import Source, parse

_STRONG = re.compile(r'"[^"\s]*"')
_SIZE = re.compile(r"[0-9]{1,18}")
"""What is longer is no file's, and neither Python nor JSON would read it."""
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNMET_RANGE = re.compile(r"bytes \*/([0-9]{1,18})")
_REST = re.compile(r"\d{1,9}")
SETTLED = 2.0
"""Seconds after a change from which `Last-Modified`, which counts whole ones, tells two contents apart."""
_ETAG, _DATE = "etag ", "modified "


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, their names in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def length(self) -> int | None:
        """Bytes of the body, if they are said."""
        text = self.headers.get("content-length", "")
        if "transfer-encoding" in self.headers or not _SIZE.fullmatch(text):
            return None
        return int(text)

    @property
    def stat(self) -> Stat:
        """Of the whole file, for an answer of 200, of 206, or of 416 to an empty file."""
        size = self.length if self.status == 200 else self._total()
        etag, modified = self.headers.get("etag", "").strip(), self.headers.get("last-modified", "")
        if etag:
            strong = _STRONG.fullmatch(etag) is not None
            return Stat(size, f"{_ETAG}{etag}", exact=strong)
        if modified and self._has_settled(modified):
            return Stat(size, f"{_DATE}{modified}")
        return Stat(size, "", exact=False)

    def part(self) -> tuple[int, int, int | None] | None:
        """What a 206 brings: first byte, last byte, size of the whole (None: not said)."""
        found = _RANGE.fullmatch(self.headers.get("content-range", "").strip())
        return found and (int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3]))

    def is_of_empty_file(self) -> bool:
        """Whether it refuses a range since the file has no bytes."""
        return self.status == 416 and self._total() == 0

    def _total(self) -> int | None:
        said = self.headers.get("content-range", "").strip()
        if unmet := _UNMET_RANGE.fullmatch(said):
            return int(unmet[1])
        part = self.part()
        return part[2] if part else None

    def _has_settled(self, modified: str) -> bool:
        then, now = _date(modified), _date(self.headers.get("date", ""))
        return then is not None and now is not None and now - then >= SETTLED


def if_range(stat: Stat) -> str:
    """The header that asks for a part only of the very file that `stat` is of."""
    return stat.stamp.removeprefix(_ETAG).removeprefix(_DATE)


def redirected(source: Source, answer: Answer) -> Source:
    """Where a redirection leads.

    Raises:
        TransferError: UNSUPPORTED: nowhere, to no HTTP, or from TLS to none.
    """
    raw = answer.headers.get("location", "")
    # Header lines are read as Latin-1; whatever they hold is escaped, except what is so already.
    where = quote(raw.strip().encode("latin-1", "replace"), safe=_KEPT)
    try:
        text = urljoin(exact(source), where)
        scheme = urlsplit(text).scheme
    except ValueError:
        raise TransferError(Kind.UNSUPPORTED, f"{source} redirects to what is no URL") from None
    if not raw or scheme not in ("http", "https"):
        raise TransferError(Kind.UNSUPPORTED, f"{source} redirects to what is not HTTP")
    if source.scheme == "https" and scheme == "http":
        raise TransferError(Kind.UNSUPPORTED, f"{source} redirects from https to http, which is not followed")
    if not urlsplit(text).path.strip("/"):
        raise TransferError(Kind.UNSUPPORTED, f"{source} redirects to a server's start page")
    try:
        return parse(text)
    except TransferError as error:
        raise TransferError(error.kind, f"{source} redirects to what cannot be followed") from None


def target(source: Source) -> str:
    """Path and query as they go into a request: nothing in them can end the line."""
    return quote(source.path, safe=_KEPT)


def exact(source: Source) -> str:
    """The URL with its query, which people are not shown."""
    return f"{source.pool}{target(source)}"


def refusal(source: Source, answer: Answer) -> TransferError:
    """Why an answer that brings no file does not."""
    said = _in_words(answer.status)
    match answer.status:
        case 404 | 410:
            return TransferError(Kind.MISSING, f"no such file {source} ({said})")
        case 401 | 403:
            return TransferError(Kind.DENIED, f"{source} may not be read: the server answers {said}")
        case 429 | 503:
            rest = answer.headers.get("retry-after", "").strip()
            asked = f", and asks for {rest} s of rest" if _REST.fullmatch(rest) else ""
            return NotNow(Kind.UNREACHABLE, f"{source}: the server is busy, it answers {said}{asked}")
        case status if 400 <= status < 500:
            return TransferError(Kind.DENIED, f"{source} is not given: the server answers {said}")
        case _:
            return NotNow(Kind.UNREACHABLE, f"{source}: the server answers {said}")


def _in_words(status: int) -> str:
    """Not in the server's: they may repeat a query."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


_KEPT = "/%?&=:;@!$'()*+,~-._[]#|"


def _date(text: str) -> float | None:
    try:
        found: datetime = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return found.timestamp()
