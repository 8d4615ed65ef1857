"""Workers of the API that are told to end while they begin: by gunicorn itself, with the settings that are shipped."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from manager_api.supervisor import gunicorn_conf
from tests.conftest import eventually

pytestmark = pytest.mark.integration

SHIPPED = "exec(open({conf!r}).read())\n"
PATIENT = """
keepalive = graceful_timeout = 600
"""
EARLY = """
usual = post_fork

def post_fork(server, worker):
    import os, signal
    os.kill(os.getpid(), signal.{name})  # it has its parent's handlers as yet
    usual(server, worker)

def worker_exit(server, worker):
    with open({log!r}, "a") as file:
        file.write("ended\\n")
"""


ASIDE = """
def post_worker_init(worker):
    class Noted(type(worker.pending_conns)):
        def append(self, conn):
            super().append(conn)
            open({log!r}, "w").write("put aside")

    worker.pending_conns = Noted()
"""


@pytest.fixture
def served(tmp_path):
    """Starts the API on a socket of ours, with more settings; the two."""
    running = []

    def serve(more):
        conf = tmp_path / "conf.py"
        conf.write_text(SHIPPED.format(conf=str(gunicorn_conf())) + more)
        listener = socket.create_server(("127.0.0.1", 0))
        argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(conf)]
        argv += ["--bind", f"fd://{listener.fileno()}", "manager_api.wsgi:app"]
        env = {**os.environ, "MUSTER_STORE_URL": "redis://127.0.0.1:1/0", "MUSTER_API_WORKERS": "1"}
        api = subprocess.Popen(argv, env=env, pass_fds=[listener.fileno()], start_new_session=True)
        running.append((api, listener))
        return api, listener.getsockname()

    yield serve
    for api, listener in running:
        listener.close()
        api.send_signal(signal.SIGQUIT)
        try:
            api.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(api.pid, signal.SIGKILL)
            api.wait()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT"])
def test_a_worker_that_is_told_to_end_before_it_has_ears_ends(served, tmp_path, name):
    """It was killed fifteen seconds later, when its parent's patience was over, and the manager as late."""
    log = tmp_path / "log"
    log.touch()
    api, _ = served(PATIENT + EARLY.format(name=name, log=str(log)))
    eventually(log.read_text)
    api.terminate()
    assert api.wait(60) == 0


def test_who_has_said_nothing_is_not_waited_for_at_the_end(served, tmp_path):
    log = tmp_path / "log"
    log.touch()
    api, address = served(PATIENT + ASIDE.format(log=str(log)))
    with socket.create_connection(address) as asking, socket.create_connection(address) as silent:
        asking.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asking.recv(100).startswith(b"HTTP/1.1 200")
        eventually(log.read_text)  # it is no longer on a thread
        silent.settimeout(60)
        api.terminate()
        assert silent.recv(1) == b""
        assert api.wait(60) == 0
