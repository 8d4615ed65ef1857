"""The pages that show the API, in a real browser without a network."""

import shutil
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import falcon.testing
import pytest

from manager_api.http.app import create_app
from manager_api.http.describing import docs
from manager_api.http.services import Services
from store.clock import SystemClock
from tests.conftest import need
from tests.fakes import ACCESS

pytestmark = pytest.mark.integration

KNOWN = "https://cdn.redoc.ly/redoc/logo-mini.svg"
"""Redoc asks for its maker's logo; the policy keeps that request here."""


SHOWN = "[id*='operation/']"
"""Redoc's sections of calls."""


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def app():
    return create_app(Services(ACCESS, SystemClock()))


@pytest.fixture(scope="module")
def origin(app):
    with make_server("127.0.0.1", 0, app, server_class=Server, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(path, "chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page, with all that it asked for and all that it complained of."""

    def __init__(self, browser, url):
        self.page = browser.new_page()
        self.asked, self.left, self.said = [], [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", lambda response: self.left.append(response.url))
        self.page.on("requestfinished", lambda request: self.left.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(url)

    def problems(self, origin):
        """Complaints but for the logo, and requests that left the origin."""
        said = [text for text in self.said if KNOWN not in text]
        here = (origin, "data:", "blob:")
        gone = [url for url in self.left if not url.startswith(here)]
        strange = [url for url in self.asked if not url.startswith(here) and url != KNOWN]
        return said, gone, strange


@pytest.fixture(scope="module")
def operations(app):
    document = falcon.testing.TestClient(app).simulate_get("/openapi.json").json
    return {call["operationId"] for item in document["paths"].values() for call in item.values()}


def test_redoc_shows_every_call_and_asks_nobody_else(browser, origin, operations):
    visit = Visit(browser, f"{origin}/docs")
    visit.page.locator(SHOWN).nth(len(operations) - 1).wait_for(state="attached")
    ids = visit.page.eval_on_selector_all(SHOWN, "all => all.map(each => each.id)")
    assert operations <= {each.rpartition("/")[2] for each in ids}
    assert visit.problems(origin) == ([], [], [])
    see_that_the_policy_holds(visit)


def test_swagger_shows_every_call_and_asks_nobody_else(browser, origin, operations):
    visit = Visit(browser, f"{origin}/docs/swagger")
    visit.page.locator(".opblock").nth(len(operations) - 1).wait_for(state="attached")
    ids = visit.page.eval_on_selector_all(
        ".opblock-summary-operation-id", "all => all.map(each => each.innerText)"
    )
    assert operations <= {each.replace("\u200b", "") for each in ids}
    assert visit.problems(origin) == ([], [], [])


def add(page, tag, **attributes):
    page.evaluate(
        "([tag, attributes]) => { document.body.append(Object.assign(document.createElement(tag), attributes)) }",
        [tag, attributes],
    )


def see_that_the_policy_holds(visit):
    """What these tests rely on: a script in the page, or a request elsewhere, is refused, and they see it."""
    with visit.page.expect_console_message(lambda message: "example.org" in message.text):
        add(visit.page, "img", src="https://example.org/x.png")
    with visit.page.expect_console_message(lambda message: "inline script" in message.text):
        add(visit.page, "script", text="window.ran = 1")
    assert visit.page.evaluate("window.ran") is None
    assert not any("example.org" in url for url in visit.left)
    assert any("example.org" in url for url in visit.asked)


def test_without_the_package_the_pages_say_how_to_get_it(app, monkeypatch):
    monkeypatch.setattr(docs, "find_spec", lambda name: None)
    http = falcon.testing.TestClient(app)
    for path in ("/docs", "/docs/swagger"):
        answer = http.simulate_get(path)
        assert answer.status_code == 404
        assert docs.HOW_TO in answer.text
    assert http.simulate_get("/docs/files/redoc.js").status_code == 404
    assert http.simulate_get("/docs/files/docs.css").status_code == 200


def test_only_files_of_the_pages_are_served(app):
    http = falcon.testing.TestClient(app)
    for name in ("..%2Fdocs.py", "docs.py", "redoc.standalone.js", "%2Fetc%2Fpasswd"):
        assert http.simulate_get(f"/docs/files/{name}").status_code == 404


def test_the_package_is_not_imported():
    import sys

    assert docs.installed() is not None
    assert docs.PACKAGE not in sys.modules
