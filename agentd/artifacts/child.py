"""Downloads from one server, in a process that ends: `python -m agentd.artifacts.child DIRECTORY`.

What is said over its input and output stands in `words.py`.
It may be killed at any moment: what it has of a file stays for the next, which makes sure what it is of.
A password reaches it sealed, over its input, and is in no argument, no variable and no message of its.
"""

import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from agentd.artifacts import background, words
from agentd.artifacts.cache import Cache
from agentd.artifacts.download import Downloader, Got, Wanted
from agentd.artifacts.keeping import Keeping
from agentd.artifacts.parts import Parts, key_of
from agentd.artifacts.pool import Pool, unsealed
from agentd.artifacts.rate import Rate
from store.clock import SystemClock
from transfer import seal
from transfer.errors import Kind, NotNow, TransferError
from transfer.reader import Foresighted
from transfer.urls import Source

Json = dict[str, Any]
PR_SET_DUMPABLE = 4
LOOK_EVERY = 0.5
"""Seconds between two looks whether our turn is over."""
LOST = frozenset({Kind.UNREACHABLE, Kind.LOGIN, Kind.HOST_KEY})
"""What is wrong with a server, and not with one of its files."""
AHEAD = 16
"""Jobs whose files a server is asked for ahead: of 255 KiB each at most, as much as of one big file."""
_saying = threading.Lock()


class Child:
    """The program, between its input and its output."""

    def __init__(self, directory: Path, heard: IO[bytes]) -> None:
        self._heard = heard
        self._begin = words.word(heard.readline())
        self._private, self._public = seal.new()
        self._opened: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._jobs: deque[Json] = deque()
        self._come = threading.Semaphore(0)
        self._rate = Rate(self._begin.get("rate"))
        self._until: float | None = None
        self._job = ""
        cache = Cache(directory, int(self._begin["quota"]))
        keep = frozenset(self._begin.get("keep") or ())
        parts = Parts(cache.parts)
        self._downloader = Downloader(cache, parts, self._rate, keep=keep, progress=self._progress)
        self._keeping = Keeping(self._downloader.keep, _ended)

    def run(self) -> None:
        """Until the connection is lost; the end of the input ends the process."""
        say({"say": "key", "key": self._public})
        threading.Thread(target=self._listen, name="words", daemon=True).start()
        sealed = self._opened.get()
        try:
            opened = unsealed(seal.unseal(sealed, self._private)) if sealed else {}
            pool = Pool(self._begin, opened)
        except ValueError:
            say(_lost(TransferError(Kind.LOGIN, "the manager's login for the server cannot be read")))
            return
        except TransferError as error:
            say(_lost(error))
            return
        while self._come.acquire() and self._do(pool, self._jobs.popleft()):
            pass

    def _do(self, pool: Pool, job: Json) -> bool:
        """One download; whether the connection can be used for more."""
        self._job = str(job["job"])
        fingerprint, own = job.get("fingerprint"), False
        try:
            source = pool.resolve(str(job["source"]))
            own = fingerprint is not None or not pool.has_login_for(source)
            wanted = Wanted(
                source=source,
                key=key_of(*pool.identity(str(job["source"]), source)),
                sha256=job.get("sha256"),
                known=_known(job),
            )
            if self._keeping.holds(wanted.key):  # the same file, with another digest
                self._keeping.drain()
            reader = pool.reader(source, fingerprint)
            if isinstance(reader, Foresighted):
                reader.expect([(source.path, wanted.known is None), *self._next(pool, source, fingerprint)])
            found = self._downloader.read(reader, wanted)
        except TransferError as error:
            if _is_lost(error, own=own):
                self._keeping.drain()  # it is the last that is heard of us
                say(_lost(error))
                return False
            _ended(self._job, error)
        except Exception as error:  # noqa: BLE001 - one file's trouble must not cost the others theirs
            _trace(error)
            pool.close()
            _ended(self._job, _fault(error))
        else:
            self._keeping.add(self._job, found)
        return True

    def _next(self, pool: Pool, source: Source, fingerprint: str | None) -> Iterator[tuple[str, bool]]:
        """What comes after a source over the same connection: paths, and whether they are sure to be read."""
        for job in tuple(self._jobs)[:AHEAD]:
            try:
                coming = pool.resolve(str(job["source"]))
            except TransferError:
                continue
            if (coming.user, job.get("fingerprint")) != (source.user, fingerprint):
                return
            yield coming.path, not job.get("known")

    def _progress(self, done: int, total: int | None) -> None:
        say({"say": "progress", "job": self._job, "done": done, "total": total})

    def _listen(self) -> None:
        """Words as they come; at their end the process ends, whatever it is at."""
        try:
            for raw in self._heard:
                word = words.word(raw)
                match word.get("say"):
                    case "open":
                        self._opened.put(word.get("sealed"))
                    case "get":
                        self._jobs.append(word)
                        self._come.release()
                    case "rate":
                        self._rate.set(word.get("rate"))
                    case "lease":
                        self._lease(float(word["until"]))
        except Exception as error:  # noqa: BLE001 - nobody would hear of it, and nobody would listen
            _trace(error)
            os._exit(1)
        os._exit(0)

    def _lease(self, until: float) -> None:
        begins, self._until = self._until is None, until
        if begins:
            threading.Thread(target=self._watch, name="lease", daemon=True).start()

    def _watch(self) -> None:
        """End with our turn: the brain, which would end us, may be stopped; the next one may be connected."""
        clock = SystemClock()
        while (left := (self._until or 0.0) - clock.now()) > 0:
            time.sleep(min(left, LOOK_EVERY))  # by a clock that stands still while the machine is suspended
        os._exit(0)


def say(word: Json) -> None:
    """To the brain, from any thread. Without one, there is nothing left to do."""
    left = memoryview(words.line(word))
    try:
        with _saying:
            while left:
                left = left[os.write(1, left) :]
    except BrokenPipeError:
        os._exit(0)


def main(argv: list[str]) -> int:
    """The program."""
    background.enter()
    _leave_no_image()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it is for the brain
    # SIGTERM ends us as `kill -9` does: whatever is half done is made for that.
    os.umask(0o077)
    try:
        Child(Path(argv[0]), sys.stdin.buffer).run()
    except Exception as error:  # noqa: BLE001 - its text may hold what nobody should read
        _trace(error)
        say(_lost(_fault(error)))
    return 0


def _ended(job: str, end: Got | TransferError) -> None:
    """What became of a job."""
    if isinstance(end, TransferError):
        say({"say": "failed", "job": job, "kind": end.kind.value, "text": str(end)})
        return
    say({
        "say": "got", "job": job, "sha256": end.sha256, "size": end.size, "stamp": end.stamp, "read": end.read
    })  # fmt: skip


def _is_lost(error: TransferError, *, own: bool) -> bool:
    """Whether no job can be done. `own`: this one names a user or a host key of its own."""
    if isinstance(error, NotNow) or error.kind not in LOST:
        return False
    return error.kind is Kind.UNREACHABLE or not own


def _lost(error: TransferError) -> Json:
    return {"say": "lost", "kind": error.kind.value, "text": str(error)}


def _fault(error: Exception) -> TransferError:
    """Our own, or the machine's; of what an error says only the system's words are repeated."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return TransferError(Kind.FAULT, f"a fault of this node's agent: {why}")


def _known(job: Json) -> tuple[str, str] | None:
    known = job.get("known")
    return (str(known["sha256"]), str(known["stamp"])) if known else None


def _trace(error: Exception) -> None:
    """Where it happened, without the error's text: it may hold a URL with its query, or worse."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    with contextlib.suppress(OSError):
        os.write(2, f"{frames}{type(error).__name__}\n".encode(errors="replace"))


def _leave_no_image() -> None:
    """No memory image is written of us: a password is in it."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Not `sys.exit`: it would wait for the thread that waits for a word.
    os._exit(code)
