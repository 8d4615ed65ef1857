"""`ETag`, `If-Match`, `If-None-Match`: nobody overwrites what they have not seen, or reads it twice."""

import hashlib
import re

import falcon

from manager_api.http.frame.errors import ApiError, invalid

_TAG = re.compile(r'\s*(?:W/)?"(\d{1,18})(?:-[0-9a-f]*)?"\s*')
"""`"<revision>"`, or `"<revision>-<digest of the answer>"`."""
_ANY_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
CHANGED = "The record has changed"


def expected(req: falcon.Request) -> int | None:
    """The revision that `If-Match` asks for; None: none is asked for, or any (`*`).

    Raises:
        ApiError: 400 for what is no tag that this API gave, and for several at once.
    """
    said = req.get_header("If-Match")
    if said is None or said.strip() == "*":
        return None
    found = _TAG.fullmatch(said)
    if found is None:
        raise invalid(f"If-Match: {said[:80]!r} is no ETag that was given here")
    return int(found[1])


def tag(resp: falcon.Response, rev: int) -> None:
    """Say at which revision the record of an answer is."""
    resp.set_header("ETag", f'"{rev}"')


def changed(detail: str) -> ApiError:
    """412: the record is not what the caller has seen."""
    return ApiError(412, CHANGED, detail)


def digested(resp: falcon.Response) -> None:
    """Give an answer that was read a tag that changes whenever it does.

    A record's revision stays its beginning, for `If-Match`: an answer shows more than the record, such as
    heartbeats. A list has no revision that could be matched: its tag is weak, and no number begins it.
    """
    if resp.data is None:
        return
    digest = hashlib.sha256(resp.data).hexdigest()[:16]
    known = resp.get_header("ETag")
    if known is None:
        resp.set_header("ETag", f'W/"-{digest}"')
    elif known[-1:] == '"' and known[1:-1].isdigit():
        resp.set_header("ETag", f'{known[:-1]}-{digest}"')


def unchanged(req: falcon.Request, resp: falcon.Response) -> bool:
    """Whether `If-None-Match` names the answer, by the weak comparison that HTTP asks for."""
    said, mine = req.env.get("HTTP_IF_NONE_MATCH"), resp.get_header("ETag")
    if said is None or mine is None:
        return False
    return said.strip() == "*" or mine.removeprefix("W/") in _ANY_TAG.findall(said)
