"""Parameters of a template, filled in (a stand-in: MODEL's replaces it)."""

from collections.abc import Mapping
from typing import Any


def fill(body: Any, parameters: Mapping[str, str]) -> Any:
    """The body with every `${param.NAME}` in its texts filled in."""
    if isinstance(body, str):
        for name, value in parameters.items():
            body = body.replace(f"${{param.{name}}}", value)
        return body
    if isinstance(body, Mapping):
        return {key: fill(value, parameters) for key, value in body.items()}
    return [fill(each, parameters) for each in body] if isinstance(body, list) else body
