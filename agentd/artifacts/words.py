"""What the brain and its downloading child say to each other: a line of JSON each.

The child is one connection to one pool (or none, for `file://`), made once it is told `open`; it takes jobs
one after the other and ends at the end of its input. To the child:

    {"say": "begin", "pool": "~", "known_hosts": [<path>…], "ssh_key": <path> | null, "quota": <bytes>,
     "rate": <bytes a second> | null, "keep": [<sha256>…], "files": [<pattern>…] | null}
                                                     first of all; `files`: what `file://` may read, null: all
    {"say": "open", "sealed": "<base64>"}            sealed to the key that it said; null: nothing needed
    {"say": "get", "job": "<name>", "source", "sha256", "fingerprint",
     "known": {"sha256", "stamp"} | null}            what it was the last time: perhaps it still is
    {"say": "rate", "rate": <bytes a second> | null} what it may take from now on
    {"say": "lease", "until": <seconds since boot>}  it ends by itself then, unless told a later time

From the child:

    {"say": "key", "key": "<base64>"}                its public key, at the beginning
    {"say": "progress", "job", "done", "total" | null}
    {"say": "got", "job", "sha256", "size", "stamp", "read"}
                                                     in the cache now; `read`: bytes that came over the wire
    {"say": "failed", "job", "kind", "text"}         `transfer.errors.Kind`; the child goes on with the next
    {"say": "lost", "kind", "text"}                  no connection (any more): it ends, its jobs are not done

The placing child (`agentd.artifacts.placing`) gets one order on its input and answers with one line:

    {"into": <directory>, "objects": <directory>, "uid", "gid", "items": [{"object", "to", "extract", "mode",
     "uid", "gid"}]}
    {"say": "placed"} or {"say": "failed", "kind", "text", "object": <that it was about> | null}
"""

import json
from typing import Any

Json = dict[str, Any]


def line(word: Json) -> bytes:
    """As it is sent."""
    return json.dumps(word, separators=(",", ":")).encode() + b"\n"


def word(raw: bytes) -> Json:
    """As it was sent.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(raw)
    if not isinstance(found, dict) or not isinstance(found.get("say", "order"), str):
        raise ValueError("not a word")
    return found
