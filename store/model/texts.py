"""The texts of a template that may hold `${…}`, wherever they lie."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store.model import command

Json = dict[str, Any]
Path = tuple[str | int, ...]
Change = Callable[[Path, str, bool], str]
"""Of a text at a path, what it becomes. The flag: agents fill in the rest of it; false: managers read it."""


def rewrite(body: Mapping[str, Any], change: Change) -> Json:
    """A template whose texts are what `change` makes of them; nothing of the old one is touched.

    A command that is a text is split as a shell would first: what a word becomes stays one word.
    """
    groups = [
        _group(group, ("task_groups", number), change) for number, group in enumerate(body["task_groups"])
    ]
    return {**body, "task_groups": groups}


def _group(group: Mapping[str, Any], path: Path, change: Change) -> Json:
    changed: Json = {
        **group,
        "tasks": [
            _task(task, (*path, "tasks", number), change) for number, task in enumerate(group["tasks"])
        ],
    }
    if "placement" in group:
        read = _Reader(change, on_node=False)
        readers = {"node": read.text, "group": read.text, "labels": read.values}
        changed["placement"] = _object(group["placement"], (*path, "placement"), readers)
    return changed


def _task(task: Mapping[str, Any], path: Path, change: Change) -> Json:
    here, there = _Reader(change, on_node=False), _Reader(change, on_node=True)
    readers = {
        "config": {
            "command": there.command, "args": there.words, "env": there.values, "cwd": there.text,
            "mounts": there.words, "ports": there.words, "user": here.text, "image": here.text,
            "node": here.text,
        },
        "healthcheck": {
            "http": there.text, "tcp": there.text, "body": there.text, "exec": there.command,
        },
        "hooks": {"pre_start": there.command, "post_stop": there.command},
    }  # fmt: skip
    artifact = {
        "source": there.text, "to": there.text, "sha256": here.text, "owner": here.text,
        "fingerprint": here.text,
    }  # fmt: skip
    changed: Json = {
        name: _object(task[name], (*path, name), each) for name, each in readers.items() if name in task
    }
    if "artifacts" in task:
        changed["artifacts"] = [
            _object(each, (*path, "artifacts", number), artifact)
            for number, each in enumerate(task["artifacts"])
        ]
    return {**task, **changed}


def _object(raw: Mapping[str, Any], path: Path, readers: Mapping[str, Callable[[Path, Any], Any]]) -> Json:
    return {key: readers[key]((*path, key), each) if key in readers else each for key, each in raw.items()}


class _Reader:
    """Texts in their several shapes."""

    def __init__(self, change: Change, *, on_node: bool) -> None:
        self._change, self._on_node = change, on_node

    def text(self, path: Path, value: Any) -> Any:
        return self._change(path, value, self._on_node) if isinstance(value, str) else value

    def words(self, path: Path, value: Sequence[Any]) -> list[Any]:
        return [self.text((*path, number), each) for number, each in enumerate(value)]

    def values(self, path: Path, value: Mapping[str, Any]) -> Json:
        return {
            key: self.words((*path, key), each) if isinstance(each, list) else self.text((*path, key), each)
            for key, each in value.items()
        }

    def command(self, path: Path, value: Any) -> Any:
        if isinstance(value, list):
            return self.words(path, value)
        if not isinstance(value, str) or "${" not in value:
            return value
        split = command.argv(value)
        changed = [self.text(path, word) for word in split]
        return value if changed == split else changed
