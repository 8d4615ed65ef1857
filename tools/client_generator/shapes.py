"""JSON schemas (2020-12, as OpenAPI 3.1 has them) as Python types: objects become TypedDicts."""

import keyword
import re
import textwrap
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
WIDTH = 104
_PLAIN = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}


def camel(text: str) -> str:
    """`task_groups` as `TaskGroups`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text) if part)


def escaped(text: str) -> str:
    """A text for the inside of a docstring, on one line."""
    flat = " ".join(text.replace("\\", "\\\\").replace('"""', "'''").split())
    return f"{flat} " if flat.endswith('"') else flat


def folded(text: str, indent: int) -> list[str]:
    """The same on as many lines as it needs, after `indent` spaces."""
    return textwrap.wrap(escaped(text), WIDTH - indent, break_long_words=False, break_on_hyphens=False)


def words(text: str, indent: str) -> str:
    """A docstring with its quotes, folded."""
    return '"""' + f"\n{indent}".join(folded(text, len(indent) + 6)) + '"""'


class Shapes:
    """The types of one document. `prefix` goes before names of TypedDicts where they are used elsewhere."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Json = document.get("components", {}).get("schemas", {})
        self._names: dict[str, str] = {}
        """Of what is in the components, by its name there."""
        self._choices: dict[str, str] = {}
        """Types of components that are no objects themselves, once they were asked for."""
        self._taken: set[str] = set()
        self._written: dict[str, str] = {}
        for name, schema in self._schemas.items():
            named = camel(name)  # of a choice, a list: nothing is written under its name but what is in it
            self._names[name] = self._free(named) if "properties" in schema else named

    def type_of(self, schema: Any, name: str) -> str:
        """The Python type of a schema; what it needs is written, nested objects under names like `name`."""
        if not isinstance(schema, dict) or not schema:
            return "Any"
        if "$ref" in schema:
            return self._referred(schema["$ref"])
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None:
            return f"Literal[{', '.join(map(repr, values))}]"
        choices = schema.get("anyOf", schema.get("oneOf"))
        if choices is None and isinstance(schema.get("type"), list):
            choices = [{**schema, "type": kind} for kind in schema["type"]]
        if choices is not None:
            return _union(self.type_of(each, name) for each in choices)
        return self._single(schema, name)

    def _single(self, schema: Json, name: str) -> str:
        if "allOf" in schema:
            return self.type_of(schema["allOf"][0], name) if len(schema["allOf"]) == 1 else "dict[str, Any]"
        kind = schema.get("type")
        if kind == "array":
            return f"list[{self.type_of(schema.get('items'), f'{name}Item')}]"
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, name)
        return _PLAIN.get(str(kind), "Any")

    def resolved(self, schema: Any) -> Json:
        """A schema, or what it refers to."""
        while isinstance(schema, dict) and "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema if isinstance(schema, dict) else {}

    def source(self) -> str:
        """All types that were asked for, and those that they need, by name."""
        return "\n\n".join(self._written[name] for name in sorted(self._written))

    def names(self) -> list[str]:
        """The names of all types that were asked for, and of those that they need."""
        return sorted(self._written)

    def _free(self, name: str) -> str:
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}{number}", number + 1
        self._taken.add(found)
        return found

    def _referred(self, reference: str) -> str:
        there = reference.rpartition("/")[2]
        name, schema = self._names[there], self._schemas[there]
        if "properties" not in schema:
            if there not in self._choices:
                self._choices[there] = self.type_of(schema, name)
            return self._choices[there]
        if name not in self._written:
            self._write(name, schema)
        return name

    def _object(self, schema: Json, name: str) -> str:
        if schema.get("properties"):
            found = self._free(name)
            self._write(found, schema)
            return found
        return f"dict[str, {self._others(schema, name)}]"

    def _others(self, schema: Json, name: str) -> str:
        """The type of values whose keys are not known."""
        found = list(schema.get("patternProperties", {}).values())
        more = schema.get("additionalProperties")
        found += [more] if isinstance(more, dict) and more else []
        return _union(self.type_of(each, f"{name}Value") for each in found) if found else "Any"

    def _write(self, name: str, schema: Json) -> None:
        self._written[name] = ""  # it may refer to itself
        required = set(schema.get("required", ()))
        rows = [
            (key, self.type_of(each, name + camel(key)), key in required, each)
            for key, each in schema["properties"].items()
        ]
        plain = all(key.isidentifier() and not keyword.iskeyword(key) for key, *_ in rows)
        self._written[name] = _class(name, schema, rows) if plain else _call(name, rows)


Row = tuple[str, str, bool, Any]


def _class(name: str, schema: Json, rows: list[Row]) -> str:
    about = schema.get("description") or schema.get("title") or f"As the API has it: `{name}`."
    lines = [f"class {name}(TypedDict):", f"    {words(str(about), '    ')}", ""]
    for key, kind, required, each in rows:
        lines.append(f"    {key}: {kind if required else f'NotRequired[{kind}]'}")
        if isinstance(each, dict) and each.get("description"):
            lines.append(f"    {words(str(each['description']), '    ')}")
    return "\n".join(lines) + "\n"


def _call(name: str, rows: list[Row]) -> str:
    """For keys that are no names."""
    keys = [
        f"    {key!r}: {kind!r}" if required else f"    {key!r}: NotRequired[{kind!r}]"
        for key, kind, required, _ in rows
    ]
    return f"{name} = TypedDict({name!r}, {{\n" + ",\n".join(keys) + "\n})\n"


def _union(kinds: Any) -> str:
    found = list(dict.fromkeys(kinds))
    if "Any" in found:
        return "Any"
    return " | ".join(sorted(found, key=lambda each: each == "None")) or "Any"
