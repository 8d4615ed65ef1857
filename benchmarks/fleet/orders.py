"""Work for a simulated fleet: records written as the API writes them, without waiting for the decision."""

import time

from manager_api.http.templates.schemas import TemplateSchema
from manager_api.http.templates.templates import save
from store.codec import dumps
from store.keys import DEPLOYMENTS

from .crew import MARK

_SCHEMA = TemplateSchema()


def template_on(store, node):
    """A template of one task that is pinned to a node; (name, version)."""
    task = {"name": "main", "config": {"command": f"{node}:/bin/sleep 1000"}}
    body = _SCHEMA.load({"name": f"on-{node}", "task_groups": [{"name": "main", "tasks": [task]}]})
    return body["name"], save(store, body)


def deploy(store, template, *, name):
    """Ask for a deployment; its id says when, see `Tally.read`."""
    field = f"{MARK}{time.time_ns()}-{name}"
    record = {"v": 1, "template": template[0], "version": template[1], "wanted": "running"}
    store.put(DEPLOYMENTS, field, dumps({**record, "created": time.time()}), rev=0)
    return field
