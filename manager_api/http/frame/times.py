"""Times as people give them in a query: so long ago, a date with its zone, or seconds since 1970."""

import contextlib
import re
from datetime import datetime

from store.model import quantity

_SPACED_ZONE = re.compile(r"(T\d\d:\d\d\S*) (\d\d:?\d\d)")


def since(text: str) -> dict[str, float]:
    """A time by whoever reads it: so many seconds `ago`, or `since` 1970.

    Raises:
        ValueError: it is none.
    """
    with contextlib.suppress(ValueError):
        return {"ago": quantity.duration(text)}
    if re.fullmatch(r"\d{1,11}(\.\d+)?", text):
        return {"since": float(text)}
    try:
        when = datetime.fromisoformat(_SPACED_ZONE.sub(r"\1+\2", text))  # a + that became a space on its way
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise ValueError(
            f"{text!r} is neither a duration such as 10m, nor a time such as 2026-01-31T12:00:00Z, "
            "nor seconds since 1970"
        )
    return {"since": when.timestamp()}
