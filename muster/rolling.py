"""A rollout, watched until it is done or waits for people."""

import time
from typing import Any

from muster.client import Client
from muster.deploying import LOOK_EVERY, WAIT, Failed, TimedOut
from muster.output import note
from muster.progress import Patience, Ticker, whole

WAITS = {
    "promotion": (
        "the canaries are up: `muster promote {id}` lets the rest follow, `muster rollback {id}` ends it"
    ),
    "paused": "it is paused: `muster resume {id}` lets it go on",
}
OVER = ("STOPPING", "STOPPED")


def follow(
    client: Client, deployment: str, answer: dict[str, Any], seconds: float | None, *, wait: bool
) -> None:
    """Say what an update or rollback was answered, and (`wait`) how it goes on.

    Raises:
        Failed: it failed, or was reverted.
        TimedOut: it took longer than `seconds`, or, if that is None, than is usual while no files come.
    """
    if not answer["changed"]:
        note(answer["detail"])
        return
    note(f"to version {answer['version']} (change {answer['change']})")
    if wait:
        watch(client, deployment, int(answer["change"]), seconds)


def watch(
    client: Client, deployment: str, change: int, seconds: float | None, *, promoted: bool = False
) -> None:
    """Wait until a change is rolled out, or waits for people; progress is said as it comes.

    `promoted`: people have had their say, and the manager may not have heard it yet.

    Raises:
        Failed: it failed, was reverted, or the deployment was stopped, or updated otherwise meanwhile.
        TimedOut: it took longer than `seconds`, or, if that is None, than is usual while no files come.
    """
    patience, ticker = Patience(seconds, WAIT), Ticker()
    try:
        _watch(client, deployment, change, promoted=promoted, patience=patience, ticker=ticker)
    finally:
        ticker.clear()


def _watch(
    client: Client, deployment: str, change: int, *, promoted: bool, patience: Patience, ticker: Ticker
) -> None:
    said: dict[str, str] = {}
    while True:
        row: Any = client.get_deployment(deployment)
        rollout = row.get("rollout") or {}
        current = int(rollout.get("change", 0)) == change
        if int(row.get("change", 0)) != change:
            raise Failed("it was changed again meanwhile")
        if row["status"] in OVER:
            raise Failed(f"{row['status']}: {row['reason']}")
        if current:
            _say(rollout, said, ticker)
            if _over(rollout) and not (promoted and rollout.get("state") == "promotion"):
                if rollout["state"] in WAITS:
                    ticker.note(WAITS[rollout["state"]].format(id=deployment[:8]))
                return
        ticker.bytes(whole(row["tasks"]))
        patience.look(row["tasks"])
        if patience.over:
            state = rollout.get("state", "running") if current else "not begun"
            reason = (rollout.get("reason") if current else None) or row["reason"] or "no reason given"
            raise TimedOut(f"the update is {state} after {patience.waited}: {reason}")
        time.sleep(LOOK_EVERY)


def _over(rollout: dict[str, Any]) -> bool:
    state = rollout.get("state")
    if state in ("failed", "reverted"):
        raise Failed(
            f"the update {'failed' if state == 'failed' else 'was reverted'}: {rollout.get('reason', '')}"
        )
    return state in ("done", *WAITS)


def _say(rollout: dict[str, Any], said: dict[str, str], ticker: Ticker) -> None:
    for name, group in (rollout.get("groups") or {}).items():
        text = f"{group['updated']} of {group['of']} updated, {group['healthy']} healthy"
        if said.get(name) != text:
            said[name] = text
            ticker.note(f"  {name}: {text}")


def shown(row: dict[str, Any]) -> str:
    """A deployment's status with its rollout, unless that is done."""
    rollout = row.get("rollout") or {}
    state = rollout.get("state", "done")
    if state == "done":
        return str(row["status"])
    groups = (rollout.get("groups") or {}).values()
    done, of = sum(each["updated"] for each in groups), sum(each["of"] for each in groups)
    return f"{row['status']} (update {state} {done}/{of})"
