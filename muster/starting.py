"""`muster deploy`: a template to a deployment, a name to the same one, a thought to a plan."""

import json
from pathlib import Path
from typing import Any

import click

from muster import context, deploying, output, rolling
from muster.asking import meant, pairs, params_option, yes_option
from muster.cli import (
    form_option,
    main,
    patience_option,
    replicated_option,
    speaks,
    url_option,
    wait_option,
    warn_unconfirmed,
)
from muster.client import Client, Refused

DEPLOYMENTS = "/v1/deployments"
PLANNED = ("group", "index", "node", "why")


@main.command()
@click.argument("what", metavar="FILE-or-NAME")
@click.option("--name", help="A name for it: with a name that lives, the same deployment is meant.")
@params_option
@click.option("--ttl", help="It ends by itself after so long: 30m, 8h, 7d.")
@click.option("--version", type=click.IntRange(1), help="Of the template. [default: the newest]")
@click.option("--wait-for-capacity", is_flag=True, help="Keep it waiting while no node can take it.")
@click.option("--update", is_flag=True, help="With a name that lives: bring that deployment to this.")
@click.option("--push", is_flag=True, help="First put the local files there that the template file names.")
@click.option("--dry-run", is_flag=True, help="Only say what would come of it.")
@yes_option
@url_option
@form_option
@wait_option
@patience_option
@replicated_option
@speaks
def deploy(what: str, url: str | None, form: str, replicated: bool, **given: Any) -> None:  # noqa: FBT001
    """Deploy a template file (JSON or YAML), or a template that the manager has.

    A dry run of a file saves its template first, as any deploy does; nothing is started.
    """
    if given["update"] and not given["name"]:
        raise click.UsageError("--update goes with --name")
    if given["push"] and given["dry_run"]:
        raise click.UsageError("--push sends files: it does not go with --dry-run")
    params = pairs(given["params"], "NAME=VALUE")
    client = context.connect(url, replicated=replicated)
    template, version = _template(client, what, given["version"], push=given["push"])
    asked = {
        "template": template,
        "version": version,
        "name": given["name"],
        "parameters": params,
        "ttl": given["ttl"],
        "wait": given["wait_for_capacity"],
    }
    body = {key: value for key, value in asked.items() if value}
    if given["dry_run"]:
        _show_plan(client.post(f"{DEPLOYMENTS}?dry_run=1", body), form)
        return
    try:
        deployment = _begin(client, body, given)
    except (deploying.Failed, deploying.TimedOut) as error:
        if not given["push"]:
            _hint(what, str(error))
        raise
    if form == "json":
        output.as_json(client.get_deployment(deployment))
    else:
        print(deployment)


def _template(client: Client, what: str, version: int | None, *, push: bool) -> tuple[str, int | None]:
    """The template that is meant, saved if it is a file, and its version; with `push` its files are sent."""
    path = Path(what)
    if path.is_file():
        if version is not None:
            raise click.UsageError("--version goes with the name of a template, not with a file")
        body = deploying.read_template(path)
        if push:
            from muster import pushing  # seldom asked for, and every start would wait for it

            pushing.push(client, path, body)
        posted = client.save_task_group(body)
        output.note(f"template {posted['name']}, version {posted['version']}")
        return posted["name"], posted["version"]
    if path.suffix in (".json", ".yaml", ".yml") or "/" in what:
        raise deploying.Failed(f"{what}: {'is a directory' if path.is_dir() else 'no such file'}")
    if push:
        raise click.UsageError("--push goes with a template's file, not with the name of a template")
    return what, version


def _hint(what: str, error: str) -> None:
    """Say what may mend it, if a file is missing there that lies here."""
    from muster import pushing

    path = Path(what)
    if path.is_file() and (hint := pushing.hint(path, deploying.read_template(path), error)):
        output.note(f"muster: {hint}")


def _begin(client: Client, body: dict[str, Any], given: dict[str, Any]) -> str:
    try:
        answer = client.post(DEPLOYMENTS, body)
    except Refused as error:
        living = error.body.get("id")
        if living is None or not body.get("name"):
            raise
        if not given["update"]:
            raise deploying.Failed(f"{error} (--update updates it)") from None
        return _update(client, str(living), body, given, error)
    deployment = str(answer["id"])
    if answer["created"]:
        output.note(f"deployment {deployment}")
    else:
        output.note(f"deployment {deployment} is {body['name']} already, and the same")
    warn_unconfirmed(client)
    if given["wait"]:
        deploying.wait_up(client, deployment, given["timeout"])
    return deployment


def _update(
    client: Client, deployment: str, body: dict[str, Any], given: dict[str, Any], refused: Refused
) -> str:
    """Bring the living one to what was asked for.

    Raises:
        Refused: it is of another template; that cannot be changed.
    """
    if client.get_deployment(deployment)["template"] != body["template"]:
        raise refused
    output.note(f"deployment {deployment} is {body['name']}: updating it")
    if "ttl" in body:
        output.note("its time to live stays what it was: an update does not change that")
    asked: dict[str, Any] = {key: body[key] for key in ("version", "parameters") if key in body}
    answer = meant(client, deployment, "update", asked, yes=given["yes"])
    warn_unconfirmed(client)
    rolling.follow(client, deployment, answer, given["timeout"], wait=given["wait"])
    return deployment


def _show_plan(plan: dict[str, Any], form: str) -> None:
    """Print what would come of it.

    Raises:
        Failed: no node could take it.
    """
    if form == "json":
        output.as_json(plan)
    else:
        _print_plan(plan)
    if plan["would"] == "refuse":
        raise deploying.Failed(str(plan.get("reason") or "no node can take it"))


def _print_plan(plan: dict[str, Any]) -> None:
    print(f"would {plan['would']}" + ("" if plan["id"] == "dry-run" else f" (deployment {plan['id']})"))
    counts = [f"{count} {what}" for what, count in (plan.get("counts") or {}).items() if count]
    if counts:
        print(f"  allocations: {', '.join(counts)}")
    for each in plan.get("diff", ()):
        print(f"  {each['field']}: {_shown(each['old'])} -> {_shown(each['new'])}")
    if plan.get("allocations"):
        rows = [[each.get(key) for key in PLANNED] for each in plan["allocations"]]
        output.table([key.upper() for key in PLANNED], rows)
    if plan.get("left_out"):
        print(f"  and {plan['left_out']} more")
    for each in plan.get("nodes", ()):
        print(f"  node {each['node']} {each['reason']}")


def _shown(value: Any) -> str:

    return (
        "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
