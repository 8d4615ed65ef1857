"""Fields and validators that marshmallow lacks: each says what it wants in one sentence."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

from store.model import command

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENV_NAME = re.compile(r"[^=\x00]+")
MOST_TEXT = 128 * 1024 - 1
"""The kernel takes no longer single argument."""
PRINTABLE = r"^[^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$"
"""A name, for readers of JSON Schema: something to see, and no control character."""


class StrictSchema(Schema):
    """Refuses keys it does not know, and says so of those that a later release will know."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE

    about: ClassVar[dict[str, str]] = {}
    """A sentence for each field, for OpenAPI; with what else schemas say of themselves: see `shapes`."""
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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it; schemas in it are referred to. The checks themselves may ask for more."""
        return {}

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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "number", "minimum": self._least, "maximum": self._most}


class Several(fields.List[Any]):
    """A list of at most so many, which is seen before any of them is looked at: a body holds a million."""

    def __init__(self, each: fields.Field[Any], most: int, *, least: int = 0, **kwargs: Any) -> None:
        super().__init__(each, validate=validate.Length(min=least or None, max=most), **kwargs)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > self._most:
            raise ValidationError(f"{len(value)} in all, at most {self._most}")
        return super()._deserialize(value, attr, data, **kwargs)


class Bool(Read[bool]):
    """True or false, and no word for it."""

    def _read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("neither true nor false")
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "boolean"}


class Reader:
    """Reads one value, and knows the shape of those that it takes.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """

    def __init__(self, read: Callable[[Any], Any], shape: Mapping[str, Any]) -> None:
        self._read = read
        self.shape = shape

    def __call__(self, value: Any) -> Any:
        """What `value` says."""
        return self._read(value)


def shaped(kind: str | list[str] = "string", **more: Any) -> Callable[[Callable[[Any], Any]], Reader]:
    """Decorator of a function that reads: what JSON Schema says of what it takes."""
    return lambda read: Reader(read, {"type": kind, **more})


class Parsed(Read[Any]):
    """A value that one of `store.model`'s readers understands; stored as it was written."""

    def __init__(self, reader: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reader = reader

    def _read(self, value: Any) -> Any:
        self._reader(value)
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return dict(getattr(self._reader, "shape", {}))


class Text(Read[str]):
    """A text without NUL, within the length that the kernel takes."""

    def _read(self, value: Any) -> str:
        return text(value)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string"}


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {"anyOf": [{"type": "string", "minLength": 1}, words]}


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "minLength": 1, "maxLength": 200, "pattern": PRINTABLE}


class OneOf(Read[str]):
    """One of a few words."""

    def __init__(self, *words: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._words = words

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self._words:
            raise ValidationError(f"not one of {', '.join(self._words)}")
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "enum": list(self._words)}


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "type": "object",
            "propertyNames": {"pattern": "^[^=]+$"},
            "additionalProperties": {"type": ["string", "number"]},
        }


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
