"""What tasks wrote: `muster logs`. It reads JSON lines, so that it can go on by their cursors."""

import base64
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from muster.client import Client, Refused, Unreachable
from muster.deploying import Failed
from muster.output import note

AWAY_FOR = 60.0
"""Seconds that a manager or a node may be away while it is followed."""
FIRST_PAUSE, LAST_PAUSE = 0.2, 2.0
PASSING = (409, 500, 502, 503, 504)
"""What a manager may answer while it, its store or a node comes back."""


class CutOff(Exception):
    """The answer ended before it was at its end."""


class Reader:
    """One run of `muster logs`."""

    def __init__(self, client: Client, deployment: str, asked: dict[str, str]) -> None:
        self._client = client
        self._path = f"/v1/deployments/{deployment}/logs"
        self._asked = asked
        self._cursors: dict[str, str] = {}
        self._open = ""
        """The log whose line has no end yet."""
        """The newest cursor of each log, by what comes before its offset."""
        self._tasks: set[tuple[str, str]] = set()
        self._failed_since: float | None = None

    def run(self) -> None:
        """Print until all is read; when following, go on by cursor where it was cut off.

        Raises:
            Unreachable, Refused, Failed: it cannot be read, or not any more.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                self._read()
                return
            except (Unreachable, Refused, CutOff) as error:
                if not self._passes(error):
                    raise Failed(str(error)) if isinstance(error, CutOff) else error from None
            if self._failed_since is None:
                self._failed_since, pause = time.monotonic(), FIRST_PAUSE
            time.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _passes(self, error: Exception) -> bool:
        """Whether to try again: only what was followed already, and not for ever."""
        if self._asked["follow"] == "false" or not self._cursors:
            return False
        if isinstance(error, Refused) and error.status not in PASSING:
            return False
        if self._failed_since is None:
            note(f"muster: {error}; going on when it is back")
            return True
        return time.monotonic() - self._failed_since < AWAY_FOR

    def _read(self) -> None:
        """Print one answer.

        Raises:
            CutOff: it did not come to its end.
        """
        asked = {**self._asked, "format": "json"}
        if self._cursors:
            asked["cursor"] = ",".join(self._cursors.values())
        for row in _rows(self._client.lines(f"{self._path}?{urlencode(asked)}")):
            if self._failed_since is not None and row.get("event") != "error":
                self._failed_since = None
            if row.get("event") == "end":
                return
            if row.get("event") == "error":
                raise CutOff(row["message"])
            self._show(row)
        raise CutOff("the answer was cut off")

    def _show(self, row: dict[str, Any]) -> None:
        event = row.get("event")
        if event == "note":
            note(f"muster: {row['message']}")
            return
        if event == "begin":
            self._tasks.add((row["alloc"], row["task"]))
        elif event == "lost":
            note(f"muster: {row['bytes']} bytes of {row['task']} on {row['node']} are no longer kept")
        elif event is None:
            self._print(row)
        # Only now: a cursor is beyond what was printed.
        self._cursors[row["cursor"].rpartition(".")[0]] = row["cursor"]

    def _print(self, row: dict[str, Any]) -> None:
        data = row["text"].encode() if "text" in row else base64.b64decode(row["base64"])
        source = row["cursor"].rpartition(".")[0]
        before = b""
        if source != self._open:
            before = b"\n" if self._open else b""
            before += f"{row['task']}@{row['node']} | ".encode() if len(self._tasks) > 1 else b""
        self._open = source if row.get("partial") else ""
        sys.stdout.buffer.write(before + data + (b"" if self._open else b"\n"))
        sys.stdout.buffer.flush()


def _rows(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines; a line that was cut off is none."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        if line.strip():
            yield json.loads(line)


def show(client: Client, deployment: str, asked: dict[str, str]) -> None:
    """Print logs. Whoever stops reading, by Ctrl-C or by closing the pipe, ends it quietly.

    Raises:
        Unreachable, Refused, Failed: as `Reader.run`.
    """
    try:
        Reader(client, deployment, asked).run()
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail
