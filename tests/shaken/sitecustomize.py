"""A busy machine, made: everything is late by chance, in tests and in all the Python programs they start.

Python imports a module of this name by itself where it finds one: `make shaken` puts this directory on its path.
Threads begin late; waits, reads, forks, renames and signals end (some also begin) late, by up to half a second.
What fails then has a race: a test that looks before it may, or a product that believes it is alone.
"""

import os
import random
import selectors
import socket
import subprocess
import threading
import time

SCALE = float(os.environ.get("SHAKEN", "3"))
"""How often: the shares below are multiplied by it."""
LITTLE, MUCH = 0.05, 0.5
"""Seconds: half of all pauses are as long at most as the first, the others as the second."""
BEGINS = {threading.Thread: {"run": 0.25}, subprocess.Popen: {"__init__": 0.05}}
"""The share of calls that begin late, by class and method."""
ENDS = {
    threading.Condition: {"wait": 0.02},
    selectors.EpollSelector: {"select": 0.01},
    selectors.PollSelector: {"select": 0.01},
    socket.socket: {"recv": 0.003, "recv_into": 0.003},
    subprocess.Popen: {"__init__": 0.05, "wait": 0.05},
}
"""The share of calls that end late."""
SYSTEM = ("replace", "rename", "fsync", "link", "unlink", "waitpid", "kill")
"""What `os` does: a hundredth begins late, and a hundredth ends late."""

_chance, _sleep = random.SystemRandom(), time.sleep  # tests seed, and replace, what they like


def pause(share):
    """Be late, or, mostly, not."""
    if _chance.random() < share * SCALE:
        _sleep(_chance.uniform(0, _chance.choice((LITTLE, MUCH))))


def shake(where, name, begins=0.0, ends=0.0):
    """Replace a function of a class or module by one that is late at times."""
    plain = getattr(where, name)

    def shaken(*words, **more):
        pause(begins)
        try:
            return plain(*words, **more)
        finally:
            pause(ends)

    shaken.__name__, shaken.__doc__ = name, plain.__doc__
    setattr(where, name, shaken)


for owner, shares in BEGINS.items():
    for method, share_of_it in shares.items():
        shake(owner, method, begins=share_of_it)
for owner, shares in ENDS.items():
    for method, share_of_it in shares.items():
        shake(owner, method, ends=share_of_it)
for call in SYSTEM:
    shake(os, call, begins=0.01, ends=0.01)
