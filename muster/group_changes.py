"""Commands on groups of devices: add, set, remove; who is in them."""

import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from muster import context, inventory, output
from muster.asking import confirmed, yes_option
from muster.cli import FAILED, examples, speaks, url_option
from muster.groups import group

Json = dict[str, Any]
NUMBERS = ("cores", "memory", "disk")
_FACT = re.compile(r"([A-Za-z_]+)\s*(>=|<=|!=|>|<|=)\s*(.+)", re.DOTALL)
label_option = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]",
    help="Rule: a node's label is one of these; may be repeated, all must hold.",
)
fact_option = click.option(
    "--fact",
    "facts",
    multiple=True,
    metavar="FACT",
    help="Rule: cores>=8, memory>=16G, disk>=1T, agent>=0.3, kernel>=5.10, os=Debian*, machine, model, sn, "
    "hostname, node; may be repeated, all must hold.",
)
description_option = click.option("--description", help="What it is for.")


@group.command(
    epilog=examples(
        "muster group add edge --description 'Machines at the edge'",
        "muster group add strong --fact 'memory>=16G' --fact 'memory<64G' --fact 'os=Debian*,Ubuntu*'",
    ),
)
@click.argument("name")
@description_option
@label_option
@fact_option
@yes_option
@url_option
@speaks
def add(name: str, description: str | None, url: str | None, yes: bool, **given: tuple[str, ...]) -> None:  # noqa: FBT001
    """Add a group; its id is printed.

    With a rule, the nodes that meet it belong to it, beside its members.
    """
    body: Json = {"name": name}
    if description is not None:
        body["description"] = description
    if given["labels"] or given["facts"]:
        body["rule"] = rule(given["labels"], given["facts"])
    client = context.connect(url)
    made = confirmed(client.create_group, body, yes=yes)
    print(made["data"])


@group.command(
    "set",
    epilog=examples(
        "muster group set edge --label zone=a,b,c",
        "muster group set edge --no-rule",
    ),
)
@click.argument("given", metavar="GROUP")
@click.option("--name", help="Another name; templates that name the old one no longer find it.")
@description_option
@label_option
@fact_option
@click.option("--no-rule", is_flag=True, help="Take its rule away.")
@yes_option
@url_option
@speaks
def set_(given: str, url: str | None, yes: bool, no_rule: bool, **said: Any) -> None:  # noqa: FBT001
    """Change a group.

    Those --label and --fact that are given are all of its rule. --description '' takes it away.
    """
    body = {key: said[key] for key in ("name", "description") if said[key] is not None}
    if body.get("description") == "":
        body["description"] = None
    if said["labels"] or said["facts"]:
        if no_rule:
            raise click.UsageError("--no-rule does not go with --label and --fact")
        body["rule"] = rule(said["labels"], said["facts"])
    elif no_rule:
        body["rule"] = None
    if not body:
        raise click.UsageError("nothing to change: give --name, --description, --label, --fact or --no-rule")
    client = context.connect(url)
    row = inventory.group(client, given)
    confirmed(lambda said: client.change_group(row["id"], said), body, yes=yes)
    print(row["id"])


@group.command()
@click.argument("names", metavar="GROUP...", nargs=-1, required=True)
@url_option
@speaks
def rm(names: tuple[str, ...], url: str | None) -> None:
    """Delete groups; their devices stay. One that a living deployment is placed on is not deleted."""
    client = context.connect(url)
    rows = {row["id"]: row for row in (inventory.group(client, name) for name in names)}
    answer: Any = client.delete_groups({"ids": list(rows)})
    for each in answer["ids"]:
        print(each)
    for each, why in answer.get("kept", {}).items():
        output.note(f"muster: group {rows[each]['name']} stays: {why}")
    if answer.get("kept"):
        sys.exit(FAILED)


@group.command()
@click.argument("given", metavar="GROUP")
@click.argument("names", metavar="DEVICE...", nargs=-1, required=True)
@url_option
@speaks
def join(given: str, names: tuple[str, ...], url: str | None) -> None:
    """Put devices into a group."""
    client = context.connect(url)
    row = inventory.group(client, given)
    for each in _ids(client, names):
        client.create_membership({"device_id": each, "group_id": row["id"]})
        print(each)


@group.command()
@click.argument("given", metavar="GROUP")
@click.argument("names", metavar="DEVICE...", nargs=-1, required=True)
@yes_option
@url_option
@speaks
def leave(given: str, names: tuple[str, ...], yes: bool, url: str | None) -> None:  # noqa: FBT001
    """Take devices out of a group; what only ran there for it is stopped.

    A node that meets the group's rule stays in it.
    """
    client = context.connect(url)
    row = inventory.group(client, given)
    ids = [f"{each}-{row['id']}" for each in _ids(client, names)]
    answer = confirmed(client.delete_memberships, {"ids": ids}, yes=yes)
    for each in answer["ids"]:
        print(each.partition("-")[0])
    for each in answer.get("kept", {}):
        output.note(f"muster: device {each.partition('-')[0]} was not a member of {row['name']}")


def _ids(client: Any, names: Sequence[str]) -> list[str]:
    """All are looked up before anything is done."""
    return list(dict.fromkeys(inventory.device(client, name)["id"] for name in names))


def rule(labels: Sequence[str], facts: Sequence[str]) -> Json:
    """`zone=a,b` and `cores>=8` as the API has them.

    Raises:
        click.UsageError: a word is none of those, or says a thing twice.
    """
    found: Json = {}
    for word in labels:
        key, _, value = word.partition("=")
        if not key or key in found.setdefault("labels", {}):
            raise click.UsageError(f"--label {word}: {'given twice' if key else 'not KEY=VALUE'}")
        found["labels"][key] = _one_or_more(value.split(","))
    for word in facts:
        match = _FACT.fullmatch(word.strip())
        if match is None:
            raise click.UsageError(f"--fact {word}: not such as cores>=8 or os=Debian*")
        _add_fact(found.setdefault("facts", {}), *match.groups())
    return found


def _add_fact(facts: Json, name: str, sign: str, value: str) -> None:
    """Comparisons of one fact must all hold; of values after `=` one."""
    known = facts.get(name)
    if sign != "=":
        if isinstance(known, list) or (known is not None and known[:1] not in "<>!"):
            raise click.UsageError(f"--fact {name}: = and {sign} do not go together")
        facts[name] = f"{known} {sign}{value}" if known else f"{sign}{value}"
        return
    if known is not None:
        raise click.UsageError(f"--fact {name}: given twice; of several values one will do: {name}=A,B")
    values = value.split(",")
    facts[name] = _one_or_more([f"={each}" for each in values] if name in NUMBERS else values)


def _one_or_more(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values
