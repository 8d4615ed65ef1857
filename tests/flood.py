"""A thief of a node's credential who takes connections."""

import contextlib
import socket
import threading

from store.kv.server import user_of


class Flood:
    """A stolen credential, in as many connections as the server takes."""

    def __init__(self, port, node, secret):
        self._where, self._login = ("127.0.0.1", port), f"AUTH {user_of(node)} {secret}\r\n".encode()
        self._ended = threading.Event()
        self.refused = threading.Event()
        self._held = []
        self.tries = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended.is_set():
            self.tries += 1
            with contextlib.suppress(OSError):
                taken = socket.create_connection(self._where, timeout=1)
                taken.sendall(self._login)
                if b"+OK" in taken.recv(100):
                    self._held.append(taken)
                else:
                    self.refused.set()
                    taken.close()
                    self._held = [each for each in self._held if self._lives(each)]

    @staticmethod
    def _lives(each):
        with contextlib.suppress(BlockingIOError):
            each.setblocking(False)
            try:
                if not each.recv(1):
                    each.close()
                    return False
            except BlockingIOError:
                raise
            except OSError:
                each.close()
                return False
        return True

    def end(self):
        self._ended.set()
        self._thread.join(5)
        for each in self._held:
            each.close()
