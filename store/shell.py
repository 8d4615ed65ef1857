"""A small redis-cli, for machines that have none: `python -m store.shell -p PORT [COMMAND …]`.

Prints as redis-cli does into a pipe: one value a line. The password comes from REDISCLI_AUTH.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from store.errors import StoreError
from store.kv.connection import connect, translated


def main(argv: Sequence[str]) -> int:
    """Run one command, or those that are typed."""
    if len(argv) < 2 or argv[0] != "-p":
        sys.stderr.write("usage: python -m store.shell -p PORT [COMMAND …]\n")
        return 2
    client = connect(f"redis://127.0.0.1:{argv[1]}/0", name="shell", password=os.environ.get("REDISCLI_AUTH"))
    if argv[2:]:
        return _run(client, argv[2:])
    try:
        while words := shlex.split(input(f"127.0.0.1:{argv[1]}> ")):
            _run(client, words)
    except (EOFError, KeyboardInterrupt, ValueError):
        pass
    return 0


def _run(client: Any, words: Sequence[str]) -> int:
    try:
        with translated():
            client.response_callbacks.clear()  # as the server says it, not as a library understands it
            _show(client.execute_command(*words))
    except StoreError as error:
        print(f"(error) {error}")
        return 1
    return 0


def _show(answer: Any) -> None:
    if isinstance(answer, list | tuple):
        for each in answer:
            _show(each)
    elif isinstance(answer, dict):
        for key, value in answer.items():
            _show(key)
            _show(value)
    elif isinstance(answer, bytes):
        print(answer.decode(errors="replace"))
    else:
        print("" if answer is None else answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
