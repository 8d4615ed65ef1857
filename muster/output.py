"""Tables for people, JSON for programs, progress on stderr."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

LAST_LEAST = 20
"""Characters of a table's last column; with less room for it lines are printed whole, and wrap."""
GAP = 2
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "B"))
LONG = 500
"""Rows beyond which a table is set without rich, which takes a millisecond for each."""


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows; on a terminal coloured, the last column folded to fit; plain and whole elsewhere.

    No other column is ever cut: half an id is of no use.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["-" if cell is None or cell == "" else str(cell) for cell in row] for row in rows]
    if len(cells) > LONG:
        _long([[*titles], *cells])
        return
    view = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles[:-1]:
        view.add_column(title, no_wrap=True)
    view.add_column(titles[-1], overflow="fold")
    for row in cells:
        view.add_row(*map(Text, row))
    *fixed, last = (max(map(cell_len, column)) for column in zip(titles, *cells, strict=True))
    needed = sum(fixed) + GAP * len(fixed) + min(last, LAST_LEAST)
    fits = sys.stdout.isatty() and Console().width >= needed
    wide = None if fits else 10_000
    console = Console(width=wide, highlight=False)
    if wide:
        with console.capture() as captured:
            console.print(view)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    else:
        console.print(view)


def _long(rows: list[list[str]]) -> None:
    """The same of many rows: plain and whole."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        print((" " * GAP).join(padded).rstrip())


def as_json(value: Any) -> None:
    """Print for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def note(text: str) -> None:
    """Say something to people, out of the way of what programs read."""
    click.echo(text, err=True)


def ago(then: float | None) -> str:
    """`3m` for what was three minutes ago."""
    if then is None:
        return ""
    seconds = max(0, int(time.time() - then))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def unit(number: float) -> tuple[int, str]:
    """The unit in which so many bytes are said: how many bytes it has, and its name."""
    return next((each for each in _UNITS if number >= each[0]), _UNITS[-1])


def size(number: float) -> str:
    """So many bytes, such as `12.3 MiB`."""
    its_unit = unit(number)
    return f"{in_unit(its_unit, number)} {its_unit[1]}"


def in_unit(of: tuple[int, str], number: float) -> str:
    """So many bytes in a unit, without its name."""
    return f"{number / of[0]:.{0 if of[0] == 1 else 1}f}"


def task_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each task of one deployment: `site`; `site[2]` of several, `web.site[2]` of many groups."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row.get("group"))
    found = []
    for row in rows:
        alike = groups[row["name"]]
        name = f"{row['group']}.{row['name']}" if len(set(alike)) > 1 else row["name"]
        found.append(f"{name}[{row['index']}]" if len(alike) > 1 and "index" in row else name)
    return found


def node_state(row: dict[str, Any]) -> str:
    """A node's state in one word."""
    if row["status"]:
        return "unknown" if row.get("unknown") else "offline"
    return "frozen" if row["frozen"] else "online"
