"""Marshmallow schemas as JSON Schema: apispec, taught what our own fields and schemas say of themselves.

A field says its shape by a method `json_schema`; schemas in it become references. A schema says more by
class attributes: `about` (a sentence for a field), `also` (keys that are taken in another form than they are
kept in, with their shapes), `alternatives` (shapes that may stand in the place of the whole object).
"""

import inspect
from collections.abc import Callable
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import INCLUDE, RAISE, Schema, fields

from store.codec import Json

NULL: Json = {"type": "null"}


class Converter(OpenAPIConverter):
    """apispec's converter, with our fields."""

    def init_attribute_functions(self) -> None:
        """Ours right after the first, which knows types: the others rely on what these two say."""
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        self.attribute_functions.insert(1, self.own_shape)
        self.attribute_functions += [self.closed_to_null, self.told_about]

    def own_shape(self, field: fields.Field[Any], **_: Any) -> Json:
        """What a field says of itself."""
        said: Callable[[], Json] | None = getattr(field, "json_schema", None)
        return self._resolved(said()) if said is not None else {}

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Schema) or (inspect.isclass(value) and issubclass(value, Schema)):
            return self.resolve_nested_schema(value)  # type: ignore[no-untyped-call]
        if isinstance(value, dict):
            return {key: self._resolved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._resolved(each) for each in value]
        return value

    def closed_to_null(self, field: fields.Field[Any], ret: Json, **_: Any) -> Json:
        """Null where it is allowed: apispec forgets alternatives and enumerations."""
        if not field.allow_none:
            return {}
        if "enum" in ret and None not in ret["enum"]:
            return {"enum": [*ret["enum"], None]}
        if "anyOf" in ret and NULL not in ret["anyOf"]:
            return {"anyOf": [*ret["anyOf"], NULL]}
        return {}

    def told_about(self, field: fields.Field[Any], **_: Any) -> Json:
        """The sentence that the field's schema has for it."""
        name = field.data_key or field.name
        kept = (cls.__dict__.get("about", {}) for cls in type(field.parent).__mro__)
        said = next((about[name] for about in kept if name in about), None)
        return {"description": said} if said else {}

    def schema2jsonschema(self, schema: Any) -> Json:
        """The shape of a schema, with what its class says."""
        found: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        known = resolve_schema_instance(schema)
        if known.unknown in (RAISE, INCLUDE):
            found["additionalProperties"] = known.unknown == INCLUDE
        found["properties"] |= self._resolved(getattr(known, "also", {}))
        if said := _docstring(type(known)):
            found["description"] = said
        if others := getattr(known, "alternatives", ()):
            said = found.pop("description", "")
            own = [found] if known.fields else []  # a schema without fields is one of the others
            return {"description": said, "anyOf": [*own, *self._resolved(list(others))]}
        return found


class Plugin(MarshmallowPlugin):
    """apispec's plugin, with our converter."""

    Converter = Converter

    def __init__(self) -> None:
        self._named: dict[str, str] = {}
        super().__init__(schema_name_resolver=self._name)

    def _name(self, schema: Any) -> str:
        """A class's name without `Schema`; two classes cannot share one.

        Raises:
            ValueError: they do: generated clients would have no good name for either.
        """
        found = schema if inspect.isclass(schema) else type(schema)
        name, place = found.__name__.removesuffix("Schema"), f"{found.__module__}.{found.__qualname__}"
        if self._named.setdefault(name, place) != place:
            raise ValueError(f"{place} and {self._named[name]} would both be the shape {name}: rename one")
        return name


def parameters(spec_plugin: Plugin, query: Schema) -> list[Json]:
    """The parameters of a query string."""
    assert spec_plugin.converter is not None
    found: list[Json] = spec_plugin.converter.schema2parameters(query, location="query")
    return found


def new_spec(title: str, version: str, **options: Any) -> tuple[APISpec, Plugin]:
    """An empty OpenAPI 3.1 document that understands marshmallow schemas."""
    plugin = Plugin()
    return APISpec(title, version, "3.1.0", plugins=[plugin], **options), plugin


def _docstring(cls: type) -> str:
    said = cls.__dict__.get("__doc__")
    return inspect.cleandoc(said) if said else ""
