"""How an entry of the journal changes a table of runs: for the keeper, its replay, and the brain."""

from typing import Any

STATES = {"execed": "running", "ended": "exited", "failed": "failed", "draining": "draining"}
EXPIRED = "its deadline passed and nobody renewed it"
"""Why a run was stopped whose deadline was not put off."""
_MARKS = ("seq", "kind", "id")


def apply(runs: dict[str, dict[str, Any]], entry: dict[str, Any]) -> list[str]:
    """Bring `runs` (run id to run) up to `entry`; the ids it is about. Applying twice is harmless."""
    kind = entry["kind"]
    if kind == "forgot":
        for run_id in entry["ids"]:
            runs.pop(run_id, None)
        return list(entry["ids"])
    if kind == "run":
        runs[entry["run"]["id"]] = dict(entry["run"])
        return [entry["run"]["id"]]
    if entry["id"] in runs:
        run = runs[entry["id"]]
        run.update({key: value for key, value in entry.items() if key not in _MARKS})
        run["state"] = STATES.get(kind, run["state"])
    return [entry["id"]]
