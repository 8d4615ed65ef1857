"""A group's rule, as clients write it."""

from typing import Any

from manager_api.core import rules
from manager_api.http.frame.fields import Read

Json = dict[str, Any]

_ONE_OR_MORE = "one value, or a list of those that will do"
_EXAMPLES = {
    "cores": ">=8",
    "memory": ">=16G",
    "disk": ">=1T",
    "agent": ">=0.3",
    "kernel": ">=5.10",
    "os": "Debian*",
}


class RuleField(Read[Json]):
    """Which nodes a group has beside its members: conditions on labels and facts, all of which must hold."""

    def _read(self, value: Any) -> Json:
        rules.read(value)
        return dict(value)

    def json_schema(self) -> Json:
        """Its shape, for OpenAPI."""
        return {
            "type": "object",
            "description": "Nodes that meet all conditions belong to the group, beside its members.",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "labels": {
                    "type": "object",
                    "description": "What a node's labels must be.",
                    "additionalProperties": _values({"type": "string", "maxLength": 63}),
                },
                "facts": {
                    "type": "object",
                    "description": "What must be known of a node: `*` and `?` stand for any text; "
                    "numbers, sizes and versions are compared: `>=8G <64G`.",
                    "additionalProperties": False,
                    "properties": {name: _values(_fact(name)) for name in rules.FACTS},
                },
            },
            "examples": [{"labels": {"zone": ["a", "b"]}, "facts": {"cores": ">=8", "os": "Debian*"}}],
        }


def _fact(name: str) -> Json:
    text: Json = {"type": "string", "minLength": 1, "maxLength": rules.MOST_TEXT}
    if name in _EXAMPLES:
        text["examples"] = [_EXAMPLES[name]]
    return {"oneOf": [{"type": "number"}, text]} if name in rules.NUMBERS else text


def _values(one: Json) -> Json:
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": rules.MOST_VALUES}
    return {"description": _ONE_OR_MORE, "oneOf": [one, several]}
