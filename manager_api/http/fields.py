"""Fields and validators that marshmallow lacks: each says what it wants in one sentence."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load

from store.model import command

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENV_NAME = re.compile(r"[^=\x00]+")
MOST_TEXT = 128 * 1024 - 1
"""The kernel takes no longer single argument."""


class StrictSchema(Schema):
    """Refuses keys it does not know, and says so of those that a later release will know."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE

    not_yet: frozenset[str] = frozenset()

    @pre_load
    def refuse_not_yet(self, data: Any, **_: Any) -> Any:
        """Naming what is not offered beats taking it and ignoring it."""
        if isinstance(data, Mapping):
            asked = sorted(self.not_yet & {key for key, value in data.items() if value is not None})
            if asked:
                raise ValidationError({key: ["not offered by this release of Muster"] for key in asked})
        return data


class Read(fields.Field[T]):
    """A field that reads one value, and raises ValidationError or ValueError with a sentence."""

    def _read(self, value: Any) -> T:
        raise NotImplementedError

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> T:  # noqa: ARG002
        try:
            return self._read(value)
        except ValidationError:
            raise
        except ValueError as error:
            raise ValidationError(str(error)) from None
        except OverflowError:
            raise ValidationError("a number beyond all measure") from None


class Int(Read[int]):
    """A whole number within bounds; JSON's 5.0 is one, true and "5" are none."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._least, self._most = least, most

    def _read(self, value: Any) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not self._least <= value <= self._most:
            raise ValidationError(f"not a whole number from {self._least} to {self._most}")
        return int(value)


class Number(Read[float]):
    """A number within bounds."""

    def __init__(self, least: float, most: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._least, self._most = least, most

    def _read(self, value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self._least <= value <= self._most:
            raise ValidationError(f"not a number from {self._least} to {self._most}")
        return float(value)


class Bool(Read[bool]):
    """True or false, and no word for it."""

    def _read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("neither true nor false")
        return value


class Parsed(Read[Any]):
    """A value that one of `store.model`'s readers understands; stored as it was written."""

    def __init__(self, reader: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reader = reader

    def _read(self, value: Any) -> Any:
        self._reader(value)
        return value


class Text(Read[str]):
    """A text without NUL, within the length that the kernel takes."""

    def _read(self, value: Any) -> str:
        return text(value)


class Command(Read[Any]):
    """A list of words, or a text split as a shell would."""

    def _read(self, value: Any) -> Any:
        for word in value if isinstance(value, list) else [value]:
            text(word)
        command.argv(self.bare(value))
        return value

    def bare(self, value: Any) -> Any:
        """What is to be run."""
        return value


class Name(Read[str]):
    """A name: 1 to 200 characters of any language, none of them a control character."""

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("not a text")
        if not value.strip():
            raise ValidationError("empty")
        if len(value) > 200:
            raise ValidationError(f"{len(value)} characters, at most 200")
        if _CONTROL.search(value):
            raise ValidationError("holds a control character, such as NUL or a line end")
        return value


class OneOf(Read[str]):
    """One of a few words."""

    def __init__(self, *words: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._words = words

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self._words:
            raise ValidationError(f"not one of {', '.join(self._words)}")
        return value


class Env(Read[dict[str, str]]):
    """Environment variables; numbers become text, as in Compose."""

    def _read(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of names and values")
        problems: dict[str, list[str]] = {}
        result: dict[str, str] = {}
        for name, each in value.items():
            try:
                result[name] = env_value(name, each)
            except ValidationError as error:
                problems[name] = [str(error.messages[0])]
        if problems:
            raise ValidationError(problems)
        return result


def env_value(name: str, value: Any) -> str:
    """One variable's value.

    Raises:
        ValidationError: no program could be given it.
    """
    if not _ENV_NAME.fullmatch(name):
        raise ValidationError("not a name for a variable: empty, or holds = or NUL")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        raise ValidationError("secrets are not offered by this release of Muster")
    return text(value)


def text(value: Any) -> str:
    """A text that can be an argument or a variable.

    Whether a template has the port, parameter or dependency that it names is seen when all of it is read.

    Raises:
        ValidationError: it cannot.
    """
    if not isinstance(value, str):
        raise ValidationError("not a text")
    if "\x00" in value:
        raise ValidationError("holds NUL, which no program can be given")
    if len(value.encode()) > MOST_TEXT:
        raise ValidationError(f"longer than {MOST_TEXT} bytes, which no program can be given")
    unknown = command.unknown_variables(value)
    if unknown:
        known = ", ".join((*sorted(command.VARIABLES), "port.NAME", "param.NAME", "addr.GROUP.TASK.PORT"))
        raise ValidationError(f"${{{unknown[0]}}} is not known; known are {known}")
    return value


def is_open(value: object) -> bool:
    """Whether a parameter is still to be filled in: what it will be is checked when it is."""
    return isinstance(value, str) and "${param." in value
