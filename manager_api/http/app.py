"""The application: which path leads to which resource."""

import falcon

from manager_api.http import (
    backup,
    changes,
    deployments,
    doctor,
    events,
    health,
    logs,
    nodes,
    recover,
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

    app.add_route("/healthz", health.Healthz())
    app.add_route("/readyz", health.Readyz(services))
    app.add_route("/v1/doctor", doctor.Doctor(services))
    app.add_route("/api/task/node", nodes.Listing(services, "nodes"))
    app.add_route("/api/task/task_group", templates.TaskGroup(services))
    app.add_route("/api/task/query", templates.Query(services))
    app.add_route("/api/task/task_group/deploy", deployments.Deploy(services))
    app.add_route("/api/task/task_group/query", deployments.Query(services))
    app.add_route("/api/task/task_group/stop", deployments.Stop(services))
    app.add_route("/deployments/{deployment}", deployments.One(services))
    app.add_route("/v1/deployments/{deployment}", deployments.One(services))
    app.add_route("/v1/deployments/{deployment}/restart", changes.Restart(services))
    app.add_route("/v1/deployments/{deployment}/limits", changes.Limits(services))
    app.add_route("/v1/deployments/{deployment}/logs", logs.Logs(services))
    app.add_route("/v1/deployments", deployments.Listing(services))
    app.add_route("/v1/recover", recover.Recover(services))
    app.add_route("/v1/unclaimed", unclaimed.Listing(services))
    app.add_route("/v1/unclaimed/{deployment}/adopt", unclaimed.Claim(services, "adopt"))
    app.add_route("/v1/unclaimed/{deployment}/stop", unclaimed.Claim(services, "stop"))
    app.add_route("/v1/templates", templates.Templates(services))
    app.add_route("/v1/nodes", nodes.Listing(services, "data"))
    app.add_route("/v1/nodes/join", nodes.Join(services))
    app.add_route("/v1/events", events.Listing(services))
    app.add_route("/v1/backup", backup.Backup(services))
    app.add_route("/v1/restore", backup.Restore(services))
    return app


def _keep_http_error(
    _req: falcon.Request, _resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, object]
) -> None:
    raise error
