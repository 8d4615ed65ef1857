"""Taking nodes in: many at once beside the manager, or each by the manager, as agents ask for it."""

import concurrent.futures
import contextlib
import http.client
import json
import time
from urllib.parse import urlsplit

from manager_api.http.nodes.nodes import join
from store.kv.server import Server

AT_ONCE = 500


def enrol(store, crew):
    """Write the record of every node by the join's own code, and give each its user of the store."""
    server = Server(store.client)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for start in range(0, len(crew), AT_ONCE):
            bodies = [who.join_body() for who in crew[start : start + AT_ONCE]]
            list(pool.map(lambda body: join(store, body, "127.0.0.1", time.time()), bodies))
            server.grant_nodes(store.keys, {body["id"]: body["secret_sha256"] for body in bodies})


class Door:
    """Posts joins to a manager, on a few threads, since the loop must not wait for them."""

    def __init__(self, url, workers=8):
        self._url = urlsplit(url)
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)

    def post(self, who):
        """The manager's answer.

        Raises:
            OSError, ValueError, http.client.HTTPException: it did not take the node in.
        """
        with contextlib.closing(
            http.client.HTTPConnection(self._url.hostname, self._url.port or 80, timeout=30)
        ) as connection:
            connection.request("POST", "/v1/nodes/join", json.dumps(who.join_body()))
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {text[:200].decode(errors='replace')}")
        return json.loads(text)

    def ask(self, who, done):
        """Post a join; `done()` is called on another thread, whatever came of it: agents just try again."""

        def work():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self.post(who)
            done()

        self._pool.submit(work)

    def take_in(self, crew):
        """Post the joins of all; the store's address.

        Raises:
            OSError, ValueError, http.client.HTTPException: one was not taken in.
        """
        answers = list(self._pool.map(self.post, crew))
        url = urlsplit(answers[0]["store"]["url"])
        return url.hostname, url.port

    def close(self):
        """Begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
