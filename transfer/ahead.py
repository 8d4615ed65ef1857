"""The first questions about the files that come next, asked while this one is on its way.

A small file costs three waits for the server: what it is, its handle, its bytes. Each step is taken once the
one before is answered, and nobody waits for it before the file's turn.
A file is opened only once it is known to be one: the server would wait for ever at a pipe.
"""

import stat as modes
from collections.abc import Iterable
from dataclasses import dataclass

from transfer import messages
from transfer.conversation import READ_AT_ONCE, Conversation
from transfer.messages import Attributes, Type


@dataclass(slots=True)
class Step:
    """Numbers of questions about one file."""

    stat: int | None
    opens: bool
    opened: int | None = None
    handle: bytes | None = None
    bytes: int | None = None
    after: int | None = None
    """What it is after its bytes were read."""
    size: int | None = None


class Ahead:
    """Of one conversation; what is asked goes out with whatever is sent next."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._steps: dict[str, Step] = {}
        self._strays: set[int] = set()
        """Handles that were asked for, and that nobody wants any more."""

    def expect(self, files: Iterable[tuple[str, bool]]) -> None:
        """These paths come next; the flag: whether their bytes, too. Of all others nothing is wanted."""
        wanted = dict(files)
        for path in [each for each in self._steps if each not in wanted]:
            self._drop(self._steps.pop(path))
        for path, opens in wanted.items():
            if path not in self._steps:
                self._steps[path] = Step(self._talk.ask(Type.STAT, messages.path_field(path)), opens)
        self.go_on()

    def go_on(self) -> None:
        """Ask what can be asked by now."""
        for path, step in self._steps.items():
            if step.opens and step.opened is None:
                self._open(path, step)
            elif step.opened is not None and step.handle is None:
                self._read(step)
        for number in [*self._strays]:
            if (answer := self._talk.peek(number)) is not None:
                self._strays.remove(number)
                self._talk.forget(number)
                if answer.type == Type.HANDLE:
                    self._talk.close(messages.handle_of(answer.body))

    def stat(self, path: str) -> int | None:
        """The number of the question what a path is; None: it was not asked, or is answered already."""
        step = self._steps.get(path)
        if step is None:
            return None
        number, step.stat = step.stat, None
        if number is None:  # it is looked at again: what was asked then is of no use
            self._drop(self._steps.pop(path))
        return number

    def take(self, path: str) -> Step | None:
        """What was asked of a path that is read now; None: nothing that would help."""
        step = self._steps.pop(path, None)
        if step is None or step.opened is None:
            return None
        return step

    def _open(self, path: str, step: Step) -> None:
        answer = self._talk.peek(step.stat) if step.stat is not None else None
        if answer is None or answer.type != Type.ATTRS:
            return
        found: Attributes = messages.attributes_of(answer.body)
        if found.mode is not None and modes.S_ISREG(found.mode):
            step.size = found.size
            step.opened = self._talk.ask(Type.OPEN, messages.path_field(path), messages.TO_READ)

    def _read(self, step: Step) -> None:
        answer = self._talk.peek(step.opened) if step.opened is not None else None
        if answer is None or answer.type != Type.HANDLE:
            return
        step.handle = messages.handle_of(answer.body)
        if step.size is not None and 0 < step.size <= READ_AT_ONCE:
            step.bytes = self._talk.ask_bytes(step.handle, 0, step.size)
            step.after = self._talk.ask(Type.FSTAT, messages.text(step.handle))

    def _drop(self, step: Step) -> None:
        self._talk.forget(step.stat, step.bytes, step.after)
        if step.opened is not None:
            self._strays.add(step.opened)
