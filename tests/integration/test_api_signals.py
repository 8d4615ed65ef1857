"""Workers of the API that are told to end while they begin: by gunicorn itself, with the settings that are shipped."""

import os
import signal
import subprocess
import sys

import pytest

from manager_api.supervisor import gunicorn_conf
from tests.conftest import eventually

pytestmark = pytest.mark.integration

CONF = """
exec(open({conf!r}).read())
usual = post_fork

def post_fork(server, worker):
    import os, signal
    os.kill(os.getpid(), signal.{name})  # it has its parent's handlers as yet
    usual(server, worker)

def worker_exit(server, worker):
    with open({log!r}, "a") as file:
        file.write("ended\\n")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT"])
def test_a_worker_that_is_told_to_end_before_it_has_ears_ends(tmp_path, name):
    """It was killed fifteen seconds later, when its parent's patience was over, and the manager as late."""
    log, conf = tmp_path / "log", tmp_path / "conf.py"
    log.touch()
    conf.write_text(CONF.format(conf=str(gunicorn_conf()), name=name, log=str(log)))
    argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(conf), "--bind", "127.0.0.1:0"]
    env = {**os.environ, "MUSTER_STORE_URL": "redis://127.0.0.1:1/0", "MUSTER_API_WORKERS": "1"}
    api = subprocess.Popen([*argv, "manager_api.wsgi:app"], env=env)
    try:
        eventually(log.read_text)
        api.send_signal(signal.SIGTERM)
        assert api.wait(30) == 0
    finally:
        api.kill()
        api.wait()
