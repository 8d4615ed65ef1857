"""What a task runs, and how: as a process or in a container."""

from typing import Any, ClassVar

from marshmallow import ValidationError, post_load, validates_schema

from manager_api.http.frame import readers as f
from manager_api.http.frame.fields import Command, Env, Name, OneOf, Parsed, Several, StrictSchema, Text
from store.model import command, spec

MOST_WORDS, MOST_LISTED = 10_000, 1000


def split_pin(value: Any) -> tuple[str | None, Any]:
    """The pin at the start of a command, and the command without it."""
    if isinstance(value, str):
        return command.split_pin(value)
    if value and isinstance(value[0], str):
        pin, first = command.split_pin(value[0])
        return pin, [first, *value[1:]]
    return None, value


class PinnedCommand(Command):
    """A command that may begin with a pin."""

    def bare(self, value: Any) -> Any:
        """What is to be run."""
        return split_pin(value)[1]


class ConfigSchema(StrictSchema):
    """What a task runs. A container may leave the command to its image."""

    about: ClassVar[dict[str, str]] = {
        "command": (
            "What runs: a list of words, or a text split as a shell would, without a shell. `HOST:/path` at "
            "its start pins the task to that node."
        ),
        "args": "Further words after the command.",
        "env": "Environment variables; numbers become text.",
        "cwd": "The directory to run in.",
        "user": "As whom: `name`, `name:group`, `uid`, `uid:gid`.",
        "umask": "The mask of new files, in octal and as a text.",
        "driver": "`process` (the default) or `container`.",
        "image": "The container's image.",
        "mounts": "`/host:/inside`, perhaps with `:ro`.",
        "ports": "Published ports of a container: `8080:80`.",
        "network": "`none`, `host`, `bridge`, or a network that the engine knows.",
        "node": "Pins the task to a node: its id, host name or address.",
    }

    command = PinnedCommand()
    args = Several(Text(), MOST_WORDS)
    env = Env()
    cwd = Parsed(f.absolute_path, allow_none=True)
    user = Parsed(f.user, allow_none=True)
    umask = Parsed(f.umask)
    driver = OneOf(*spec.DRIVERS)
    image = Parsed(f.image)
    mounts = Several(Parsed(f.mount), MOST_LISTED)
    ports = Several(Parsed(f.published_port), MOST_LISTED)
    network = Parsed(f.network)
    node = Name(allow_none=True)

    @validates_schema
    def check_driver(self, data: dict[str, Any], **_: Any) -> None:
        """A process needs a command, a container an image; a container's words go with containers."""
        if data.get("driver") == "container":
            if "image" not in data:
                raise ValidationError("a container needs one", "image")
            return
        if "command" not in data:
            raise ValidationError("Missing data for required field.", "command")
        for name in ("image", "mounts", "ports", "network"):
            if name in data:
                raise ValidationError("goes with driver: container", name)

    @post_load
    def take_pin(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`HOST:/path` becomes the pin and the path."""
        pin, bare = split_pin(data.get("command", ""))
        if pin is not None:
            if data.get("node") not in (None, pin):
                raise ValidationError(f"command says {pin}, node says {data['node']}", "node")
            data["command"], data["node"] = bare, pin
        return {key: value for key, value in data.items() if value is not None}
