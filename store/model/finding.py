"""Findings: what somebody who looked a system over has to say of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for whoever reads it, the worst first."""

    REFUSE = "refuse"  # unsafe as it is set up: a manager does not start on it
    WRONG = "wrong"  # not as it should be just now: a manager starts, and somebody should act
    WARN = "warn"  # works, and is worth knowing
    OK = "ok"


BAD = (Severity.REFUSE, Severity.WRONG)
_ORDER = list(Severity)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: a sentence with what is so, and what cures it (empty: nothing to do)."""

    name: str
    severity: Severity
    text: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" + (f". Cure: {self.cure}" if self.cure else "")

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"name": self.name, "severity": str(self.severity), "text": self.text, "cure": self.cure}


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by severity; those of one severity stay in order."""
    return sorted(findings, key=lambda each: _ORDER.index(each.severity))


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing is refused and nothing is wrong."""
    return not any(each.severity in BAD for each in findings)
