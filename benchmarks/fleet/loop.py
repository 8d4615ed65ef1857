"""One thread that waits for thousands of connections: coroutines over epoll, with timers."""

import collections
import contextlib
import heapq
import itertools
import os
import select
import threading
import time


class Task:
    """A coroutine of the loop: it yields the seconds after which it goes on, unless it is resumed sooner."""

    __slots__ = ("life", "ticket")

    def __init__(self, life):
        self.life = life
        self.ticket = 0


class Loop:
    """Runs tasks until told to stop. Only `post` and `stop` may be called by other threads."""

    def __init__(self):
        self._epoll = select.epoll()
        self._watched = {}
        self._timers = []
        self._numbers = itertools.count()
        self._ready = collections.deque()
        self._posted = collections.deque()
        self._bell, self._rung = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._stopping = self._closed = False
        self._lock = threading.Lock()
        self.current = None
        """The task that runs just now."""

    def spawn(self, life):
        """Begin a task."""
        task = Task(life)
        self._ready.append((task, task.ticket))
        return task

    def resume(self, task):
        """Let a task go on before its time."""
        if task is not self.current:
            self._ready.append((task, task.ticket))

    def cancel(self, task):
        """End a task where it stands; not the one that runs."""
        task.ticket += 1
        task.life.close()

    def post(self, what):
        """Call `what` on the loop's thread."""
        self._posted.append(what)
        self._ring()

    def stop(self):
        """End soon."""
        self._stopping = True
        self._ring()

    def _ring(self):
        with self._lock, contextlib.suppress(BlockingIOError):  # then it rings already
            if not self._closed:
                os.write(self._rung, b"!")

    def add(self, wire):
        """Wait for a wire."""
        self._watched[wire.fileno()] = wire
        self._epoll.register(wire.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def reads(self, wire):
        """It has sent everything."""
        self._epoll.modify(wire.fileno(), select.EPOLLIN)

    def writes(self, wire):
        """It has something left to send."""
        self._epoll.modify(wire.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def forget(self, wire):
        """Do not wait for it any more."""
        if self._watched.pop(wire.fileno(), None) is not None:
            self._epoll.unregister(wire.fileno())

    def run(self):
        """Until stopped."""
        while not self._stopping:
            self._go_on()
            left = self._timers[0][0] - time.monotonic() if self._timers else 1.0
            for fd, event in self._epoll.poll(min(1.0, max(0.0, left)), 4096):
                self._happened(fd, event)
        self._close()

    def _happened(self, fd, event):
        if fd == self._bell:
            os.read(self._bell, 4096)
            while self._posted:
                self._posted.popleft()()
            return
        wire = self._watched.get(fd)
        if wire is not None and event & select.EPOLLOUT:
            wire.writable()
        if self._watched.get(fd) is wire is not None and event & ~select.EPOLLOUT:
            wire.readable()
        self._go_on()

    def _go_on(self):
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, ticket, task = heapq.heappop(self._timers)
            self._ready.append((task, ticket))
        while self._ready:
            task, ticket = self._ready.popleft()
            if task.ticket == ticket:
                self._step(task)

    def _step(self, task):
        task.ticket += 1
        self.current = task
        try:
            seconds = next(task.life)
        except StopIteration:
            return
        finally:
            self.current = None
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._numbers), task.ticket, task))

    def _close(self):
        for wire in list(self._watched.values()):
            wire.close()
        self._epoll.close()
        with self._lock:
            self._closed = True
            os.close(self._bell)
            os.close(self._rung)
