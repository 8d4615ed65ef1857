"""`make shaken`: programs do what they do, only later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
WHERE = Path(__file__).resolve().parents[1] / "shaken"
PROGRAM = """
import os, selectors, socket, subprocess, sys, threading, time
began, told = time.monotonic(), []
thread = threading.Thread(target=told.append, args=("thread",))
thread.start()
thread.join()
near, far = socket.socketpair()
near.sendall(b"word")
told += [far.recv(4).decode(), subprocess.run([sys.executable, "-c", "print(1)"]).returncode]
os.kill(os.getpid(), 0)
print(told, time.monotonic() - began > 0.001, [each.__code__.co_name for each in (os.kill, threading.Thread.run)])
"""


def test_what_is_late_does_what_it_does():
    env = {**os.environ, "PYTHONPATH": str(WHERE), "SHAKEN": "1000"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1\n['thread', 'word', 0] True ['shaken', 'shaken']\n", done.stderr
