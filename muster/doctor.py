"""`muster doctor`: what a manager found when it looked itself, its store and its fleet over."""

import sys
from typing import Any

import click

from muster import context, output
from muster.cli import FAILED, form_option, main, speaks, url_option

Json = dict[str, Any]
SEEN_WITHIN, MENDED_WITHIN = 120.0, 1800.0
"""Seconds: an inventory is looked through, and perhaps written anew."""
LONGEST = 400
"""Characters of one sentence that are printed: nodes have a say in some."""


@main.command()
@click.option("--mend-index", is_flag=True, help="First put the index of devices right; records stay.")
@url_option
@form_option
@speaks
def doctor(url: str | None, form: str, *, mend_index: bool) -> None:
    """Look manager, store and fleet over; every problem is a sentence with its cure.

    The exit code is 0 when nothing is refused and nothing is wrong, else 1.
    """
    client = context.connect(url)
    mended = dict(client.mend_index(timeout=MENDED_WITHIN)) if mend_index else None
    report: Json = dict(client.run_doctor(timeout=SEEN_WITHIN))
    if form == "json":
        output.as_json(report if mended is None else {**report, "mended": mended})
    else:
        if mended is not None:
            print(
                f"index of devices: {mended['put']} lines put there, {mended['taken']} taken away", end="\n\n"
            )
        for line in [*head(report), "", *sentences(report["findings"])]:
            print(line)
    if not report["ok"]:
        sys.exit(FAILED)


def head(report: Json) -> list[str]:
    """A few lines that say where things stand."""
    lines = [("manager", f"muster {report['version']}"), ("store", _store(report["store"]))]
    epoch, leader, nodes = report.get("epoch"), report.get("leader"), report.get("nodes")
    if epoch is not None:
        since = f" since {output.ago(epoch['began'])}" if epoch["began"] else ""
        why = f" ({epoch['reason']})" if epoch["reason"] else ""
        lines.append(("cluster", f"{report['cluster']}, epoch {epoch['id']}{since}{why}"))
        found = report["log"]
        log = f"change log: {found['entries']} entries, {found['lag']} revisions since compaction"
        lines.append(("revision", f"{report['revision']}; {log}; {report['fenced']} writes fenced off"))
    if leader is not None:
        lines.append(("leader", f"{leader['holder']}, token {leader['token']}"))
    if nodes is not None:
        agents = ", ".join(f"{count} of {version}" for version, count in nodes["versions"].items())
        lines.append(("nodes", f"{nodes['online']} of {nodes['known']} online; agents: {agents or 'none'}"))
    return [clean(f"{name:<10}{text}") for name, text in lines]


def _store(store: Json) -> str:
    kind = "embedded" if store["embedded"] else "under Sentinel" if store["sentinel"] else "external"
    if "flavour" not in store:
        return kind
    sync = f"appendfsync {store['appendfsync'] or '?'}" if store["appendonly"] else "no append-only file"
    saved = f'save "{store["save"]}"' if store["save"] else ""
    replicas = ", ".join(f"{row['address']} {row['state']} lag {row['lag']} s" for row in store["replicas"])
    parts = [
        f"{store['flavour']} {store['version']}, {kind}, {store['role']}, up {_for(store['uptime'])}",
        f"{store['connections']} of {store['maxclients'] or '?'} connections",
        output.size(store["memory"]),
        sync,
        saved,
        f"replicas: {replicas}" if replicas else "",
    ]
    return "; ".join(part for part in parts if part)


def _for(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def sentences(findings: list[Json]) -> list[str]:
    """The findings, the worst first, each with its cure below it."""
    lines = []
    for each in findings:
        label = each["severity"] if each["severity"] == "ok" else each["severity"].upper()
        lines.append(clean(f"{label:<8}{each['name']}: {each['text']}"))
        if each["cure"]:
            lines.append(clean(f"{'':<8}-> {each['cure']}"))
    return lines


def clean(text: str) -> str:
    """One line for a terminal: what others wrote may carry control characters, or never end."""
    short = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(each if each.isprintable() else "?" for each in short)
