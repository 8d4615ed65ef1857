"""A connection that never waits, behind the few client verbs that `RedisNodeLink` uses.

A verb of the link is called; where it needs an answer, its commands are sent and `Later` is raised. Once the
answer is there the same verb is called again and handed all the answers it has had so far. So the real verbs
run unchanged, and one thread waits for thousands of them.
"""

import errno
import socket
import time

import hiredis
import redis

from store.kv.connection import ANSWER_WITHIN

READ_AT_ONCE = 65536
_ERRORS = {
    "NOPERM": redis.exceptions.NoPermissionError,
    "WRONGPASS": redis.AuthenticationError,
    "NOAUTH": redis.AuthenticationError,
    "LOADING": redis.exceptions.BusyLoadingError,
    "READONLY": redis.ReadOnlyError,
}


class Later(Exception):
    """The answer is not there yet."""


def _error(text):
    """The error that `redis` would raise of an error reply."""
    if text.startswith("ERR max number of clients"):
        return redis.ConnectionError(text)
    return _ERRORS.get(text.partition(" ")[0], redis.ResponseError)(text)


class Wire:
    """One connection of one agent; made at the first command, and again at the first after a failure."""

    def __init__(self, loop, address, username, password, name):
        self._loop = loop
        self._address = address
        self._hello = [("AUTH", username, password), ("CLIENT", "SETNAME", name)]
        self._socket = None
        self._reader = None
        self._out = b""
        self._given, self._taken = [], 0
        self._expected, self._partial = 0, []
        self._failure = None
        self._fresh = False
        self.waiter = None
        self.serves = 0.0
        """Since when this connection is answered, by the monotonic clock; 0 while it is not."""
        self.stamp = {}
        """Of the last `xread`: when the oldest entry of each stream was written, in ms since 1970."""

    def call(self, verb, *args, within=ANSWER_WITHIN):
        """Run one verb of the link to its end; a coroutine of the loop. Raises what the verb raises."""
        self._given, self._failure = [], None
        self.waiter = self._loop.current
        deadline = time.monotonic() + within
        try:
            while True:
                self._taken = 0
                try:
                    return verb(*args)
                except Later:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        self.fail(redis.TimeoutError("no answer in time"))
                    else:
                        yield left
        finally:
            self.waiter = None

    # -- the loop's side

    def fileno(self):
        """The socket's descriptor."""
        return self._socket.fileno()

    def readable(self):
        """Take what has arrived; the waiter goes on when it has its whole answer."""
        try:
            data = self._socket.recv(READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(redis.ConnectionError(str(error)))
            return
        if not data:
            self.fail(redis.ConnectionError("connection closed by server"))
            return
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            self._partial.append(answer)
        if self._expected and len(self._partial) >= self._expected:
            self._answered()

    def _answered(self):
        answers, self._partial, self._expected = self._partial, [], 0
        if self._fresh:
            self._fresh, self.serves = False, time.monotonic()
            hello, answers = answers[: len(self._hello)], answers[len(self._hello) :]
            answers = [*(each for each in hello if isinstance(each, Exception)), *answers]
        refused = next((each for each in answers if isinstance(each, Exception)), None)
        self._given.append(_error(str(refused)) if refused is not None else answers)
        self._resume()

    def writable(self):
        """Send the rest of what could not be sent at once."""
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(redis.ConnectionError(str(error)))
            return
        self._out = self._out[sent:]
        if not self._out:
            self._loop.reads(self)

    def fail(self, error):
        """The connection is of no use any more."""
        self.close()
        self._failure = error
        self._resume()

    def _resume(self):
        if self.waiter is not None:
            self._loop.resume(self.waiter)

    def mute(self):
        """Say and hear nothing more, though the connection stays: as if the network were cut."""
        if self._socket is not None:
            self._loop.forget(self)

    # -- the client's side

    def _ask(self, *commands):
        if self._taken < len(self._given):
            answer = self._given[self._taken]
            self._taken += 1
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self._failure is not None:
            raise self._failure
        if not self._expected:
            self._send(commands)
        raise Later

    def _send(self, commands):
        fresh = self._socket is None
        if fresh:
            self._open()
            commands = [*self._hello, *commands]
        self._fresh, self._expected = fresh, len(commands)
        self._out += b"".join(hiredis.pack_command(command) for command in commands)
        try:
            sent = 0 if fresh else self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close()
            raise redis.ConnectionError(str(error)) from error
        self._out = self._out[sent:]
        if self._out:
            self._loop.writes(self)

    def _open(self):
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        code = self._socket.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            self._socket.close()
            self._socket = None
            raise redis.ConnectionError(f"cannot connect: {errno.errorcode.get(code, code)}")
        self._loop.add(self)

    def close(self):
        """Close the socket; the next command opens another."""
        if self._socket is not None:
            self._loop.forget(self)
            self._socket.close()
            self._socket = None
        self.serves = 0.0
        self._out, self._partial, self._expected = b"", [], 0

    def set(self, key, value, px=None, nx=False, get=False):
        """As in `redis`."""
        answer = self._ask(_set(key, value, px, nx, get))[0]
        return answer if get else answer is not None

    def get(self, key):
        """As in `redis`."""
        return self._ask(("GET", key))[0]

    def delete(self, key):
        """As in `redis`."""
        return self._ask(("DEL", key))[0]

    def publish(self, channel, message):
        """As in `redis`."""
        return self._ask(("PUBLISH", channel, message))[0]

    def hset(self, key, mapping):
        """As in `redis`."""
        return self._ask(_hset(key, mapping))[0]

    def hgetall(self, key):
        """As in `redis`."""
        return _pairs(self._ask(("HGETALL", key))[0])

    def xread(self, streams, block, count):
        """As in `redis`; must not block for longer than the call waits."""
        words = ("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", *streams, *streams.values())
        answer = self._ask(words)[0]
        self.stamp = {key.decode(): int(entries[0][0].split(b"-")[0]) for key, entries in answer or ()}
        return [
            [key, [(number, _pairs(words)) for number, words in entries]] for key, entries in answer or ()
        ]

    def pipeline(self, transaction):
        """As in `redis`."""
        return _Pipeline(self._ask, transaction)


class _Pipeline:
    def __init__(self, ask, transaction):
        self._ask = ask
        self._transaction = transaction
        self._commands = []

    def set(self, key, value, px=None, nx=False, get=False):
        self._commands.append(_set(key, value, px, nx, get))

    def hmget(self, key, fields):
        self._commands.append(("HMGET", key, *fields))

    def hset(self, key, mapping):
        self._commands.append(_hset(key, mapping))

    def hdel(self, key, *fields):
        self._commands.append(("HDEL", key, *fields))

    def execute(self):
        if not self._commands:
            return []
        if not self._transaction:
            return self._ask(*self._commands)
        return self._ask(("MULTI",), *self._commands, ("EXEC",))[-1]


def _set(key, value, px, nx, get):
    more = ("PX", px) if px is not None else ()
    return ("SET", key, value, *more, *(("NX",) if nx else ()), *(("GET",) if get else ()))


def _hset(key, mapping):
    return ("HSET", key, *(word for pair in mapping.items() for word in pair))


def _pairs(words):
    return dict(zip(words[::2], words[1::2], strict=True))
