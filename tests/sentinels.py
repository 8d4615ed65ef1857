"""A store under Sentinel, of real processes: one primary, two replicas, three Sentinels."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import redis

from store import bootstrap
from store.embedded import _quiet_port
from store.errors import EpochChanged, StoreError, Unavailable
from store.kv.connection import connect
from store.kv.durability import replicated
from store.kv.store import Store
from store.process import tied_to_parent
from tests.conftest import eventually, need

NAME, PASSWORD, SENTINEL_PASSWORD = "fleet", "st/o:re@", "watch&er"


class SentinelStore:
    """Servers by number (0 begins as the primary); `min_replicas` as the preflight demands it.

    `down_after`: seconds of silence after which a server counts as gone; a busy machine makes it silent, too.
    """

    def __init__(self, home, *, min_replicas=1, down_after=3.0):
        program = shutil.which("redis-server")
        need(program, "redis-server")
        self.home, self._program, self._min_replicas = Path(home), program, min_replicas
        self._down_after = int(down_after * 1000)
        self.ports, self.sentinel_ports = [], []
        self.processes, self.sentinels = {}, {}
        self._paused = set()
        for number in range(3):
            self.ports.append(_quiet_port("127.0.0.1"))
            self.start(number, *(["--replicaof", f"127.0.0.1 {self.ports[0]}"] if number else []))
        eventually(lambda: self._in_step(2))
        for number in range(3):
            self._start_sentinel(number)
        eventually(self._sentinels_know_all, 40)

    @property
    def url(self):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"sentinel://:st%2Fo%3Are%40@{hosts}/{NAME}/0?sentinel_password=watch%26er"

    # -- processes

    def start(self, number, *more):
        """Start a server; also again, with what its data and its rewritten file say."""
        home = self.home / f"server-{number}"
        conf = home / "redis.conf"
        if not home.exists():
            home.mkdir()
            conf.write_text(
                f'port {self.ports[number]}\nbind 127.0.0.1\ndir {home}\nsave ""\nappendonly yes\n'
                f'requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\nmaxmemory-policy noeviction\n'
                f"min-replicas-to-write {self._min_replicas}\nmin-replicas-max-lag 2\n"
                "repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n"
            )
        self.processes[number] = self._run([self._program, str(conf), *more], home / "log")
        eventually(lambda: self._answers(self.admin(number)))

    def _start_sentinel(self, number):
        home = self.home / f"sentinel-{number}"
        home.mkdir()
        self.sentinel_ports.append(_quiet_port("127.0.0.1"))
        conf = home / "sentinel.conf"
        conf.write_text(
            f'port {self.sentinel_ports[number]}\nbind 127.0.0.1\ndir {home}\nrequirepass "{SENTINEL_PASSWORD}"\n'
            f"sentinel monitor {NAME} 127.0.0.1 {self.ports[0]} 2\n"
            f'sentinel auth-pass {NAME} "{PASSWORD}"\nsentinel sentinel-pass "{SENTINEL_PASSWORD}"\n'
            f"sentinel down-after-milliseconds {NAME} {self._down_after}\n"
            f"sentinel failover-timeout {NAME} 6000\nsentinel parallel-syncs {NAME} 2\n"
        )
        self.sentinels[number] = self._run([self._program, str(conf), "--sentinel"], home / "log")

    def _run(self, argv, log):
        with log.open("ab") as out:
            return subprocess.Popen(
                tied_to_parent(argv), stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def kill(self, number):
        """`kill -9`."""
        self.processes[number].kill()
        self.processes[number].wait()

    def pause(self, number):
        os.kill(self.processes[number].pid, signal.SIGSTOP)
        self._paused.add(number)

    def resume(self, number):
        os.kill(self.processes[number].pid, signal.SIGCONT)
        self._paused.discard(number)

    def end(self):
        for number in list(self._paused):
            self.resume(number)
        for process in (*self.sentinels.values(), *self.processes.values()):
            process.kill()
            process.wait()

    # -- looks

    def admin(self, number):
        """A client of one server, whatever it is just now."""
        return redis.Redis(port=self.ports[number], password=PASSWORD, socket_timeout=2)

    def client(self, name="test", **more):
        return connect(self.url, name=name, **more)

    def named(self):
        """Which server each Sentinel names as the primary, by number; None for one that says nothing."""
        return [self._named(port) for port in self.sentinel_ports]

    def promoted(self, old):
        """Wait until every Sentinel names another server than the old primary; its number."""
        return eventually(lambda: self._agreed(old), 90)[0]

    def fail_over(self):
        """Have a Sentinel promote a replica although the primary lives."""
        asked = redis.Redis(port=self.sentinel_ports[0], password=SENTINEL_PASSWORD, socket_timeout=10)

        def accepted():
            try:
                return asked.execute_command("SENTINEL", "FAILOVER", NAME)
            except redis.ResponseError as error:
                assert "NOGOODSLAVE" in str(error)  # they were late to answer
                return False

        eventually(accepted)

    def cut(self):
        """Replicas lose their primary and cannot come back to it: what is written now, it alone has."""
        for number in (1, 2):
            self.admin(number).config_set("masterauth", "wrong")
        self.admin(0).execute_command("CLIENT", "KILL", "TYPE", "replica")
        eventually(lambda: self._in_step(0))

    def mend(self):
        for number in (1, 2):
            self.admin(number).config_set("masterauth", PASSWORD)

    def in_step(self, primary):
        """Both others follow a server."""
        return self._in_step(2, primary)

    def _agreed(self, old):
        named = set(self.named())
        return list(named) if len(named) == 1 and not named & {old, None} else None

    def _named(self, port):
        with contextlib.suppress(redis.RedisError):
            asked = redis.Redis(port=port, password=SENTINEL_PASSWORD, socket_timeout=2)
            _, found = asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
            return self.ports.index(int(found))
        return None

    def _in_step(self, wanted, primary=0):
        with contextlib.suppress(redis.RedisError):
            info = self.admin(primary).info("replication")
            rows = [info[f"slave{number}"] for number in range(info["connected_slaves"])]
            return len(rows) == wanted and all(row["state"] == "online" for row in rows)
        return False

    def _sentinels_know_all(self):
        for port in self.sentinel_ports:
            try:
                asked = redis.Redis(port=port, password=SENTINEL_PASSWORD, socket_timeout=2)
                found = asked.sentinel_master(NAME)
            except redis.RedisError:
                return False
            if (found["num-slaves"], found["num-other-sentinels"]) != (2, 2) or found["is_sdown"]:
                return False
        return True

    @staticmethod
    def _answers(client):
        with contextlib.suppress(redis.RedisError):
            return client.ping()
        return False


def view_of(sentinels, **more):
    view = Store(sentinels.client(recheck=True, **more))
    bootstrap.begin(view, None)
    return view


class Writer(threading.Thread):
    """Puts its own numbered fields until told to stop; remembers what was said of each."""

    def __init__(self, sentinels, name, *, durable=False):
        super().__init__(daemon=True)
        self._sentinels, self._name, self._durable = sentinels, name, durable
        self._ending = threading.Event()
        self.acknowledged, self.confirmed, self.refused = {}, {}, []
        self.began, self.lost = threading.Event(), False

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
                with replicated() if self._durable else contextlib.nullcontext() as durable:
                    view.put("w", field, value)
                self.acknowledged[field] = value
                if durable is not None and durable.held:
                    self.confirmed[field] = value
            except EpochChanged:
                self.lost = True
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


def where(view):
    """The port of the server that a view speaks to."""
    return int(view.client.config_get("port")["port"])
