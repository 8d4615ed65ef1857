"""A store under Sentinel, of real processes: one primary, two replicas, three Sentinels."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import redis

from store.embedded import _quiet_port
from store.kv.connection import connect
from store.process import tied_to_parent
from tests.conftest import eventually, need

NAME, PASSWORD, SENTINEL_PASSWORD = "fleet", "st/o:re@", "watch&er"
DOWN_AFTER_MS = 600


class SentinelStore:
    """Servers by number (0 begins as the primary); `min_replicas` as the preflight demands it."""

    def __init__(self, home, *, min_replicas=1):
        program = shutil.which("redis-server")
        need(program, "redis-server")
        self.home, self._program, self._min_replicas = Path(home), program, min_replicas
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
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
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
        return eventually(lambda: self._agreed(old), 40)[0]

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
