"""How much is looked at for one question: whoever leads answers it, and must go on leading."""

from manager_api.core.candidates import ALL_BELOW
from manager_api.core.fleet import Fleet
from manager_api.core.requests import Chosen, Refused, Request

MOST_LOOKS = 100_000
"""Looks at nodes, about, for one question."""
NOT_LOOKED_AT = "not looked at: so much was to be looked at before"


class Effort:
    """For one question."""

    def __init__(self, fleet: Fleet) -> None:
        self._nodes = len(fleet.nodes)
        self._seen: set[tuple[str, str]] = set()
        self._refused: dict[int, Refused] = {}
        self._looks = 0

    @property
    def enough(self) -> bool:
        """Whether no further place is to be looked for."""
        return self._looks > MOST_LOOKS

    def note(self, asked: Request, found: Chosen | Refused) -> None:
        """Count an answer: what is like one before costs next to nothing."""
        self._looks += 1
        if isinstance(found, Refused):
            if id(found) not in self._refused:
                self._refused[id(found)] = found
                self._looks += self._nodes
        elif asked.key not in self._seen:
            self._looks += min(self._nodes, ALL_BELOW)
        self._seen.add(asked.key)
