"""Unused images, removed on request: a deployment like any other, on every node, whose logs say what went."""

from collections.abc import Iterator

from manager_api.http.deployments.composing import Wish
from manager_api.http.deployments.deployments import create
from manager_api.http.services import Services
from manager_api.http.templates import templates
from manager_api.http.templates.schemas import TemplateSchema
from store.codec import Json, loads
from store.keys import TEMPLATES
from store.kv.store import Store
from store.model.parameters import fill

NAME = "muster-image-cleanup"
SCRIPT = """
set -f
engine=$(command -v podman || command -v docker) || { echo "neither podman nor docker is here"; exit 0; }
"$engine" images --format '{{.Repository}}:{{.Tag}}' | sort -u | while read -r image; do
  used=
  case "$image" in *'<none>'*) continue;; esac
  for kept in $KEPT; do
    case "$image" in "$kept"|"$kept:latest"|*/"$kept"|*/"$kept:latest") used=1;; esac
    case "$kept" in */"$image"|*/"${image%:latest}") used=1;; esac
  done
  if [ -n "$used" ]; then echo "kept, a template names it: $image"; else "$engine" rmi "$image" || true; fi
done
"$engine" image prune --force
"""
"""Engines refuse to remove what a container uses. What no template names must be pulled again when wanted."""


def remove_images(services: Services, store: Store, wanted: str | None) -> str:
    """Begin to remove the images that no container uses and no template names; the deployment that does it.

    `wanted` is its id, if the call has an Idempotency-Key: a retry finds it.

    Raises:
        ApiError: 409 when no node can take it.
    """
    templates.save(store, TemplateSchema().load(_template(sorted(set(_named(store))))))
    return create(services, store, Wish(template=NAME, ttl="1h"), wanted).id


def _template(kept: list[str]) -> Json:
    config = {"command": ["/bin/sh", "-c", SCRIPT], "env": {"KEPT": " ".join(kept)}}
    task = {"name": "images", "config": config, "restart": {"condition": "no"}}
    return {"name": NAME, "task_groups": [{"name": "nodes", "count": "all", "tasks": [task]}]}


def _named(store: Store) -> Iterator[str]:
    """The images of all templates; what a parameter is to fill in has its default."""
    for raw in store.values(TEMPLATES).values():
        for group in fill(loads(raw)["body"], {})["task_groups"]:
            for task in group["tasks"]:
                image = task["config"].get("image")
                if image is not None and "${" not in image:
                    yield image
