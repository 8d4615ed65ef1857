"""Errors of the store, named by what the caller does about them.

StoreError
├── Unavailable          the server cannot be reached: try again later
├── StoreEmpty           no Muster data where some was expected: freeze, ask a human
├── EpochChanged         another history: attach again and re-read everything
│   └── HistoryLost      the same epoch at a lower revision: freeze, a new epoch is needed
├── Conflict             somebody else wrote first: re-read, decide again
├── Fenced               not the leader any more: stop leading
├── Compacted            the log no longer reaches back so far: list again
├── Claimed              another agent holds this node id: give up
├── Busy                 another restore is under way: try again later
├── Denied               wrong password or no right to this key: join again
├── TooLarge             more than one transaction may carry: split it
├── BadRecord            what lies there cannot be read: leave it alone, say so
├── WrongRelease         records of a schema that this release does not read: give up, say which does
└── Unsupported          this server cannot do what Muster needs: give up, say why
"""


class StoreError(Exception):
    """Base of all errors of the store."""


class Unavailable(StoreError):
    """The server cannot be reached, or is loading."""


class StoreEmpty(StoreError):
    """The server holds no Muster data."""


class EpochChanged(StoreError):
    """The store has another history than the caller knows."""


class HistoryLost(EpochChanged):
    """The store is at a lower revision than the caller has seen, in the same epoch."""


class Conflict(StoreError):
    """A compare of a transaction failed."""

    def __init__(self, collection: str, field: str, expected: int, actual: int) -> None:
        super().__init__(f"{collection}/{field} is at revision {actual}, not {expected}")
        self.collection = collection
        self.field = field
        self.expected = expected
        self.actual = actual


class Fenced(StoreError):
    """The caller's fencing token is not the leader's."""


class Compacted(StoreError):
    """The log no longer holds all that came after the asked revision."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the log begins after revision {oldest}")
        self.oldest = oldest


class Claimed(StoreError):
    """Another living agent holds the node id."""


class Busy(StoreError):
    """Somebody else is at it."""


class Denied(StoreError):
    """The server refused the credentials or the command."""


class TooLarge(StoreError):
    """A transaction is over its bounds."""


class BadRecord(StoreError):
    """A stored value is not what its place promises."""


class WrongRelease(StoreError):
    """The store may hold records of a schema that this release does not read."""


class Unsupported(StoreError):
    """The server lacks something that Muster needs."""
