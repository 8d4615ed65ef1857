"""What `bench_api.py` compares with: bare Falcon and FastAPI applications that make the same round trips.

A call is recorded as the application makes it: the commands of every round trip to the store, and the
answer. The twins send the same commands by pipelines of the client library, read those replies that are
JSON, and serialise the answer, which they know. They check nothing, make nothing of what they read, and
know no errors. FastAPI is there twice: as its users write it (a dictionary is returned, and FastAPI makes
JSON of it), and with the answer's bytes made by orjson past all that FastAPI does.
"""

import json
import os
import threading
from pathlib import Path

import orjson
import redis

TRIPS = "BENCH_TRIPS"


class Tape:
    """Notes the round trips of this thread to the store: the commands of each, and whether it is one MULTI."""

    def __init__(self):
        self.trips, self._thread = [], None
        self._send = redis.connection.AbstractConnection.send_packed_command

    def __enter__(self):
        self._thread, tape = threading.get_ident(), self

        def send(connection, command, check_health=True):
            if threading.get_ident() == tape._thread:
                parts = [command] if isinstance(command, bytes) else command
                tape.trips.append(_commands(b"".join(bytes(each) for each in parts)))
            return tape._send(connection, command, check_health)

        redis.connection.AbstractConnection.send_packed_command = send
        return self

    def __exit__(self, *_):
        redis.connection.AbstractConnection.send_packed_command = self._send


def _commands(data):
    """The commands in what is sent, as texts; MULTI and EXEC as a mark."""
    found, at = [], 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        count, at, words = int(data[at + 1 : end]), end + 2, []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            words.append(data[end + 2 : end + 2 + size].decode("latin-1"))
            at = end + 4 + size
        found.append(words)
    transaction = found[0] == ["MULTI"]
    return {"transaction": transaction, "commands": found[1:-1] if transaction else found}


def calls():
    """Method and path to (round trips, answer)."""
    found = json.loads(Path(os.environ[TRIPS]).read_text())
    for call in found.values():
        for trip in call["trips"]:
            trip["commands"] = [
                [words[0], *(word.encode("latin-1") for word in words[1:])] for words in trip["commands"]
            ]
    return {key: (call["trips"], call["answer"]) for key, call in found.items()}


def pipeline(client, trip):
    """One round trip by the client library's own means."""
    made = client.pipeline(transaction=trip["transaction"])
    for words in trip["commands"]:
        made.execute_command(*words)
    return made


def understood(reply):
    """Read the records of a reply, as any stateless server would have to."""
    if isinstance(reply, bytes):
        if reply[:1] == b"{":
            orjson.loads(reply)
    elif isinstance(reply, list):
        for each in reply:
            understood(each)
    elif isinstance(reply, dict):
        for each in reply.values():
            understood(each)


def falcon_app():
    """For gunicorn: `twins:falcon_app()`."""
    import falcon

    known, client = calls(), redis.Redis.from_url(os.environ["BENCH_STORE"], protocol=2)

    class Twin:
        def on_get(self, req, resp, **_):
            resp.data = self._answer(req)

        def on_post(self, req, resp, **_):
            orjson.loads(req.bounded_stream.read())
            resp.data = self._answer(req)

        def _answer(self, req):
            trips, answer = known[f"{req.method} {req.relative_uri}"]
            for trip in trips:
                understood(pipeline(client, trip).execute(raise_on_error=False))
            return orjson.dumps(answer)

    app = falcon.App()
    for path in {key.split(" ")[1].partition("?")[0] for key in known}:
        app.add_route(path, Twin())
    return app


def fastapi_app():
    """For uvicorn, as a factory: `twins:fastapi_app`."""
    return _fastapi(lambda answer: answer)


def raw_fastapi_app():
    """For uvicorn, as a factory: `twins:raw_fastapi_app`."""
    from fastapi.responses import Response

    return _fastapi(lambda answer: Response(orjson.dumps(answer), media_type="application/json"))


def _fastapi(said):
    import redis.asyncio as aioredis
    from fastapi import FastAPI, Request

    known, app = calls(), FastAPI()
    client = aioredis.Redis.from_url(os.environ["BENCH_STORE"], protocol=2)

    async def twin(request: Request):
        if request.method == "POST":
            orjson.loads(await request.body())
        query = f"?{request.url.query}" if request.url.query else ""
        trips, answer = known[f"{request.method} {request.url.path}{query}"]
        for trip in trips:
            understood(await pipeline(client, trip).execute(raise_on_error=False))
        return said(answer)

    for key in known:
        method, _, path = key.partition(" ")
        app.add_api_route(path.partition("?")[0], twin, methods=[method])
    return app
