"""Muster's client, for programs (`Client`, `AsyncClient`) and for people (the command line).

It speaks HTTP only; nothing of server or agent is imported here, and nothing at all before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muster.client import (
        NEVER,
        About,
        AsyncClient,
        Client,
        Conflict,
        Invalid,
        MusterError,
        NotAllowed,
        NotFound,
        PreconditionFailed,
        Refused,
        Retries,
        Unavailable,
        Unreachable,
        about,
    )

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
    "PreconditionFailed",
    "Refused",
    "Retries",
    "Unavailable",
    "Unreachable",
    "about",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import muster.client

        return getattr(muster.client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
