"""How far files are that nodes fetch: in words, and said while it is waited for."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from muster.output import in_unit, note, size, unit

SAY_EVERY = 10.0
"""Seconds between lines about bytes where a line cannot be written over."""


def amount(fetch: Mapping[str, Any] | None) -> str:
    """`12.3 of 80.0 MiB, 4.1 MiB/s`; nothing while nothing is known."""
    done, total, rate = ((fetch or {}).get(key) for key in ("done", "total", "rate"))
    if not done and not total:
        return ""
    most = total or done or 0
    known = f"{in_unit(unit(most), done or 0)} of " if total else ""
    text = f"{known}{size(most)}"
    return f"{text}, {size(rate)}/s" if rate else text


def whole(tasks: Sequence[Mapping[str, Any]]) -> str:
    """All the fetching tasks of a deployment in one line; nothing if there are none that get anything."""
    fetching = [task.get("fetch") or {} for task in tasks if task.get("state") == "fetching"]
    if not fetching:
        return ""
    total: int | None = None
    if all(each.get("total") for each in fetching):
        total = sum(each["total"] for each in fetching)
    done, rate = (sum(each.get(key) or 0 for each in fetching) for key in ("done", "rate"))
    text = amount({"done": done, "total": total, "rate": rate})
    count = f" for {len(fetching)} tasks" if len(fetching) > 1 else ""
    return f"fetching{count}: {text}" if text else ""


class Ticker:
    """Lines about what is waited for; on a terminal the one about bytes is written over and over."""

    def __init__(self) -> None:
        self._over = sys.stderr.isatty()
        self._shown = ""
        self._at = 0.0

    def note(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        note(text)

    def bytes(self, text: str) -> None:
        """How far the files are; empty: none are fetched (any more)."""
        if text == self._shown:
            return
        if self._over:
            self.clear()
            if text:
                click.echo(f"  {text}"[: _width()], nl=False, err=True)
            self._shown = text
        elif text and (not self._shown or time.monotonic() >= self._at + SAY_EVERY):
            self._at, self._shown = time.monotonic(), text
            note(f"  {text}")

    def clear(self) -> None:
        """Leave no line unfinished."""
        if self._over and self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = ""


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1


class Patience:
    """How long something is waited for.

    As long as was asked for; else for `usual` seconds that begin anew with all that comes of a file: a node
    has a deadline of its own for those that do not come.
    """

    def __init__(self, asked: float | None, usual: float) -> None:
        self._fixed = asked is not None
        self._seconds = usual if asked is None else asked
        self._began = self._since = time.monotonic()
        self._done: dict[tuple[Any, ...], float] = {}

    def look(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """See whether more of the files has come."""
        done = {
            (task.get("allocation"), task["name"]): float((task.get("fetch") or {}).get("done") or 0)
            for task in tasks
            if task.get("state") == "fetching"
        }
        if not self._fixed and any(each > self._done.get(key, 0.0) for key, each in done.items()):
            self._since = time.monotonic()
        self._done = done

    @property
    def over(self) -> bool:
        """Whether it is time to give up."""
        return time.monotonic() > self._since + self._seconds

    @property
    def waited(self) -> str:
        """How long that was."""
        whole = self._seconds if self._since == self._began else time.monotonic() - self._began
        return f"{whole:.0f} s" if whole >= 10 else f"{whole:g} s"
