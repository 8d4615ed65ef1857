"""`muster artifact`: files on the server that tasks get theirs from."""

import sys
from pathlib import Path
from typing import Any

import click

from muster import context, output
from muster.cli import form_option, main, speaks, url_option
from muster.client import Client, Refused
from muster.deploying import Failed


@main.group()
def artifact() -> None:
    """Files that templates name: put on the manager's --sftp-host, listed, removed."""


@artifact.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Its name there. [default: the file's own]")
@click.option("--to", "directory", metavar="DIRECTORY", help="Directory for it there; made if missing.")
@url_option
@form_option
@speaks
def push(
    files: tuple[Path, ...], name: str | None, directory: str | None, url: str | None, form: str
) -> None:
    """Put files there, whole, each in place of what had its name; print their SHA-256.

    Templates name them by what is printed. Nothing is replaced if a file changes while it is read, or the
    connection breaks.
    """
    from muster import uploading

    names = _names(files, name, directory)
    found = [uploading.look(file) for file in files]
    client, done = context.connect(url), []
    try:
        for local, each in zip(found, names, strict=True):
            answer = uploading.push(client, local, each)
            done.append(answer)
            warn_pinned(answer)
            if form == "table":
                print(f"{answer['sha256']}  {answer['name']}", flush=True)
    finally:
        if form == "json":
            output.as_json(done)


def _names(files: tuple[Path, ...], name: str | None, directory: str | None) -> list[str]:
    """What the files are to be called there.

    Raises:
        click.UsageError: two would be called the same.
    """
    if name is not None and len(files) > 1:
        raise click.UsageError("--as names one file; there are several: see --to")
    if name is not None and not name.strip("/"):
        raise click.UsageError("--as needs a name")
    last = [name] if name is not None else [file.name or file.resolve().name for file in files]
    if len(set(last)) < len(last):
        twice = next(each for each in last if last.count(each) > 1)
        raise click.UsageError(f"two of the files are called {twice}")
    return [f"{directory.rstrip('/')}/{each}" if directory else each for each in last]


def warn_pinned(answer: dict[str, Any], *, besides: str | None = None) -> None:
    """Say so if templates, `besides` one, want the file to be another."""
    others = [each for each in answer.get("pinned_otherwise", ()) if each != besides]
    if others:
        output.note(
            f"muster: warning: {', '.join(others)} name {answer['name']} with another sha256: "
            "nodes that do not have that file yet will not get it any more"
        )


@artifact.command("ls")
@click.argument("prefix", default="")
@url_option
@form_option
@speaks
def listing(prefix: str, url: str | None, form: str) -> None:
    """List the files there whose names begin with PREFIX."""
    answer = _list(context.connect(url), prefix)
    if form == "json":
        output.as_json(answer["data"])
    else:
        rows = [
            (row["name"], row["size"], f"{output.ago(row['modified'])} ago", _use(row))
            for row in answer["data"]
        ]
        output.table(("NAME", "SIZE", "MODIFIED", "NAMED BY"), rows)
    if not answer.get("complete", True):
        output.note("muster: there are more: give the beginning of a name")


def _use(row: dict[str, Any]) -> str:
    link = f"(link to {row['link']}) " if "link" in row else ""
    return link + ", ".join(row.get("templates", ()))


@artifact.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Remove it although a template names it.")
@url_option
@speaks
def rm(names: tuple[str, ...], url: str | None, yes: bool) -> None:  # noqa: FBT001
    """Remove files there. Nodes that have them keep them; others will not get them any more."""
    client = context.connect(url)
    if not yes:
        _ask(client, names)
    for name in names:
        removed = client.delete_artifact(name)
        print(f"{removed['name']} is removed")


def _ask(client: Client, names: tuple[str, ...]) -> None:
    """Have it confirmed, if templates name some of these.

    Raises:
        Failed: it was not; nothing was done.
    """
    used = [row for name in names if (row := find(client, name)) and row.get("templates")]
    for row in used:
        output.note(f"{row['name']} is named by the newest version of {', '.join(row['templates'])}")
    if not used:
        return
    if not sys.stdin.isatty():
        raise Failed("give --yes if it is to be removed; nothing was done")
    if not click.confirm("Remove it?", err=True):
        raise Failed("nothing was done")


def find(client: Client, name: str) -> dict[str, Any] | None:
    """What the list says of one file; None: there is none."""
    wanted = "/".join(part for part in name.split("/") if part not in ("", "."))
    try:
        rows = _list(client, wanted)["data"]
    except Refused as error:
        if error.status == 404:
            return None
        raise
    found: list[dict[str, Any]] = [row for row in rows if row["name"] == wanted]
    return found[0] if found else None


def _list(client: Client, prefix: str) -> Any:
    return client.list_artifacts(prefix=prefix)
