"""What holds for every call: its id, what it is called, the tags and the form of its answer.

One middleware, the outermost: each one more costs every call. It goes first on the way in, so that
whatever fails knows the request's id; last on the way out, when the answer is all there.
"""

from typing import Any

import falcon

from manager_api.http.frame import compression, preconditions, request_id
from manager_api.http.frame.operation import of
from store import logs
from store.version import VERSION

_READS = ("GET", "HEAD")
_ALWAYS = {
    "Muster-Version": VERSION,
    "X-Content-Type-Options": "nosniff",
}
_VARY = "Accept, Accept-Encoding"


class Standards:
    """Middleware over every call."""

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Give it an id."""
        request_id.take(req)

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Say which operation it is, for `bodies`, metrics and logs; and of what, for errors."""
        req.context.operation = of(resource, "GET" if req.method == "HEAD" else req.method)
        req.context.resource = resource

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Finish the answer: tagged, or not sent again; compressed; with what every answer carries."""
        if resp.text is not None and resp.data is None:
            resp.data, resp.text = resp.text.encode(), None
        tagged = req.method in _READS and resp.status_code == 200 and _tagged(req, resp)
        if req.method == "HEAD":
            _forgo(resp)
        compression.compress(req, resp)
        resp.set_headers(_ALWAYS)
        if resp.get_header("Vary") != _VARY:  # as it is in answers that were finished for another caller
            resp.append_header("Vary", _VARY)
        resp.set_header(request_id.HEADER, request_id.of(req))
        if resp.status_code >= 400 or not resp.get_header("Cache-Control"):
            resp.set_header("Cache-Control", "private, no-cache" if tagged else "no-store")
        if resp.stream is None:
            logs.request.set("")  # else, as long as it is sent


def _tagged(req: falcon.Request, resp: falcon.Response) -> bool:
    """Whether the answer has a tag; emptied if its caller has it already."""
    preconditions.digested(resp)
    if resp.get_header("ETag") is None:
        return False
    if preconditions.unchanged(req, resp):
        resp.status = 304
        resp.data = None
    return True


def _forgo(resp: falcon.Response) -> None:
    """Let go of a stream that nobody will read: a server closes only what it was given."""
    if resp.stream is not None:
        stream, resp.stream = resp.stream, ()  # None would be an answer of length 0
        if hasattr(stream, "close"):
            stream.close()


def heads(resource: Any) -> Any:
    """The resource, which answers HEAD as it answers GET: the server leaves out the body."""
    if hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
        resource.on_head = resource.on_get
    return resource
