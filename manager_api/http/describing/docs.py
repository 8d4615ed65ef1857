"""`/openapi.json`, and the pages that show it: Redoc at `/docs`, Swagger UI at `/docs/swagger`.

Nothing comes from elsewhere: the two programs are files of a package that is found, and never imported. It
need not be installed; then the pages say so.
"""

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import falcon
import orjson
from marshmallow import fields

from manager_api.http.describing import openapi
from manager_api.http.frame.answers import AnswerSchema
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.operation import Answer, describe

PACKAGE = "drf_spectacular_sidecar"
HOW_TO = "pip install --no-deps drf-spectacular-sidecar"
OWN = Path(__file__).with_name("docs_files")
THEIRS = {
    "redoc.js": "redoc/bundles/redoc.standalone.js",
    "swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
}
"""What of the package is served, by the names under which it is."""
MEDIA = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
HTML = "text/html; charset=utf-8"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""No script but from here, no request but to here. Both programs write styles into the page."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Muster: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/files/docs.css">
{head}
</head>
<body>
<nav><b>Muster</b> <a href="/docs">Reference</a> <a href="/docs/swagger">Try it</a>
<a href="/openapi.json">openapi.json</a></nav>
{body}
</body>
</html>
"""
_SCRIPT = '<script src="/docs/files/{}" defer></script>\n'
_MISSING = f"""<main class="missing">
<h1>These pages are not installed</h1>
<p>The API is described by <a href="/openapi.json">openapi.json</a>. The programs that show it are an optional
package, used without what it asks for. On the manager's machine, in its environment:</p>
<pre>{HOW_TO}</pre>
<p>Then restart the manager.</p>
</main>"""


def installed() -> Mapping[str, Path] | None:
    """The files of the package by the names under which they are served; None: it is not there."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    home = Path(found.submodule_search_locations[0]) / "static" / PACKAGE
    files = {name: home / path for name, path in THEIRS.items()}
    return files if all(path.is_file() for path in files.values()) else None


class DocumentSchema(AnswerSchema):
    """An OpenAPI document."""

    openapi = fields.Str(required=True)
    info = fields.Dict(required=True)
    paths = fields.Dict(required=True)
    about: ClassVar[dict[str, str]] = {
        "openapi": "The version of OpenAPI.",
        "info": "What this is, and its version.",
        "paths": "The calls.",
    }


class OpenApi:
    """`GET /openapi.json`: made once in each process, at the first request."""

    def __init__(self, routes: openapi.Routes) -> None:
        self._routes = routes
        self._lock = threading.Lock()
        self._made = b""

    @describe(
        "This description of the API, as OpenAPI 3.1",
        id="get_openapi",
        tag="docs",
        answers={
            200: Answer("The document.", DocumentSchema(), {"openapi": "3.1.0", "info": {}, "paths": {}})
        },
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the document."""
        with self._lock:
            self._made = self._made or orjson.dumps(openapi.document(self._routes))
        resp.data = self._made


_PAGES = {200: Answer("The page.", media="text/html"), 404: Answer("How to install it.", media="text/html")}


class Reference:
    """`GET /docs`."""

    @describe("The API as a page to read (Redoc)", id="get_reference_page", tag="docs", answers=_PAGES)
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the page."""
        _show(resp, scripts=("redoc.js", "start-redoc.js"))


class TryIt:
    """`GET /docs/swagger`."""

    @describe("The API as a page to try it (Swagger UI)", id="get_swagger_page", tag="docs", answers=_PAGES)
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the page."""
        _show(resp, scripts=("swagger-ui.js", "start-swagger.js"), style="swagger-ui.css")


def _show(resp: falcon.Response, *, scripts: tuple[str, ...], style: str | None = None) -> None:
    resp.content_type = HTML
    resp.set_header("Content-Security-Policy", POLICY)
    if installed() is None:
        resp.status = 404
        resp.data = _PAGE.format(head="", body=_MISSING).encode()
        return
    head = f'<link rel="stylesheet" href="/docs/files/{style}">\n' if style else ""
    head += "".join(_SCRIPT.format(name) for name in scripts)
    resp.data = _PAGE.format(head=head, body='<div id="docs"></div>').encode()


class File:
    """`GET /docs/files/{name}`: nothing but what the pages need."""

    @describe(
        "A file of the pages",
        id="get_page_file",
        tag="docs",
        answers={200: Answer("The file.", media="text/javascript", others=("text/css",))},
        errors=(404,),
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer a script or a style sheet."""
        mine = {path.name: path for path in OWN.iterdir()}
        path = {**(installed() or {}), **mine}.get(name)
        if path is None or path.suffix not in MEDIA:
            raise ApiError(404, "File not found", f"the pages of /docs have no file {name[:80]!r}")
        resp.content_type = MEDIA[path.suffix]
        resp.data = path.read_bytes()


def routes(known: list[tuple[str, object]]) -> list[tuple[str, object]]:
    """The paths of the document and its pages; `known` is what they describe, also what is added later."""
    return [
        ("/openapi.json", OpenApi(known)),
        ("/docs", Reference()),
        ("/docs/swagger", TryIt()),
        ("/docs/files/{name}", File()),
    ]
