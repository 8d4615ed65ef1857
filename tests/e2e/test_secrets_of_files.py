"""Where the password of --sftp-host, and the query of a URL, are not to be seen: everywhere, looked at."""

import re
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from tests import sshd
from tests.builders import a_task
from tests.conftest import eventually
from tests.e2e.conftest import content, shell
from tests.web import Page, Web

pytestmark = pytest.mark.e2e

SECRET = re.compile(b"w@rd:1|w%40rd")
"""Of `sshd.PASSWORD`, as it is and as URLs have it."""
TOKEN = b"sig-0f2d7a55b1"
ASKED = f"token={TOKEN.decode()}"
MUCH = bytes(8 << 20)


@pytest.fixture(scope="module")
def server():
    with sshd.running() as found:
        yield found


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def site(cluster, server, monkeypatch):
    """A manager that has the password by its URL, and an agent that downloads slowly."""
    sshd.need_root()
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    url = server.url(password=sshd.PASSWORD)
    cluster.sftp = ("--sftp-host", url, "--sftp-fingerprint", server.fingerprint)
    cluster.start_manager(*cluster.sftp, "--log-file", str(cluster.home / "file.log"))
    cluster.start_agent("web-1", **{"download-rate": "2M"})
    return cluster


class Monitor(threading.Thread):
    """All that is said to the store."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.said, self._client = [], client
        self.start()

    def run(self):
        with suppress(redis.RedisError, OSError, ValueError), self._client.monitor() as monitor:
            for word in monitor.listen():
                self.said.append(word["command"])


def shown(pid, what):
    with suppress(OSError):
        return Path(f"/proc/{pid}/{what}").read_bytes()
    return b""


def remembers(pid):
    """Whether a process has the password in its memory."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            first, last = (int(each, 16) for each in place.split("-"))
            if rights.startswith("r") and "[v" not in line:
                with suppress(OSError, ValueError, OverflowError):
                    memory.seek(first)
                    if SECRET.search(memory.read(last - first)):
                        return True
    return False


def values(client):
    """Everything that the store holds, as it reads it."""
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        read = {
            "string": lambda key=key: [client.get(key)],
            "hash": lambda key=key: [each for pair in client.hgetall(key).items() for each in pair],
            "list": lambda key=key: client.lrange(key, 0, -1),
            "set": lambda key=key: client.smembers(key),
            "zset": lambda key=key: client.zrange(key, 0, -1),
            "stream": lambda key=key: [repr(client.xrange(key)).encode()],
        }[kind]
        yield key, b"\n".join(read())


def files_with(directory, secret):
    paths = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in paths if re.search(secret, content(path))]


def downloading(agent):
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(agent.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "agentd.artifacts.child" in " ".join(child.cmdline()):
                    found.append(child.pid)
    return found


def see_no_secret_in_processes(site):
    home, seen = str(site.home).encode(), 0
    for pid in psutil.pids():
        words, variables = shown(pid, "cmdline"), shown(pid, "environ")
        if home in words or home in variables:
            seen += 1
            assert not SECRET.search(words), words
            # The manager, its API and its controller are those who know it.
            assert b"manager_api" in words or not SECRET.search(variables), words
    assert seen > 6


def save(client):
    """Write the store's file now: once the server is done with a save of its own."""

    def saved():
        with suppress(redis.ResponseError):
            return client.save()
        return False

    eventually(saved)


def test_the_password_and_a_urls_query_are_seen_nowhere(site, server, web):
    server.file("apps/much", MUCH)
    web.pages[f"/conf?{ASKED}"] = Page(b"conf")
    monitor = Monitor(site.client())
    url = f"{web.url}/conf?{ASKED}"
    task = a_task("web", shell("env; sleep 600"), artifacts=["apps/much", {"source": url, "to": "conf"}])
    bad = a_task("bad", shell("true"), artifacts=["apps/none", f"{web.url}/nothing?{ASKED}"])
    site.post("web", task)
    site.post("bad", bad)
    good = site.deploy("web")
    eventually(
        lambda: (
            downloading(site.agents["web-1"])
            and site.call(f"/deployments/{good}")[1]["tasks"][0].get("fetch")
        )
    )
    see_no_secret_in_processes(site)
    none = site.deploy("bad")
    see_no_secret_in_processes(site)
    site.wait(good, "RUNNING", seconds=60)
    eventually(lambda: "no such file" in str(site.deployment(none)))
    eventually(lambda: not downloading(site.agents["web-1"]))
    site.stop(none)

    brain = site.agents["web-1"].pid
    assert remembers(site.manager.pid)
    for pid in [
        brain,
        *(each.pid for each in psutil.Process(brain).children(recursive=True)),
        *site.part("store"),
    ]:
        assert not remembers(pid), psutil.Process(pid).cmdline()
    answers = [
        site.call(path)
        for path in (
            "/v1/doctor",
            "/v1/nodes",
            "/v1/events",
            f"/deployments/{good}",
            f"/deployments/{none}",
            "/v1/artifacts",
        )
    ]
    server.stop()
    answers += [
        site.call("/v1/artifacts"),
        site.call("/v1/artifacts?prefix=../x"),
        site.call("/v1/deployments"),
    ]
    assert answers[-3][0] == 502
    assert not SECRET.search(str(answers).encode())
    assert TOKEN.decode() not in str(answers)
    server.start()

    client = site.client()
    save(client)
    held = dict(values(client))
    assert any(b":grant" in key for key in held) or len(held) > 5
    assert [key for key, value in held.items() if SECRET.search(value)] == []
    assert monitor.said
    assert [word for word in monitor.said if SECRET.search(word.encode())] == []
    assert not SECRET.search(repr(client.slowlog_get(128)).encode())
    assert files_with(site.home, SECRET) == []
    # A template has its query, so its record, the node's orders and what was placed have it; no log and no reason has.
    logs = [path for path in site.home.rglob("*") if path.is_file() and path.suffix == ".log"]
    assert len(logs) >= 3
    assert [str(path) for path in logs if TOKEN in path.read_bytes()] == []
    for path in files_with(site.home, TOKEN):
        assert not path.stat().st_mode & 0o077 or any(
            not each.stat().st_mode & 0o011 for each in path.parents
        ), path
    site.kill("manager")
    site.manager.wait(20)
    site.start_manager(*site.sftp)
    # Who begins with a password among its arguments begins once more without; the dying one's API may still answer.
    eventually(lambda: not SECRET.search(shown(site.manager.pid, "cmdline")))
    eventually(lambda: all(site.part(each) for each in ("api", "worker", "controller", "store")))
    see_no_secret_in_processes(site)
