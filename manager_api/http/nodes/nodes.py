"""Nodes: listed with what their heartbeats say; joined by their agents."""

from contextlib import suppress
from operator import itemgetter

import falcon
import orjson

from manager_api.core.bar import bar_of
from manager_api.http.frame import bodies
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.pages import page
from manager_api.http.nodes import admission
from manager_api.http.nodes.join_schema import JoinSchema
from manager_api.http.nodes.node_answers import (
    A_JOIN,
    A_ROW,
    JOINED,
    NODE_LIST,
    ContractNodesSchema,
    JoinedSchema,
)
from manager_api.http.nodes.node_query import SEVERAL, NodesQuerySchema
from manager_api.http.nodes.node_rows import listing, read_beat
from manager_api.http.services import Services
from manager_api.http.waiting import news
from manager_api.inventory.devices import Kept
from manager_api.inventory.enrolment import enrol
from store.codec import Json, read_record
from store.errors import Conflict, Unavailable, Unsupported
from store.faults import fault
from store.keys import NODES, NODES_STATUS
from store.kv import servers
from store.kv.presence import grant_beats
from store.kv.projection import Projection
from store.kv.server import user_of
from store.kv.store import Store
from store.kv.url import credentials, without_credentials

_SORTS = {word: itemgetter(word) for word in ("id", "hostname", "ip", "version")}
PLACES = ("labels", "groups")
"""What people said of a node that holds for whichever machine has its name."""


def join(store: Store, said: Json, remote: str, now: float) -> Json:
    """Write or renew a node's record; the record.

    Raises:
        ApiError: 409 while a living agent with another uid holds the id; 403 while the node is being removed.
    """
    while True:
        old = store.get(NODES, said["id"])
        known = read_record(old.value, f"node {said['id']}") if old else {}
        if known and known["uid"] != said["uid"]:
            _refuse_if_alive(store, said, known)
        if not known:
            admission.check_room(store)
        if known.get("removing"):
            raise _is_removed(said["id"])
        mine = known if known.get("uid") == said["uid"] else {}
        record = {
            **({key: known[key] for key in PLACES if key in known} if known else {}),
            **mine,
            "v": 1,
            "uid": said["uid"],
            "hostname": said["hostname"],
            "ip": _ip(said["addresses"], remote),
            "addresses": said["addresses"],
            "version": said["version"],
            "features": sorted(said["features"]),
            "secret_sha256": said["secret_sha256"],
            "joined": mine.get("joined", now),
        }
        record.pop("own_labels", None)
        if said.get("labels"):
            record["own_labels"] = said["labels"]
        before = Kept(known, old.rev) if old else None
        written = enrol(store, said["id"], before, record, said.get("facts"), now)
        if not written.changes:
            return written.record
        if known.get("secret_sha256", said["secret_sha256"]) != said["secret_sha256"]:
            servers.revoke(store.client, said["id"])  # whoever came in with the old one must go
        fault("api.join.before")
        try:
            written.to(store)
        except Conflict:
            continue
        fault("api.join.after")
        return written.record


def _is_removed(node: str) -> ApiError:
    return ApiError(
        403,
        "Node is being removed",
        f"node {node!r} is being removed: its work is seen to first. Stop this agent; or leave it, and it "
        "joins as a new node when that is done",
    )


def _refuse_if_barred(store: Store, said: Json) -> None:
    record = store.get(NODES_STATUS, said["id"])
    bar = bar_of(record.value) if record else None
    if bar is not None and bar.secret == said["secret_sha256"]:
        raise ApiError(
            403,
            "Node is barred",
            f"node {said['id']!r} was barred from the store: {bar.reason}. If its credential may have "
            "been stolen, delete `secret` from the agent's identity.json and restart the agent: that makes "
            "a new one. With the old one it is let in again some minutes later",
        )


def _refuse_if_alive(store: Store, said: Json, known: Json) -> None:
    sight = Projection(store).look([said["id"]])
    if sight.raws == [None] and sight.blind:
        raise ApiError(
            503,
            "It is not known whether the node id is free",
            f"node id {said['id']!r} belongs to an agent on {known['hostname']}: {sight.blind}",
        )
    beat = read_beat(sight.raws[0])
    if beat is not None and beat["uid"] != said["uid"]:
        raise ApiError(
            409,
            "Node id is taken",
            f"node id {said['id']!r} belongs to a living agent on {known['hostname']} ({known['ip']}); "
            "stop that one first, or give this one another name with --hostname",
        )


def _host(req: falcon.Request) -> str:
    """The host by which the caller reached us."""
    try:
        return req.host
    except (ValueError, falcon.HTTPError):
        raise invalid(f"Host: {req.get_header('Host')!r} is no host with a port") from None


def _ip(addresses: list[str], remote: str) -> str:
    if remote in addresses or not addresses:
        return remote
    return addresses[0]


class ContractListing:
    """`GET /api/task/node`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List all nodes, as the old platform does",
        id="list_contract_nodes",
        tag="contract",
        answers={200: Answer("All nodes, by id.", ContractNodesSchema(), {"nodes": [A_ROW]})},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """List the nodes."""
        resp.data = orjson.dumps({"nodes": self._services.call(listing)})


class Listing:
    """`GET /v1/nodes`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List nodes",
        id="list_nodes",
        tag="nodes",
        description="Online is who has a heartbeat. Who waits is woken by nodes' coming and going, too.",
        query=NodesQuerySchema(),
        answers={
            200: Answer("The nodes that are meant.", NODE_LIST, {"data": [A_ROW], "total": 1, "next": None})
        },
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the nodes that are asked for."""
        news.hold(self._services, req, news.OF_NODES)
        asked = bodies.query(req)
        tests = [test for word in SEVERAL for test in asked.get(word, ())]
        rows = [row for row in self._services.call(listing) if all(test(row) for test in tests)]
        resp.data = orjson.dumps(page(rows, asked, sorts=_SORTS, default="id"))


@writes
class Join:
    """`POST /v1/nodes/join`."""

    replayable = False  # its answer may hold a password

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Join: an agent asks for its place in the cluster",
        id="join_node",
        tag="nodes",
        description="Again by the same agent renews its record. Meant for agents; people have no use for it.",
        body=JoinSchema(),
        body_example=A_JOIN,
        answers={200: Answer("Where the store is, and who the node is there.", JoinedSchema(), JOINED)},
        errors=(403, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take an agent in, and tell it where the store is and who it is there."""
        said = bodies.body(req)
        host = _host(req)
        now = self._services.clock.wall()
        remote = req.remote_addr or "127.0.0.1"
        self._services.call(lambda store: _refuse_if_barred(store, said))
        self._services.call(lambda store: join(store, said, remote, now))
        store = self._services.store
        meta = store.meta()
        where = {"url": self._store_url(host), **self._credentials(store, said)}
        if "presence" in said["features"]:
            where |= self._presence(store, said)
        spread = admission.spread(admission.count(store))
        resp.data = orjson.dumps(
            {"node": said["id"], "cluster": meta.cluster, "store": where, "spread": spread}
        )

    def _presence(self, store: Store, said: Json) -> Json:
        """Where to beat, if elsewhere. An absent presence store learns of the node from the leader."""
        url = self._services.access.presence_url
        if store.presence is None or not url:
            return {}
        with suppress(Unavailable):
            secrets = {said["id"]: said["secret_sha256"]}
            store.presence.ask(lambda client: grant_beats(client, store.keys, secrets))
        return {"presence": without_credentials(url)}

    def _credentials(self, store: Store, said: Json) -> Json:
        """The node's own user; its password is the secret whose digest it sent."""
        try:
            servers.grant(store.client, store.keys, said["id"], said["secret_sha256"])
        except Unsupported:
            username, password = credentials(self._services.access.url)
            return {
                "username": username,
                "password": self._services.access.password() or password,
                "warning": "this store cannot limit nodes to their own keys (6.2): every node can read all",
            }
        return {"username": user_of(said["id"]), "password": None}

    def _store_url(self, host: str) -> str:
        """As the caller can reach it: the embedded store is where the API is."""
        access = self._services.access
        if access.advertised_port is None:
            return without_credentials(access.url)
        name = f"[{host}]" if ":" in host else host
        return f"redis://{name}:{access.advertised_port}/0"
