"""Deploying and stopping, watched until it is done."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muster.client import Client, Refused
from muster.output import task_names
from muster.progress import Patience, Ticker, whole

UP = ("running", "completed")
LIMITED_WITHIN = 1.0
LOOK_EVERY = 0.2
WAIT = 300.0
"""Seconds, unless others are asked for."""
WHOLE_ID = 36
"""Characters of an id that is given whole."""


class Failed(Exception):
    """It did not come to what was wanted; the message says why."""


class TimedOut(Exception):
    """It may still come, but not in the time given."""


def read_template(path: Path) -> Any:
    """A template file, JSON or YAML.

    Raises:
        Failed: it cannot be read, with the place in it.
    """
    try:
        text = path.read_text()
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        found = yaml.safe_load(text)
        if not isinstance(found, dict):
            raise Failed(f"{path}: not a template: a name and task_groups are expected")
        return found
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    except ValueError as error:  # JSON's errors and Unicode's
        raise Failed(f"{path}: {error}") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise Failed(f"{path}: {error}") from None
        raise


def find(client: Client, given: str) -> str:
    """The full id of a deployment, given its beginning, or its name.

    Raises:
        Refused: 404 when there is none.
        Failed: there are several.
    """
    looks = [("name", False), ("id", None), ("name", None)]
    for word, over in looks if len(given) < WHOLE_ID else [("id", None), *looks]:
        name, beginning = (given, None) if word == "name" else (None, given)
        answer = client.list_deployments(name=name, id=beginning, over=over, limit=2)
        if beginning and answer["total"] > 1:
            raise Failed(f"{given} is the beginning of {answer['total']} deployments; give more of it")
        if answer["data"]:
            return str(answer["data"][0]["id"])
    raise Refused(404, {"error": f"there is no deployment with id or name {given}"})


def wait_up(client: Client, deployment: str, seconds: float | None) -> dict[str, Any]:
    """Wait until every task runs or has completed; if `seconds` is None, for `WAIT`, and while files come.

    Raises:
        Failed: a task failed for good.
        TimedOut: it took longer.
    """

    def done(row: dict[str, Any]) -> bool:
        failed = [task for task in row["tasks"] if task["state"] in ("failed", "lost")]
        if failed:
            task = failed[0]
            raise Failed(f"task {task['name']} on {task['node']} {task['state']}: {task['reason']}")
        if row["status"] in ("FAILED", "STOPPING", "STOPPED"):
            raise Failed(f"{row['status']}: {row['reason']}")
        return bool(row["tasks"]) and all(task["state"] in UP for task in row["tasks"])

    return _watch(client, deployment, seconds, done)


def check_limited(client: Client, deployment: str, task: str) -> None:
    """Look for a while whether a node could not do as it was asked.

    Raises:
        Failed: it could not; the sentence says why.
    """
    deadline = time.monotonic() + LIMITED_WITHIN
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        tasks: Any = client.get_deployment(deployment)["tasks"]
        for row in tasks:
            error = row.get("limits", {}).get("error") if row["name"] == task else None
            if error:
                raise Failed(f"{task} on {row['node']}: {error}; it holds from its next start")


def wait_stopped(client: Client, deployment: str, seconds: float) -> dict[str, Any]:
    """Wait until nothing of it runs.

    Raises:
        TimedOut: it took longer than `seconds`.
    """
    return _watch(client, deployment, seconds, lambda row: row["status"] == "STOPPED")


def _watch(
    client: Client, deployment: str, seconds: float | None, done: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    said: dict[str, str] = {}
    patience, ticker = Patience(seconds, WAIT), Ticker()
    try:
        while True:
            row: dict[str, Any] = dict(client.get_deployment(deployment))
            _say(row, said, ticker)
            patience.look(row["tasks"])
            if done(row):
                return row
            if patience.over:
                reason = row["reason"] or "no reason given"
                raise TimedOut(f"still {row['status']} after {patience.waited}: {reason}")
            time.sleep(LOOK_EVERY)
    finally:
        ticker.clear()


def _say(row: dict[str, Any], said: dict[str, str], ticker: Ticker) -> None:
    """What is new, a line each; `said` is what was said before."""
    if not row["tasks"] and row.get("wait") and row["reason"] and said.get("") != row["reason"]:
        said[""] = row["reason"]
        ticker.note(f"  waiting: {row['reason']}")
    for task, name in zip(row["tasks"], task_names(row["tasks"]), strict=True):
        where = f"{name} on {task['node']}"
        text = task["state"] + (f" ({task['reason']})" if task["reason"] else "")
        if said.get(where) != text:
            said[where] = text
            ticker.note(f"  {where}: {text}")
    ticker.bytes(whole(row["tasks"]))
