"""Query strings as schemas: words that are read from text, each given once, all of them known."""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import ValidationError, pre_load

from manager_api.http.frame.fields import Read, StrictSchema
from manager_api.http.frame.pages import once

_YES, _NO = ("", "true", "1", "yes"), ("false", "0", "no")


class QuerySchema(StrictSchema):
    """Refuses unknown words, with those that there are, and words that come twice."""

    @pre_load
    def check_words(self, data: Any, **_: Any) -> Any:
        """Before each of them is read."""
        for name, value in data.items():
            if name not in self.load_fields:
                raise ValidationError({name: [f"unknown; there {self._known()}"]})
            if isinstance(value, list):
                raise ValidationError({name: ["given more than once"]})
        return data

    def _known(self) -> str:
        return f"{'is' if len(self.load_fields) == 1 else 'are'} {', '.join(self.load_fields)}"


class Word(Read[Any]):
    """A text that a function reads; `schema` is what OpenAPI says of it."""

    def __init__(
        self,
        reader: Callable[[str], Any],
        text: str,
        schema: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(metadata={"description": text}, **kwargs)
        self._reader = reader
        self._schema = {"type": "string", **(schema or {})}

    def _read(self, value: Any) -> Any:
        return self._reader(once(value))

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return dict(self._schema)


class Switch(Word):
    """On or off, in the words that people use; the bare name is on."""

    def __init__(self, text: str, **kwargs: Any) -> None:
        super().__init__(_switched, text, {"type": "boolean"}, **kwargs)


def _switched(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError(f"{text[:20]!r} is neither true nor false")
