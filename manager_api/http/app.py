"""The application: which path leads to which resource."""

from collections.abc import Iterator

import falcon

from manager_api.http import (
    artifacts,
    backup,
    brake,
    changes,
    deployments,
    doctor,
    events,
    explain,
    health,
    instances,
    logs,
    node_changes,
    nodes,
    recover,
    releases,
    scaling,
    templates,
    unclaimed,
)
from manager_api.http.audit import Audit
from manager_api.http.durability import DurabilityHeaders
from manager_api.http.errors import (
    ApiError,
    handle_api_error,
    handle_store_error,
    handle_unexpected,
    serialize,
)
from manager_api.http.services import Services
from store.errors import StoreError
from store.version import VERSION


class Headers:
    """What every answer carries."""

    def process_response(
        self,
        _req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Say which Muster answered, and that answers are not for caches."""
        resp.set_header("Muster-Version", VERSION)
        resp.set_header("Cache-Control", "no-store")


def create_app(services: Services) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application over some services; no globals."""
    app = falcon.App(middleware=[Headers()])
    app.add_middleware(DurabilityHeaders(services))
    app.add_middleware(Audit(services))
    app.req_options.strip_url_path_trailing_slash = True
    app.set_error_serializer(serialize)
    app.add_error_handler(Exception, handle_unexpected)
    app.add_error_handler(falcon.HTTPError, _keep_http_error)
    app.add_error_handler(StoreError, handle_store_error)
    app.add_error_handler(ApiError, handle_api_error)

    for path, resource in _routes(services):
        app.add_route(path, resource)
    return app


def _routes(services: Services) -> Iterator[tuple[str, object]]:
    """Which path leads to which resource; the old platform's first."""
    yield "/healthz", health.Healthz()
    yield "/readyz", health.Readyz(services)
    yield "/v1/doctor", doctor.Doctor(services)
    yield "/api/task/node", nodes.Listing(services, "nodes")
    yield "/api/task/task_group", templates.TaskGroup(services)
    yield "/api/task/query", templates.Query(services)
    yield "/api/task/task_group/deploy", deployments.Deploy(services)
    yield "/api/task/task_group/query", deployments.Query(services)
    yield "/api/task/task_group/stop", deployments.Stop(services)
    yield "/deployments/{deployment}", deployments.One(services)
    yield "/v1/deployments/{deployment}", deployments.One(services)
    yield "/v1/deployments/{deployment}/restart", changes.Restart(services)
    yield "/v1/deployments/{deployment}/limits", changes.Limits(services)
    yield "/v1/deployments/{deployment}/explain", explain.Explain(services)
    yield "/v1/deployments/{deployment}/logs", logs.Logs(services)
    yield "/v1/deployments/{deployment}/stop", changes.Stop(services)
    yield "/v1/deployments/{deployment}/scale", scaling.Scale(services)
    yield "/v1/deployments/{deployment}/update", releases.Update(services)
    yield "/v1/deployments/{deployment}/rollback", releases.Rollback(services)
    yield "/v1/deployments/{deployment}/promote", releases.Promote(services)
    yield "/v1/deployments/{deployment}/pause", releases.Pause(services, paused=True)
    yield "/v1/deployments/{deployment}/resume", releases.Pause(services, paused=False)
    yield "/v1/deployments", instances.Instances(services)
    yield "/v1/recover", recover.Recover(services)
    yield "/v1/unclaimed", unclaimed.Listing(services)
    yield "/v1/unclaimed/{deployment}/adopt", unclaimed.Claim(services, "adopt")
    yield "/v1/unclaimed/{deployment}/stop", unclaimed.Claim(services, "stop")
    yield "/v1/templates", templates.Templates(services)
    yield "/v1/nodes", nodes.Listing(services, "data")
    yield "/v1/nodes/join", nodes.Join(services)
    yield "/v1/nodes/{node}", node_changes.One(services)
    yield "/v1/nodes/{node}/cordon", node_changes.Cordon(services)
    yield "/v1/nodes/{node}/uncordon", node_changes.Uncordon(services)
    yield "/v1/nodes/{node}/drain", node_changes.Drain(services)
    yield "/v1/nodes/{node}/labels", node_changes.Labels(services)
    yield "/v1/nodes/{node}/groups", node_changes.Groups(services)
    yield "/v1/brake", brake.Brake(services)
    yield "/v1/brake/release", brake.Release(services)
    yield "/v1/events", events.Listing(services)
    desk = artifacts.Desk(services)
    yield "/v1/artifacts", artifacts.Listing(services, desk)
    yield "/v1/artifacts/{artifact:path}", artifacts.One(services, desk)
    yield "/v1/backup", backup.Backup(services)
    yield "/v1/restore", backup.Restore(services)


def _keep_http_error(
    _req: falcon.Request, _resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, object]
) -> None:
    raise error
