"""Answers in gzip, for those who take it and where it is worth it; streams part by part, as they come."""

import zlib
from collections.abc import Iterator
from typing import Any

import falcon

LEAST = 1024
"""Bytes below which it costs more than it saves."""
LEVEL = 1
_GZIP = 31
"""zlib's window bits for a gzip header and trailer."""
_WORTH = ("application/json", "application/problem+json", "application/x-ndjson", "application/javascript",
          "text/plain", "text/html", "text/css", "text/csv", "text/javascript", "image/svg+xml")  # fmt: skip
"""Not event streams: they are kept apart by `event_hub`, and every event has to leave at once."""


def compress(req: falcon.Request, resp: falcon.Response) -> None:
    """Compress an answer if its caller takes that and it is long enough. A strong ETag becomes a weak one."""
    accepted = req.env.get("HTTP_ACCEPT_ENCODING")
    data = resp.data
    if accepted is None or (data is not None and len(data) < LEAST) or not _takes(accepted):
        return
    if (data is None and resp.stream is None) or resp.get_header("Content-Encoding"):
        return
    if (resp.content_type or falcon.MEDIA_JSON).partition(";")[0].strip() not in _WORTH:
        return
    if data is not None:
        resp.data = zlib.compress(data, LEVEL, _GZIP)
    else:
        resp.stream = Compressed(resp.stream)
        resp.delete_header("Content-Length")
    resp.set_header("Content-Encoding", "gzip")
    tag = resp.get_header("ETag")
    if tag is not None and not tag.startswith("W/"):
        resp.set_header("ETag", f"W/{tag}")


def _takes(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip, or anything, and not with a weight of 0."""
    found = None
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        name = name.strip()
        if name in ("gzip", "x-gzip") or (name == "*" and found is None):
            found = weight.replace(" ", "").rstrip("0") not in ("q=", "q=0.", "q=.")
    return bool(found)


class Compressed:
    """A body that compresses another one; each part can be read as soon as it is there."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._parts = _parts(source)

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        """End the other one, read to its end or not."""
        if hasattr(self._source, "close"):
            self._source.close()


def _parts(source: Any) -> Iterator[bytes]:
    squeezed = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    for part in iter(lambda: source.read(1 << 16), b"") if hasattr(source, "read") else source:
        if found := squeezed.compress(part) + squeezed.flush(zlib.Z_SYNC_FLUSH):
            yield found
    yield squeezed.flush()
