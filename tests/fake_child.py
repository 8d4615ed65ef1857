"""A downloading child as a test wants it: does by its source what the name says.

    fake_child.py CACHE

`good/<text>`: the text; `missing/…`: there is none; `slow/…`: progress without end; `die/…`: it dies, with a
complaint; `nonsense/…`: no word; `flood/<n>`: so many words of progress, and then the text.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

CACHE = Path(sys.argv[1])


def say(**word):
    os.write(1, json.dumps(word).encode() + b"\n")


def note(text):
    with (CACHE / "notes").open("a") as file:
        file.write(f"{os.getpid()} {text}\n")


def got(job, text):
    found = hashlib.sha256(text.encode()).hexdigest()
    path = CACHE / "objects" / found[:2] / found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    say(say="got", job=job, sha256=found, size=len(text), stamp="s", read=len(text))


def do(job, source):
    what, _, rest = source.partition("/")
    match what:
        case "good":
            got(job, rest)
        case "missing":
            say(say="failed", job=job, kind="missing", text=f"no such file {source}")
        case "slow":
            say(say="progress", job=job, done=1, total=1000)
        case "die":
            os.write(2, b"Traceback\nMemoryError\n")
            os._exit(3)
        case "nonsense":
            os.write(1, b"what?\n")
        case "flood":
            for done in range(int(rest)):
                say(say="progress", job=job, done=done, total=int(rest))
            got(job, rest)


def main():
    begin = json.loads(sys.stdin.readline())
    note(f"begin {begin['pool']}")
    say(say="key", key="A" * 43 + "=")
    for line in sys.stdin:
        word = json.loads(line)
        if word["say"] == "open":
            note(f"open {word['sealed']}")
        elif word["say"] == "get":
            note(f"get {word['source']} {'known' if word['known'] else 'new'}")
            do(word["job"], word["source"])


if __name__ == "__main__":
    main()
