"""A client of Muster's API: `Client` blocks, `AsyncClient` does not; both have a method for every call.

`docs/client.md` shows how they are used. Whoever uses this may rely on what is named here; it loads nothing
of servers or agents, and httpx only once a client needs it.
"""

from typing import TYPE_CHECKING, Any

from muster.client.blocking import Plain, Streamed
from muster.client.errors import (
    Conflict,
    Invalid,
    MusterError,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    Refused,
    Unavailable,
    Unreachable,
)
from muster.client.exchange import About, Options, about
from muster.client.operations import Operations
from muster.client.retrying import NEVER, Retries

if TYPE_CHECKING:
    from muster.client.asynchronous import AsyncClient

__all__ = [
    "NEVER",
    "About",
    "AsyncClient",
    "Client",
    "Conflict",
    "Invalid",
    "MusterError",
    "NotAllowed",
    "NotFound",
    "Options",
    "PreconditionFailed",
    "Refused",
    "Retries",
    "Streamed",
    "Unavailable",
    "Unreachable",
    "about",
]


class Client(Plain, Operations):
    """One manager, asked by calls that block; any number of threads may share it.

    url: of the manager; without one `MUSTER_URL`, else a manager of this machine.
    token: said with every call, as `Authorization: Bearer`.
    timeout: seconds without a byte from the manager after which a call is given up.
    retries: what is tried again, and when; `NEVER`.
    replicated: what is written is to reach a replica of the store; `unconfirmed` says afterwards whether any
        of it was answered without that.
    verify: for https: a file of certificates to trust, or an `ssl.SSLContext` (with a certificate of the
        client's own, say); False: whoever answers is believed.
    wire: carries the calls instead of httpx.
    """


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        from muster.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
