"""The prober: every http and tcp probe of a node on one thread, which exists once one is wanted."""

import threading
from collections.abc import Callable, Mapping

from agentd.core.health import Result
from agentd.probes.answer import WELL, Verdict
from agentd.probes.loop import Loop
from store.clock import Clock
from store.model.policies import HealthCheck


class Prober:
    """Probes what is wanted, at its intervals; never two probes of one key at once.

    Args:
        on_result: called with a key and what its probe found, on the prober's thread. It must be
            quick, and must not mind a key that was wanted a moment ago.
        start_exec: called on the prober's thread when an exec probe is due; must be quick, too.
            However the command ends, `executed` or `broken_off` has to be called: until then that
            key is not probed again. To enforce the policy's timeout is the caller's part.
        clock: durations are counted on its `now`.
    """

    def __init__(
        self,
        on_result: Callable[[str, Result], None],
        start_exec: Callable[[str, HealthCheck], None],
        clock: Clock,
    ) -> None:
        self._handed = (on_result, start_exec, clock)
        self._lock = threading.Lock()
        self._wanted: dict[str, HealthCheck] = {}
        self._loop: Loop | None = None
        self._stopped = False

    def watch(self, wanted: Mapping[str, HealthCheck]) -> None:
        """Probe these, by run id, and nothing else. Thread-safe; saying the same again is harmless.

        New keys, and keys with another check, are probed at once; those no longer there, no more.
        """
        with self._lock:
            if self._stopped or wanted == self._wanted:
                return
            self._wanted = new = dict(wanted)
            if self._loop is None:
                self._loop = Loop(*self._handed)
                self._loop.start()
            loop = self._loop
            loop.post(lambda: loop.replace(new))

    def executed(self, key: str, code: int | None, reason: str = "") -> None:
        """An exec probe has ended. Thread-safe.

        Args:
            key: as `start_exec` was given it.
            code: its exit code, 0 is well; None: it gave none, and `reason` says why.
            reason: what to tell of a failure, instead of the exit code.
        """
        how = reason or ("no exit code" if code is None else f"exit code {code}")
        verdict = WELL if code == 0 else Verdict(ok=False, reason=how)
        loop = self._loop
        if loop is not None:
            loop.post(lambda: loop.exec_ended(key, verdict))

    def broken_off(self, key: str) -> None:
        """An exec probe has ended and told nothing of its target (the keeper was lost, say).

        There is no result; the probe is made again soon. Thread-safe.
        """
        loop = self._loop
        if loop is not None:
            loop.post(lambda: loop.exec_ended(key, None))

    def stop(self) -> None:
        """End, for good; no result comes after it."""
        with self._lock:
            self._stopped = True
            loop = self._loop
        if loop is not None:
            loop.stop()
