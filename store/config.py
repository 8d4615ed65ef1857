"""Settings of a program: flag, then environment (`MUSTER_…`), then `config.yaml`, then default.

Every error names where the value came from.
"""

import argparse
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


class ConfigError(Exception):
    """A setting cannot be used; the message names its source."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key (flag with `_`), how to read it, what it means."""

    key: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    metavar: str = ""

    @property
    def flag(self) -> str:
        """As typed on a command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """As set in the environment."""
        return "MUSTER_" + self.key.upper()


class Parser(argparse.ArgumentParser):
    """Of a program whose arguments may be secret: what is no flag of it is named without its value."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever; but of a mistyped `--sftp-hots sftp://user:password@…` no password is in the journal."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse(rest)
        return found

    def _refuse(self, rest: Sequence[str]) -> NoReturn:
        known = [flag for action in self._actions for flag in action.option_strings]
        unknown = [word.partition("=")[0] for word in rest if word.startswith("-")]
        said = []
        for flag in unknown:
            near = difflib.get_close_matches(flag, known, n=1)
            said.append(f"{flag} ({near[0]}, perhaps?)" if near else flag)
        self.error(
            f"not known: {', '.join(said)}" if said else "something is no flag, and of none: see --help"
        )


def add_flags(parser: argparse.ArgumentParser, settings: Sequence[Setting]) -> None:
    """Give a parser these settings, and `--config`. Unset flags stay None."""
    for setting in settings:
        text = setting.help if setting.default is None else f"{setting.help} (default: {setting.default})"
        if setting.parse is boolean:
            parser.add_argument(setting.flag, action="store_const", const="true", help=setting.help)
        else:
            parser.add_argument(setting.flag, metavar=setting.metavar or None, help=text.replace("%", "%%"))
    parser.add_argument("--config", metavar="FILE", help="settings file (default: ./config.yaml, if there)")


def resolve(
    settings: Sequence[Setting], flags: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Every setting's value, from the first source that has it.

    Raises:
        ConfigError: a value cannot be read, or the file has a key that no setting knows.
    """
    path, values = _file(flags.config or environ.get("MUSTER_CONFIG"), settings)
    result: dict[str, Any] = {}
    for setting in settings:
        flag = getattr(flags, setting.key, None)
        if flag is not None:
            source, raw = setting.flag, flag
        elif environ.get(setting.variable):
            source, raw = setting.variable, environ[setting.variable]
        elif setting.key in values:
            source, raw = f"{path}: {setting.key}", values[setting.key]
        else:
            result[setting.key] = setting.default
            continue
        try:
            result[setting.key] = setting.parse(str(raw))
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from None
    return result


def _file(named: str | None, settings: Sequence[Setting]) -> tuple[str, dict[str, Any]]:
    path = Path(named or "config.yaml")
    if not path.exists() and not named:
        return str(path), {}
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_place(error)}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a list of settings, `key: value`")
    known = {setting.key for setting in settings}
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
        raise ConfigError(f"{path}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return str(path), {key: value for key, value in values.items() if value is not None}


def _place(error: Exception) -> str:
    """Where a file is no YAML, and why, without a word that stands there: it may be a password."""
    mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None) or ""
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}not YAML{f': {why}' if why and chr(39) not in why else ''}"


def boolean(text: str) -> bool:
    """`true` or `false`, and their usual synonyms."""
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1"):
        return True
    if lowered in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def port(text: str) -> int:
    """A TCP port; 0 means any free one."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise ValueError(f"{text!r} is not a port from 0 to 65535")
    return number


def seconds(text: str) -> float:
    """A positive number of seconds, up to a day."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= 86400:
        raise ValueError(f"{text!r} is not a number of seconds from above 0 to 86400")
    return number


def state_dir(name: str) -> Path:
    """Where a program keeps its data: /var/lib/muster as root, else XDG's state home."""
    if os.geteuid() == 0:
        return Path("/var/lib/muster") / name
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "muster" / name
