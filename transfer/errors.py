"""What can go wrong with a transfer, in kinds that say what may help, and a sentence for people."""

from enum import StrEnum


class Kind(StrEnum):
    """What went wrong."""

    MISSING = "missing"  # there is no such file
    DENIED = "denied"  # it is there, and we may not read (or write) it
    LOGIN = "login"  # the server does not take our user, password or key
    HOST_KEY = "host key"  # the server is not known, or is another one than expected
    UNREACHABLE = "unreachable"  # no connection, or it broke, or it took too long
    CHANGED = "changed"  # the source changed while it was read
    MISMATCH = "mismatch"  # read whole, and not what the template's sha256 says
    FULL = "full"  # no room left here: the disk, or our quota
    HOSTILE = "hostile"  # an archive that would write outside, or is a bomb, or is none
    UNSUPPORTED = "unsupported"  # a source that we do not read, by its URL or by this node's policy
    FAULT = "fault"  # our own


FINAL = frozenset({Kind.MISMATCH, Kind.HOSTILE, Kind.UNSUPPORTED})
"""What trying again cannot mend."""
SLOW = frozenset({Kind.MISSING, Kind.DENIED, Kind.LOGIN, Kind.HOST_KEY, Kind.FULL})
"""What only a person mends: tried again, but seldom."""


MOST_TEXT = 4000
"""Characters of a sentence: servers and archives have words of their own in it."""


class TransferError(Exception):
    """A transfer failed. The text names the source, never a password, and is a line fit for a terminal."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(_line(text))
        self.kind = kind


class NotNow(TransferError):
    """The server is there, and does not give this file now: it may well give others."""


def _line(text: str) -> str:
    """What may hold a stranger's words, without what would steer a terminal, or fill a store."""
    cut = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
    return "".join(each if each.isprintable() else "\ufffd" for each in cut)
