"""From the deploy call to the task's start, with files: a manager, an agent, an sshd, beside `sftp` and its kin."""

import os
import shutil
import statistics
import threading
import time
from contextlib import contextmanager

import psutil

from benchmarks.rig import Rig, wait

MB = 1_000_000
LOOK_EVERY = 0.02
PATIENCE = 300


class Watch:
    """A process's memory and processor time, looked at all the time. `pid` alone, not its children."""

    def __init__(self, pid):
        self._process = psutil.Process(pid)
        self.rss = self._rss()

    def _rss(self):
        return self._process.memory_info().rss / MB

    @contextmanager
    def during(self):
        """Gives what is filled in at the end: rss before, at most, after (MB); processor seconds."""
        found, over = {"before": self._rss()}, threading.Event()
        seen = [found["before"]]

        def look():
            while not over.wait(LOOK_EVERY):
                seen.append(self._rss())

        times = self._process.cpu_times()
        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()
            now = self._process.cpu_times()
            cpu = now.user + now.system - times.user - times.system
            found.update(most=max(seen), after=self._rss(), cpu=cpu)


class Stack:
    """A manager whose files lie on `server`, and one agent."""

    def __init__(self, rig, server):
        self._rig, self._server = rig, server
        self._data = rig.agent("bench-1", **{"known-hosts": server.home / "known"})
        self._watch = Watch(rig.processes[-1].pid)
        self._number = 0

    def deploy(self, files):
        """A task with these files, which no node has: seconds until it runs, and what the brain took."""
        self._number += 1
        name = f"bench-{self._number}"
        artifacts = [{"source": str(file.relative_to(self._server.root))} for file in files]
        task = {"name": "t", "config": {"command": ["/bin/date", "+%s.%N"]}, "artifacts": artifacts}
        body = {"name": name, "task_groups": [{"tasks": [task]}]}
        self._call("/api/task/task_group", body)
        with self._watch.during() as found:
            began = time.time()
            deployment = self._call("/api/task/task_group/deploy", {"name": name})["id"]
            log = self._data / "logs" / f"{deployment}.0" / "t.out"
            wait(lambda: log.read_text().strip(), PATIENCE)
            found["seconds"] = float(log.read_text()) - began
            time.sleep(1)
        there = next((self._data / "alloc" / f"{deployment}.0").glob("t@*"))
        if sum(1 for each in there.rglob("*") if each.is_file()) != len(files):
            raise SystemExit("the task ran without its files")
        shutil.rmtree(there)
        return found

    def _call(self, path, body):
        status, answer = self._rig.call("POST", path, body)
        if status != 200:
            raise SystemExit(answer)
        return answer


@contextmanager
def stack(server):
    login = ("--sftp-key-file", str(server.key_file), "--sftp-fingerprint", server.fingerprint)
    with Rig("--sftp-host", server.url(), *login) as rig:
        yield Stack(rig, server)


def whole(server, rounds, big, small, small_size, peer):
    """Rows of both kinds. `peer(files)` gets them as people do; gives seconds."""
    with stack(server) as made:
        print()
        _rows(made, f"deploy, one file of {big} MiB", rounds, lambda n: _big(server, n, big), peer)
        many = f"deploy, {small} files of {small_size // 1000} KB"
        _rows(made, many, rounds, lambda n: _small(server, n, small, small_size), peer)


def _rows(made, title, rounds, files_of, peer):
    ours, theirs = [], []
    for number in range(rounds):
        for mine in (True, False) if number % 2 else (False, True):
            files = files_of(2 * number + mine)
            size = sum(file.stat().st_size for file in files)
            os.sync()  # what others left to be written is not this one's
            (ours if mine else theirs).append(made.deploy(files) if mine else peer(files))
            shutil.rmtree(files[0].parent)
    seconds = [each["seconds"] for each in ours]
    _row(f"{title}: call to task's start", seconds, size, statistics.median(theirs))
    _row("  OpenSSH's sftp, sha256sum, sync", theirs, size, statistics.median(theirs))
    before, most, after = (max(each[what] for each in ours) for what in ("before", "most", "after"))
    grown = max(each["most"] - each["before"] for each in ours)
    cpu = statistics.median(each["cpu"] for each in ours)
    print(
        f"  the brain: {before:.1f} MB before, {most:.1f} at most, {after:.1f} after "
        f"(grew by {grown:.1f} at most in a round), cpu {cpu:.2f} s"
    )


def _row(name, seconds, size, peer):
    p50 = statistics.median(seconds)
    print(
        f"{name:<58} p50 {p50:6.2f}  min {min(seconds):6.2f}  max {max(seconds):6.2f} s  "
        f"{size / MB / p50:6.1f} MB/s  x{peer / p50:.2f}  n={len(seconds)}"
    )


def _big(server, number, size):
    path = server.file(f"deploy-{number}/big", os.urandom(1 << 20))
    block = os.urandom(1 << 20)
    with path.open("ab") as file:
        for _ in range(size - 1):
            file.write(block)
    return [path]


def _small(server, number, count, size):
    return [server.file(f"deploy-{number}/{n}", os.urandom(size)) for n in range(count)]
