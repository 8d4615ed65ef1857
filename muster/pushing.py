"""`muster deploy --push`: the local files that a template names, sent first, and their SHA-256 filled in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from muster import artifacts, output, uploading
from muster.client import Client
from muster.deploying import Failed
from muster.uploading import Local

MISSING = "no such file"
"""As nodes say it of what is not on the server."""
HINT = "it lies here: --push sends what a template names"


def push(client: Client, template: Path, body: Any) -> None:
    """Send all local files that a template names, and have `body` name them by what they hold.

    A source is looked for beside the template, then where we are. All are looked at before any is sent.

    Raises:
        Failed: one is neither here nor there, or is not what the template says. Refused, Unreachable: as
            the client's.
    """
    found: dict[str, Local] = {}
    for artifact in _relative(body):
        source = artifact["source"]
        if "${" in source:
            output.note(f"{source} depends on parameters: it is not pushed")
            continue
        if _leaves(source):
            raise Failed(f"{source} is no path under the manager's --sftp-host: nothing was done")
        local = found.get(source) or _here(template, source)
        if local is not None:
            found[source] = _pinned(local, artifact, source)
        elif not artifact.get("sha256") and artifacts.find(client, source) is None:
            raise Failed(
                f"{source} is neither beside {template} nor on the manager's --sftp-host: nothing was done"
            )
    for source, local in found.items():
        answer = uploading.push(client, local, source)
        output.note(f"pushed {answer['name']}, {answer['size']} bytes, sha256 {answer['sha256']}")
        artifacts.warn_pinned(answer, besides=body.get("name"))


def _pinned(local: Local, artifact: dict[str, Any], source: str) -> Local:
    """A file with its SHA-256, which the template names from now on.

    Raises:
        Failed: the template wants another one.
    """
    if not local.sha256:
        with uploading.meter(source, local.size) as show:
            local = uploading.hashed(local, show)
    wanted = str(artifact.get("sha256") or local.sha256)
    if "${" in wanted:
        return local  # whoever deploys it says what it is to be
    if wanted.lower().removeprefix("sha256:") != local.sha256:
        raise Failed(
            f"{local.path} has sha256 {local.sha256}, and the template says {wanted}: nothing was done"
        )
    artifact["sha256"] = local.sha256
    return local


def hint(template: Path, body: Any, error: str) -> str | None:
    """What may mend a failure, if a file is missing there that lies here."""
    for artifact in _relative(body) if MISSING in error else ():
        source = artifact["source"]
        named = source in error or quote(source) in error
        if named and "${" not in source and _candidates(template, source):
            return f"{source}: {HINT}"
    return None


def _relative(body: Any) -> Iterator[dict[str, Any]]:
    """The artifacts under the base that a template names, each an object from now on.

    Whatever is no template is left to the manager.
    """
    for group in _rows(body, "task_groups"):
        for task in _rows(group, "tasks"):
            found = task.get("artifacts")
            if isinstance(found, list):
                found[:] = [{"source": each} if isinstance(each, str) else each for each in found]
            for artifact in _rows(task, "artifacts"):
                source = artifact.get("source")
                if isinstance(source, str) and source and "://" not in source:
                    yield artifact


def _rows(value: Any, key: str) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _here(template: Path, source: str) -> Local | None:
    found = _candidates(template, source)
    return uploading.look(found[0]) if found else None


def _leaves(source: str) -> bool:
    return source.startswith("/") or ".." in source.split("/")


def _candidates(template: Path, source: str) -> list[Path]:
    """Where a source lies here; never one that leaves the directory it is looked for in."""
    if _leaves(source):
        return []
    return [path for path in (template.parent / source, Path(source)) if path.exists()]
