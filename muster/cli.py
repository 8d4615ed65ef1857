"""What all commands of `muster` share: the group, common options, errors as sentences and exit codes."""

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import click

from muster import deploying, output
from muster.client import Client, Refused, Unreachable
from muster.deploying import WAIT

FAILED, NOT_FOUND, NOT_ALLOWED, UNREACHABLE, TIMED_OUT = 1, 4, 5, 6, 124
_OF_STATUS = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND}


def speaks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what can go wrong into one sentence and the exit code that belongs to it."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Unreachable as error:
            output.note(f"muster: {error}")
            sys.exit(UNREACHABLE)
        except Refused as error:
            output.note(f"muster: {error}")
            for each in error.body.get("nodes", []):
                output.note(f"  node {each['node']} {each['reason']}")
            sys.exit(_OF_STATUS.get(error.status, FAILED))
        except deploying.Failed as error:
            output.note(f"muster: {error}")
            sys.exit(FAILED)
        except deploying.TimedOut as error:
            output.note(f"muster: {error}")
            sys.exit(TIMED_OUT)
        except UnicodeEncodeError as error:
            output.note(f"muster: a text cannot be sent, or shown, as {error.encoding}: {error.reason}")
            sys.exit(FAILED)

    return run


url_option = click.option("--url", envvar="MUSTER_URL", help="The manager. [default: a running muster dev]")
form_option = click.option(
    "-o", "form", type=click.Choice(["table", "json"]), default="table", help="Form of the output."
)
wait_option = click.option("--wait/--no-wait", default=True, help="Wait until it is done.", show_default=True)
replicated_option = click.option(
    "--replicated", is_flag=True, help="Have it confirmed by a replica of the store; warn if none does."
)
timeout_option = click.option("--timeout", default=WAIT, help="Seconds to wait at most.", show_default=True)
patience_option = click.option(
    "--timeout",
    type=float,
    help=f"Seconds to wait at most. [default: {WAIT:g}, begun anew while files still come]",
)


class Later(click.Group):
    """A group with commands in modules that are loaded once one is wanted: `muster` starts at once."""

    def __init__(self, *args: Any, modules: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, if there is such a one."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        for module in self._modules:
            importlib.import_module(module)


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def warn_unconfirmed(client: Client) -> None:
    """Say so if what was written may be lost with the store's primary."""
    if client.unconfirmed:
        output.note(
            "muster: warning: done, but no replica of the store confirmed it: a fail-over may lose it"
        )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("muster"), prog_name="muster")
def main() -> None:
    """Tell Muster what should run; the nodes see to it.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 not running, 4 not found, 5 not allowed,
    6 unreachable, 124 wait timed out.
    """
