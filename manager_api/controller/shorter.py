"""The status of an ended deployment that is too large to be kept whole."""

from typing import Any

from store.codec import dumps
from store.kv.api import MOST_BYTES

Json = dict[str, Any]
TASKS_KEPT = 500
"""Rows that are kept at most: failed ones first."""


def shorter(status: Json) -> Json:
    """The status of an ended deployment, cut to what fits: the rows of failed tasks first."""
    rows = sorted(status["tasks"], key=lambda row: row["state"] in ("completed", "stopped"))
    allocations = [{**brief, "tasks": []} for brief in status["allocations"]]
    kept = TASKS_KEPT
    while True:
        tasks = [{**row, "reason": row["reason"][:200]} for row in rows[:kept]]
        short = {
            **status,
            "allocations": allocations,
            "tasks": tasks,
            "tasks_left_out": len(rows) - len(tasks),
        }
        if len(dumps(short)) <= MOST_BYTES or kept == 0:
            return short
        kept //= 2
