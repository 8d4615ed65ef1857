"""Calls that a manager wants to be confirmed; words that people give on the command line."""

import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import click

from muster.client import Client, Refused
from muster.deploying import Failed

yes_option = click.option("--yes", is_flag=True, help="Do it, however much of a group it touches at once.")
params_option = click.option(
    "-p",
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter's value; may be repeated.",
)


def meant(client: Client, deployment: str, what: str, body: dict[str, Any], *, yes: bool) -> Any:
    """Ask something of a deployment; what touches much is confirmed first, by `--yes` or on the terminal.

    Raises:
        Failed: it was not confirmed; nothing was done. Refused, Unreachable: as the client's.
    """
    path = f"/v1/deployments/{quote(deployment, safe='')}/{what}"
    return confirmed(lambda said: client.post(path, said), body, yes=yes)


def confirmed(ask: Callable[[Any], Any], body: Mapping[str, Any], *, yes: bool) -> Any:
    """Ask something with a body, which says `confirm` once that was given; raises as `meant` does."""
    sure = {**body, "confirm": True}
    try:
        return ask(sure if yes else dict(body))
    except Refused as error:
        if yes or not error.body.get("confirm"):
            raise
        touches = str(error).partition('; say "confirm"')[0].removeprefix("this ")
    if not _on_terminal():
        raise Failed(f"this {touches}: give --yes if that is meant; nothing was done")
    if not click.confirm(f"This {touches}. Is that meant?", err=True):
        raise Failed("nothing was done")
    return ask(sure)


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def pairs(words: tuple[str, ...], what: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping.

    Raises:
        click.UsageError: one is no such word, or is there twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not name or not sign:
            raise click.UsageError(f"{word!r} is not {what}")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        found[name] = value
    return found


def counts(words: tuple[str, ...]) -> dict[str, int]:
    """`GROUP=N` words as a mapping.

    Raises:
        click.UsageError: one is no such word, or is there twice.
    """
    found = pairs(words, "GROUP=N")
    for name, value in found.items():
        if not (value.isascii() and value.isdigit()):
            raise click.UsageError(f"{name}={value}: {value!r} is not a whole number")
    return {name: int(value) for name, value in found.items()}
