"""Where symbolic links lead, step by step as the kernel goes: pure, over links that are yet to be made."""

from agentd.artifacts.entries import Parts, hostile
from agentd.artifacts.home import MOST_DEPTH, MOST_PATH

MOST_STEPS = 40
"""Links that the kernel follows in one path."""
MOST_WORK = 20_000_000
"""Parts of paths looked at, for all links together: a tangle is not a reason to compute for days."""


class Links:
    """Symbolic links by their paths; each must lead to somewhere inside its own directory `within`."""

    def __init__(self) -> None:
        self.targets: dict[Parts, bytes] = {}
        self._within: dict[Parts, Parts] = {}
        self._work = 0

    def add(self, path: Parts, target: bytes, within: Parts) -> None:
        """A link that will be made.

        Raises:
            TransferError: HOSTILE, its target is none.
        """
        name = b"/".join(path[len(within) :])
        if not target or b"\0" in target or len(target) >= MOST_PATH:
            raise hostile(name, "is a link to nothing that could be a path")
        if target.startswith(b"/"):
            raise hostile(name, "is a link to an absolute path")
        self.targets[path] = target
        self._within[path] = within

    def through(self, path: Parts) -> Parts | None:
        """The link that a path leads through, if one."""
        if self.targets:
            for depth in range(1, len(path)):
                if path[:depth] in self.targets:
                    return path[:depth]
        return None

    def check(self) -> None:
        """See that none leads out, whichever way.

        Raises:
            TransferError: HOSTILE.
        """
        for path, within in self._within.items():
            self._follow(path, within)

    def _follow(self, path: Parts, within: Parts) -> None:
        name = b"/".join(path[len(within) :])
        at = list(path[:-1])
        ahead = _reversed(self.targets[path])
        steps = 1
        while ahead:
            self._work += 1
            if self._work > MOST_WORK:
                raise hostile(name, "is one of links too tangled to follow")
            part = ahead.pop()
            if part != b"..":
                at.append(part)
                if len(at) > 2 * MOST_DEPTH:
                    raise hostile(name, "is a link that leads deeper than anything lies")
                further = self.targets.get(tuple(at))
                if further is None:
                    continue
                steps += 1
                if steps > MOST_STEPS:
                    raise hostile(name, "is a link that leads in a circle, or through too many others")
                ahead += _reversed(further)
            elif len(at) <= len(within):
                raise hostile(name, "is a link that leads outside")
            at.pop()


def _reversed(target: bytes) -> list[bytes]:
    """The parts of a target, the first one last."""
    return [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
