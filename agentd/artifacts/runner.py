"""Children of the brain that fetch and place: started here, heard and written to on one thread.

What they say is queued, and the brain told that there is something; of progress, only the last word counts.
A child is over once its process is gone and reaped, and not before.
"""

import logging
import os
import selectors
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import IO, Any

from agentd.artifacts import words
from agentd.artifacts.process import AT_ONCE, Ended, Process, Said, how, read
from store.clock import Clock
from store.process import tied_to_parent

log = logging.getLogger("agent")

LONGEST_LINE = 1 << 20
"""Bytes; who says more in one is killed."""
REAP_EVERY = 0.02
"""Seconds between two looks whether a child that has closed its output is gone."""
END_WITHIN = 10.0
LATELY = 4096
"""Bytes of a child's complaints that are remembered."""
Json = dict[str, Any]


class Runner:
    """All but `_…` and `renew` is for the brain's main thread; children die with that thread.

    `until` says when leased children are to be killed (seconds since boot), even if the main thread is stuck.
    """

    def __init__(self, kick: Callable[[], None], clock: Clock, until: Callable[[], float]) -> None:
        self._kick = kick
        self._clock = clock
        self._until = until
        self._lock = threading.Lock()
        self._children: dict[str, Process] = {}
        self._fresh: list[Process] = []
        self._queue: deque[Said | Ended] = deque()
        self._progress: dict[tuple[str, str], Said] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self, name: str, argv: Sequence[str], first: Iterable[Json], *, only: bool = False) -> None:
        """Start a child under a name of its own, with what it is told first; `only`: it is told nothing more.

        Raises:
            OSError: it cannot be started.
        """
        process = subprocess.Popen(
            tied_to_parent(list(argv)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )
        child = Process(name, process, bytearray(b"".join(map(words.line, first))), closing=only)
        for which in ("stdin", "stdout", "stderr"):
            os.set_blocking(child.pipe(which).fileno(), False)
        with self._lock:
            self._children[name] = child
            self._fresh.append(child)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="files", daemon=True)
            self._thread.start()
        self._wake()

    def say(self, name: str, word: Json) -> None:
        """Tell a child something; one that is gone does not hear it."""
        with self._lock:
            child = self._children.get(name)
            if child is not None:
                child.out += words.line(word)
        self._wake()

    def lease(self, name: str) -> None:
        """From now on it may live only until `until` says."""
        with self._lock:
            child = self._children.get(name)
            if child is not None:
                child.leased = True
                self._tell_lease(child)
        self._wake()

    def renew(self) -> None:
        """`until` says something later: those who have a lease are told. From any thread."""
        with self._lock:
            leased = [child for child in self._children.values() if child.leased]
            for child in leased:
                self._tell_lease(child)
        if leased:
            self._wake()

    def _tell_lease(self, child: Process) -> None:
        """It ends by itself as well, if we cannot end it: a stopped brain kills nobody."""
        child.out += words.line({"say": "lease", "until": self._until()})

    def close(self, name: str) -> None:
        """Nothing more comes, after what was said already."""
        with self._lock:
            child = self._children.get(name)
            if child is not None:
                child.closing = True
        self._wake()

    def kill(self, name: str) -> None:
        """End it at once; `Ended` comes once it is gone."""
        with self._lock:
            child = self._children.get(name)
        if child is not None:
            child.process.kill()

    def take(self) -> list[Said | Ended]:
        """What was heard since, in order."""
        with self._lock:
            found = [*self._progress.values(), *self._queue]
            self._progress.clear()
            self._queue.clear()
        return found

    def stop(self) -> None:
        """End all children and reap them; nothing can be started any more."""
        if self._stopping:
            return
        self._stopping = True
        with self._lock:
            children = [*self._children.values()]
        for child in children:
            child.process.kill()
        self._wake()
        if self._thread is not None:
            self._thread.join(END_WITHIN)
            if self._thread.is_alive():  # a process that not even SIGKILL ends: it may still use these
                return
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has been woken already
            os.write(self._wake_out, b"w")

    def _run(self) -> None:
        while not (self._stopping and not self._children):
            try:
                self._turn()
            except Exception as error:
                log.error("children for files", exc_info=error)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.fd == self._wake_in:
                with suppress(BlockingIOError):
                    os.read(self._wake_in, AT_ONCE)
                continue
            child, which = key.data
            if child.pipe(which).closed:  # over something that was heard just now
                continue
            {"stdin": self._write, "stdout": self._read, "stderr": self._read_complaint}[which](child)
        with self._lock:
            fresh, self._fresh = self._fresh, []
            children = [*self._children.values()]
        for child in fresh:
            for which in ("stdout", "stderr"):
                self._selector.register(child.pipe(which), selectors.EVENT_READ, (child, which))
        for child in children:
            if child.gone:
                self._reap(child)
            else:
                self._tend(child)

    def _patience(self) -> float | None:
        """Seconds until something is to be done though nobody says anything; ends what has lost its lease."""
        with self._lock:
            children = [*self._children.values()]
        left = None
        leased = [child for child in children if child.leased and not child.gone]
        if leased:
            left = max(self._until() - self._clock.now(), 0.0)
            for child in leased if left == 0.0 else ():
                child.process.kill()
        if any(child.gone for child in children) or left == 0.0:
            return REAP_EVERY
        return left

    def _tend(self, child: Process) -> None:
        """Listen for room in its input while there is something to say; close that after the last word."""
        pipe = child.pipe("stdin")
        if pipe.closed:
            return
        listening = pipe in self._selector.get_map()
        if child.out and not listening:
            self._selector.register(pipe, selectors.EVENT_WRITE, (child, "stdin"))
        elif not child.out and child.closing:
            self._drop(pipe)

    def _write(self, child: Process) -> None:
        pipe = child.pipe("stdin")
        if pipe.closed:  # a moment ago: its output was at its end
            return
        with self._lock:
            data = bytes(child.out[:AT_ONCE])
        try:
            written = os.write(pipe.fileno(), data)
        except BlockingIOError:
            return
        except OSError:  # it is gone, which its output will tell
            self._drop(pipe)
            return
        with self._lock:
            del child.out[:written]
            done = not child.out
        if done:
            self._selector.unregister(pipe)

    def _read(self, child: Process) -> None:
        data = read(child.pipe("stdout"))
        if data is None:
            return
        if not data:
            self._leave(child)
            return
        child.heard += data
        *lines, rest = child.heard.split(b"\n")
        child.heard = rest
        for line in lines:
            self._hear(child, bytes(line))
        if len(rest) > LONGEST_LINE:
            child.complaint = b"it said too much in one line"
            self._leave(child)

    def _hear(self, child: Process, line: bytes) -> None:
        try:
            word = words.word(line)
        except ValueError:
            child.complaint = b"it said something that is no word"
            child.process.kill()
            return
        said = Said(child.name, word, self._clock.now())
        of = child.name, str(word.get("job"))
        with self._lock:
            if word.get("say") == "progress":
                self._progress[of] = said
                return
            self._progress.pop(of, None)
            self._queue.append(said)
        self._kick()

    def _read_complaint(self, child: Process) -> None:
        data = read(child.pipe("stderr"))
        if data:
            child.complaint = (child.complaint + data)[-LATELY:]
        elif data is not None:
            self._drop(child.pipe("stderr"))

    def _leave(self, child: Process) -> None:
        """It cannot be heard any more: it ends, or is ended."""
        child.gone = True
        child.process.kill()
        for which in ("stdin", "stdout"):
            self._drop(child.pipe(which))

    def _reap(self, child: Process) -> None:
        code = child.process.poll()
        if code is None:
            return
        if not child.pipe("stderr").closed:
            self._read_complaint(child)
            self._drop(child.pipe("stderr"))
        with self._lock:
            del self._children[child.name]
            self._queue.append(Ended(child.name, how(code, child.complaint)))
        self._kick()

    def _drop(self, pipe: IO[bytes]) -> None:
        if not pipe.closed:
            with suppress(KeyError):
                self._selector.unregister(pipe)
            pipe.close()
