"""A real downloading child, spoken to as the brain does; sources in memory that break and change."""

import hashlib
import json
import queue
import subprocess
import sys
import threading

from agentd.artifacts import words
from transfer.errors import Kind, TransferError
from transfer.reader import Stat

LONG = 60.0
"""Seconds that a child has for a word: it should never take as long."""


class ChildProcess:
    """One child; `begun` is what it said first."""

    def __init__(self, directory, pool, env=None, **begin):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentd.artifacts.child", str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
        )  # fmt: skip
        self._words = queue.Queue()
        threading.Thread(target=self._hear, daemon=True).start()
        self.say({"say": "begin", "pool": pool, "known_hosts": [], "ssh_key": None, "quota": 1 << 30, "rate": None, "keep": [], "files": None, **begin})  # fmt: skip
        self.key = self.hear("key")["key"]

    def _hear(self):
        for raw in self.process.stdout:
            self._words.put(json.loads(raw))
        self._words.put(None)

    def say(self, word):
        self.process.stdin.write(words.line(word))
        self.process.stdin.flush()

    def open(self, sealed=None):
        self.say({"say": "open", "sealed": sealed})
        return self

    def get(self, source, job="1", sha256=None, fingerprint=None, known=None):
        self.say({"say": "get", "job": job, "source": str(source), "sha256": sha256, "fingerprint": fingerprint, "known": known})  # fmt: skip

    def hear(self, *what):
        """The next word of these; progress is passed over unless it is waited for. None: it ended."""
        while True:
            word = self._words.get(timeout=LONG)
            if word is None or word["say"] in what:
                return word
            assert word["say"] == "progress", word

    def done(self, source, **how):
        """Get a file; the word with which that ended."""
        self.get(source, **how)
        return self.hear("got", "failed", "lost")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Close its input; its exit code."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            return self.process.wait(LONG)
        finally:
            self.kill()

    def stderr(self):
        return self.process.stderr.read().decode()


class Memory:
    """A source in memory: `data` may be exchanged at any time. Breaks after the byte `breaks_at`, if it is said.

    `changes` maps a byte of a reading to what the source is once that byte has been given.
    """

    def __init__(self, data, stamp="1"):
        self.data, self.version = data, stamp
        self.size = len(data)
        self.breaks_at = None
        self.changes = {}
        self.piece = 8000
        self.given = 0
        self.stats = 0

    def change(self, data):
        self.data, self.size = data, len(data)
        self.version += "'"

    def stat(self, path):
        self.stats += 1
        return Stat(self.size, self.version)

    def read(self, path, offset, stat):
        at = offset
        while True:
            if self.version != stat.stamp:
                raise TransferError(Kind.CHANGED, f"{path} changed")
            if self.breaks_at is not None and at >= self.breaks_at:
                self.breaks_at = None
                raise TransferError(Kind.UNREACHABLE, "broken")
            if at >= len(self.data):
                return
            end = at + self.piece
            if self.breaks_at is not None:
                end = min(end, self.breaks_at)
            piece = self.data[at:end]
            self.given += len(piece)
            at += len(piece)
            yield piece
            for when in sorted(self.changes):
                if at >= when:
                    self.change(self.changes.pop(when))
                    break

    def close(self):
        pass


def sha(data):
    return hashlib.sha256(data).hexdigest()


def objects(home):
    """What lies in the cache, by its name; each must be what its name says."""
    found = {path.name: path.read_bytes() for path in (home / "objects").glob("*/*")}
    assert all(sha(data) == name for name, data in found.items())
    return found


def left(home):
    """Names of parts and notes."""
    return sorted(path.name for path in (home / "parts").iterdir())


def have(home):
    """Bytes of parts."""
    return sum(path.stat().st_size for path in (home / "parts").glob("*.part"))
