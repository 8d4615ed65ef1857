"""What a merge did, or would do."""

from dataclasses import dataclass, field

from store.codec import Json

MOST_TOLD = 1000
WORDS = ("made", "same", "replaced", "skipped", "conflicts")


@dataclass(slots=True)
class Report:
    """What was done, or would be: numbers by kind, and every conflict by name."""

    dry_run: bool
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    conflicts: list[Json] = field(default_factory=list)
    regrouped: list[tuple[Json | None, Json]] = field(default_factory=list)
    """Groups that are made (None before) or replaced: as they are, as they will be."""
    stops: list[str] = field(default_factory=list)
    """What these would stop much of, in sentences."""

    def note(self, kind: str, word: str, name: str = "", why: str = "") -> None:
        """Count one record."""
        row = self.counts.setdefault(kind, dict.fromkeys(WORDS, 0))
        row[word] += 1
        if why and len(self.conflicts) < MOST_TOLD:
            self.conflicts.append({"kind": kind, "name": name, "why": why, "then": word})

    def total(self, word: str) -> int:
        """How many of all kinds."""
        return sum(row[word] for row in self.counts.values())
