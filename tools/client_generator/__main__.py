"""Write the generated part of `muster.client` from the API's own description.

    python -m tools.client_generator            # writes it
    python -m tools.client_generator --check    # exit code 1 if what is there is another

`--document FILE` takes the description from a file instead of from the code beside this.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.client_generator.calls import Called, Writer, read
from tools.client_generator.shapes import Shapes

ROOM = Path(__file__).parents[2] / "muster" / "client"
NOTE = '"""{about}\n\nGenerated from the API\'s description by `make client`: do not change it here.\n"""\n'
MODELS = """
from typing import Any, Literal, NotRequired, TypedDict

"""
SHARED = """from muster.client.exchange import Options, path, with_query
from muster.client.flows import WAIT, OnTrouble
"""
BLOCKING = f"""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Unpack

from muster.client.blocking import Calls, Streamed
{SHARED}
"""
NONBLOCKING = f"""
from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Literal, Unpack

from muster.client.httpx_wire import AsyncStreamed
from muster.client.nonblocking import AsyncCalls
{SHARED}
"""


def files(document: dict[str, Any]) -> dict[str, str]:
    """The generated modules by their names, formatted."""
    shapes = Shapes(document)
    calls = read(document, shapes)
    found = {
        "models.py": NOTE.format(about="What the API takes and answers, as types.")
        + "\nfrom __future__ import annotations\n"
        + MODELS
        + shapes.source(),
        "operations.py": NOTE.format(about="A method for each of the API's calls.")
        + _module(BLOCKING, "class Operations(Calls):", calls, shapes, blocking=True),
        "async_operations.py": NOTE.format(about="A method for each of the API's calls, awaited.")
        + _module(NONBLOCKING, "class AsyncOperations(AsyncCalls):", calls, shapes, blocking=False),
    }
    return {name: _formatted(source, name) for name, source in found.items()}


def _module(head: str, line: str, calls: list[Called], shapes: Shapes, *, blocking: bool) -> str:
    writer = Writer(blocking=blocking)
    methods = "\n\n".join(method for call in calls for method in writer.methods(call))
    names = [name for name in shapes.names() if re.search(rf"\b{name}\b", methods)]
    needed = ", ".join(names)
    imports = f"if TYPE_CHECKING:\n    from muster.client.models import {needed}\n" if names else ""
    text = '"""The API\'s calls, by the ids of their operations."""'
    return f"{head}{imports}\n\n{line}\n    {text}\n\n{methods}\n"


def _formatted(source: str, name: str) -> str:
    """As the linter wants it; imports that are not needed go."""
    ruff = [str(Path(sys.executable).parent / "ruff")]
    for command in (
        ["check", "--select", "F401,I", "--fix", "--quiet", "--exit-zero"],
        ["format", "--quiet"],
    ):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(ROOM / name), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOM,
        )
        source = done.stdout
    return source


def described() -> dict[str, Any]:
    """The description of the API that is beside this, as a client would read it."""
    from tools.client_generator.described import document

    return document()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="client_generator", description=__doc__)
    parser.add_argument("--document", type=Path)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    given = json.loads(asked.document.read_text()) if asked.document else described()
    stale = []
    for name, source in files(given).items():
        there = ROOM / name
        if not there.exists() or there.read_text() != source:
            stale.append(name)
            if not asked.check:
                there.write_text(source)
    print(f"{'stale' if asked.check else 'written'}: {', '.join(stale) or 'nothing'}")
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
