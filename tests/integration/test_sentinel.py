"""A store under Sentinel, on real servers: fail-over, what survives it, and what must not be written where."""

import hashlib
import itertools
import threading

import pytest
import redis

from store import bootstrap
from store.errors import Denied, EpochChanged, StoreError, Unavailable
from store.kv import servers
from store.kv.connection import connect
from store.kv.durability import replicated
from store.kv.node import RedisNodeLink
from store.kv.sentinel import Sentinels
from store.kv.server import user_of
from store.kv.servers import NodeUsers
from store.kv.store import Store
from store.kv.watch import Watch
from tests.conftest import SOAK, eventually
from tests.sentinels import PASSWORD, SentinelStore

pytestmark = pytest.mark.integration

SECRET = "s3cret"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.fixture
def make(tmp_path):
    made = []

    def start(**how):
        made.append(SentinelStore(tmp_path, **how))
        return made[-1]

    yield start
    for each in made:
        each.end()


def view_of(sentinels, **more):
    view = Store(sentinels.client(recheck=True, **more))
    bootstrap.begin(view, None)
    return view


class Writer(threading.Thread):
    """Puts its own numbered fields until told to stop; remembers what was said of each."""

    def __init__(self, sentinels, name, *, replicas=0):
        super().__init__(daemon=True)
        self._sentinels, self._name, self._replicas = sentinels, name, replicas
        self._ending = threading.Event()
        self.acknowledged, self.confirmed, self.refused = {}, {}, []
        self.began = threading.Event()

    def run(self):
        view = Store(self._sentinels.client(recheck=True))
        for number in itertools.count():
            if self._ending.is_set():
                return
            field, value = f"{self._name}.{number}", b"%d" % number
            try:
                if not view.epoch:
                    view.attach()
                self.began.set()
                with replicated(self._replicas) as durable:
                    view.put("w", field, value)
                self.acknowledged[field] = value
                if durable.held:
                    self.confirmed[field] = value
            except EpochChanged as error:
                self.refused.append(error)
                view = Store(view.client)
            except StoreError as error:
                self.refused.append(error)
                self._ending.wait(0.01)

    def end(self):
        self._ending.set()
        self.join(20)
        assert not self.is_alive(), "a writer hangs"


def start_writers(sentinels, count, **how):
    writers = [Writer(sentinels, f"w{number}", **how) for number in range(count)]
    for writer in writers:
        writer.start()
    return writers


def settled(view, read):
    """What `read` gives once the store answers again; a lost history shows through."""

    def attempt():
        try:
            return (read(),)
        except Unavailable:
            return None

    return eventually(attempt, 40)[0]


def test_nothing_confirmed_by_a_replica_is_lost_when_the_primary_dies(make):
    sentinels = make()
    view = view_of(sentinels)
    writers = start_writers(sentinels, 4, replicas=1)
    primary, rounds = 0, 5 if SOAK else 1
    for left in reversed(range(rounds)):
        before = sum(len(writer.confirmed) for writer in writers)
        eventually(lambda least=before + 200: sum(len(w.confirmed) for w in writers) > least)
        sentinels.kill(primary)
        new = sentinels.promoted(primary)
        after = {writer: len(writer.confirmed) for writer in writers}
        eventually(lambda then=after: all(len(w.confirmed) > then[w] for w in writers), 40)
        if left:
            sentinels.start(primary)
            eventually(lambda new=new: sentinels.in_step(new), 40)
            primary = new
    for writer in writers:
        writer.end()
        assert {type(error) for error in writer.refused} <= {Unavailable}
    found = settled(view, lambda: view.values("w"))
    for writer in writers:
        assert writer.confirmed.items() <= found.items()


def test_a_write_that_no_replica_confirms_is_said_to_be_so_and_stays(make):
    sentinels = make(min_replicas=0)
    view = view_of(sentinels)
    with replicated() as durable:
        view.put("c", "a", b"1")
        view.client.script_flush()
        view.put("c", "b", b"2")
    assert durable.held is True
    sentinels.cut()
    with replicated() as durable:
        view.put("c", "a", b"3")
    assert durable.held is False
    assert view.get("c", "a").value == b"3"
    assert not view.confirm(1)
    with replicated() as durable:
        view.get("c", "a")
    assert durable.held is None


def test_without_replicas_nothing_is_taken_that_could_be_lost(make):
    """What `min-replicas-to-write 1` is for."""
    sentinels = make(min_replicas=1)
    view = view_of(sentinels)
    sentinels.cut()
    with pytest.raises(Unavailable, match="NOREPLICAS"):
        view.put("c", "a", b"1")
    with pytest.raises(Unavailable, match="NOREPLICAS"), replicated():
        view.put("c", "a", b"1")
    assert view.get("c", "a") is None


def test_lost_writes_are_noticed_by_everybody_who_saw_them(make):
    sentinels = make(min_replicas=0)
    view = view_of(sentinels)
    view.put("c", "kept", b"1")
    assert view.confirm(2)
    sentinels.cut()
    for number in range(20):
        view.put("c", f"lost.{number}", b"1")
    watch = Watch(sentinels.client("watch", recheck=True), view.keys, epoch=view.epoch, after=view.seen)
    sentinels.kill(0)
    sentinels.mend()
    sentinels.promoted(0)
    attempts = (lambda: view.values("c"), lambda: view.put("c", "x", b""), lambda: watch.poll(0), view.attach)
    for attempt in attempts:
        with pytest.raises(EpochChanged):  # or HistoryLost, one of its kind
            settled(view, attempt)
    newcomer = Store(sentinels.client("new"))
    newcomer.attach()
    assert newcomer.values("c") == {"kept": b"1"}


@pytest.mark.parametrize("min_replicas", [0, 1])
def test_no_answer_of_a_primary_that_was_paused_and_replaced_counts(make, min_replicas):
    """Its clients ask it while it sleeps: of what it does when it wakes, nobody else will know."""
    sentinels = make(min_replicas=min_replicas)
    views = [view_of(sentinels) for _ in range(3)]
    acknowledged = []

    def write(number, view):
        try:
            view.put("c", str(number), b"1")
        except Unavailable:
            return
        acknowledged.append(str(number))

    for view in views:
        view.put("c", "before", b"1")
        pool = view.client.connection_pool
        for connection in [pool.get_connection() for _ in range(2)]:
            pool.release(connection)
    assert view.confirm(2)
    sentinels.pause(0)
    sleepers = [threading.Thread(target=write, args=each) for each in enumerate([*views, *views])]
    for sleeper in sleepers:
        sleeper.start()
    new = sentinels.promoted(0)
    sentinels.resume(0)
    for sleeper in sleepers:
        sleeper.join(30)
        assert not sleeper.is_alive(), "a client hangs"
    for number, view in enumerate(views):
        settled(view, lambda view=view, number=number: view.put("c", f"later.{number}", b"1"))
        assert where(view) == sentinels.ports[new]
    found = views[0].values("c").keys()
    assert found == {"before", *acknowledged, *(f"later.{number}" for number in range(3))}


def test_no_write_lands_on_an_old_primary_that_comes_back(make):
    """Until a Sentinel demotes it, it believes that it is the primary, and takes what it is given."""
    sentinels = make(min_replicas=0)
    view_of(sentinels)
    writers = start_writers(sentinels, 2)
    for writer in writers:
        assert writer.began.wait(20)
    sentinels.kill(0)
    new = sentinels.promoted(0)
    sentinels.start(0)
    old, seen = sentinels.admin(0), []
    fresh = []

    def demoted():
        role, rev = old.role()[0], old.get("muster:rev")
        if role == b"slave":
            return True
        seen.append(rev)
        view = Store(sentinels.client("fresh", recheck=True))
        view.attach()
        fresh.append(where(view))
        view.client.close()
        return False

    eventually(demoted, 60)
    for writer in writers:
        writer.end()
    assert seen, "it was demoted before anybody could look"
    assert set(seen) == {seen[0]}
    assert set(fresh) == {sentinels.ports[new]}


def where(view):
    """The port of the server that a view speaks to."""
    return int(view.client.config_get("port")["port"])


def test_a_pool_tells_once_that_its_primary_is_another(make):
    sentinels = make()
    view = view_of(sentinels)
    failover = redis.Redis(port=sentinels.sentinel_ports[0], password="watch&er")
    failover.execute_command("SENTINEL", "FAILOVER", "fleet")
    new = sentinels.promoted(0)
    refusals = []

    def write():
        try:
            return view.put("c", "a", b"1")
        except Unavailable as error:
            refusals.append(str(error))
            return None

    assert eventually(write)
    assert where(view) == sentinels.ports[new]
    assert any("the primary is now" in text for text in refusals), refusals


def test_a_server_that_is_no_primary_is_not_taken_for_one(make, monkeypatch):
    """Reads neither: what a replica has may be old."""
    sentinels = make()
    monkeypatch.setattr(Sentinels, "primary", lambda _: ("127.0.0.1", sentinels.ports[1]))
    view = Store(sentinels.client())
    for attempt in (view.attach, lambda: view.put("c", "a", b"1")):
        with pytest.raises(Unavailable, match="no primary"):
            attempt()


def test_who_has_no_password_is_told_so(make):
    sentinels = make()
    with pytest.raises(Denied, match="Sentinel"):
        Store(connect(sentinels.url.partition("?")[0], name="x")).attach()
    with pytest.raises(Denied):
        Store(connect(sentinels.url, name="x", username="node:none", password="wrong")).attach()
    with pytest.raises(Unavailable, match="knows no primary named 'other'"):
        Store(connect(sentinels.url.replace("/fleet/", "/other/"), name="x")).attach()


def test_node_users_are_on_every_server_also_on_one_that_comes_later(make):
    sentinels = make()
    view = view_of(sentinels)
    sentinels.kill(2)
    eventually(lambda: len(list_replicas(view)) == 1)
    servers.grant(view.client, view.keys, "web-1", DIGEST)
    users = NodeUsers(view.client, view.keys)
    breaths = []
    users.spread({"web-1": DIGEST, "web-2": DIGEST}, lambda: breaths.append(1))
    assert breaths
    for number in (0, 1):
        assert {"node:web-1", "node:web-2"} <= set(sentinels.admin(number).acl_users())
    sentinels.start(2, "--replicaof", f"127.0.0.1 {sentinels.ports[0]}")
    eventually(lambda: len(list_replicas(view)) == 2)
    assert "node:web-1" not in sentinels.admin(2).acl_users()
    users.spread({"web-1": DIGEST, "web-2": DIGEST}, lambda: None)
    assert {"node:web-1", "node:web-2"} <= set(sentinels.admin(2).acl_users())
    servers.revoke(view.client, "web-2")
    assert all("node:web-2" not in sentinels.admin(number).acl_users() for number in range(3))


def list_replicas(view):
    with servers.replicas(view.client) as found:
        return list(found)


def test_a_node_goes_on_with_its_user_after_a_fail_over(make):
    sentinels = make()
    view = view_of(sentinels)
    servers.grant(view.client, view.keys, "web-1", DIGEST)

    def link():
        clients = [
            connect(sentinels.url, name="n", username=user_of("web-1"), password=SECRET) for _ in range(2)
        ]
        return RedisNodeLink(*clients, view.keys, "web-1")

    first = link()
    first.claim("u", b'{"uid":"u"}', 60_000)
    sentinels.kill(0)
    sentinels.promoted(0)
    refusals = []

    def beat(which):
        try:
            which.beat(b'{"uid":"u"}', 60_000)
        except StoreError as error:
            refusals.append(error)
            return False
        return True

    eventually(lambda: beat(first))
    assert {type(error) for error in refusals} <= {Unavailable}
    assert beat(link())
    with pytest.raises(Denied):
        Store(first._client, view.keys).meta()


def test_a_plain_url_has_its_replicas_told_too(make):
    sentinels = make()
    client = connect(f"redis://127.0.0.1:{sentinels.ports[0]}/0", name="x", password=PASSWORD)
    view = Store(client)
    bootstrap.begin(view, None)
    servers.grant(client, view.keys, "web-1", DIGEST)
    assert all("node:web-1" in sentinels.admin(number).acl_users() for number in range(3))
