"""The application: middleware, error handlers, resources."""

import falcon

from manager_api.http.describing import docs, openapi
from manager_api.http.frame.audit import Audit
from manager_api.http.frame.durability import DurabilityHeaders
from manager_api.http.frame.errors import (
    ApiError,
    handle_api_error,
    handle_store_error,
    handle_unexpected,
    serialize,
)
from manager_api.http.frame.idempotency import Idempotency
from manager_api.http.frame.standards import Standards, heads
from manager_api.http.inventory.device_mark import DeviceFileWait
from manager_api.http.inventory.inventory_answers import handle_inventory_error
from manager_api.http.routes import routes as routes_of
from manager_api.http.services import Services
from manager_api.http.system import metrics
from manager_api.http.waiting import news
from manager_api.inventory.errors import InventoryError
from store.errors import StoreError


def create_app(services: Services) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application over some services; no globals.

    Raises:
        ValueError: a call is not described.
    """
    measured = metrics.Measured(services)
    app = falcon.App(middleware=[measured])
    app.add_middleware(news.News(services))  # sees what those within made of answers
    app.add_middleware(Standards())
    app.add_middleware(Idempotency(services))
    app.add_middleware(DurabilityHeaders(services))
    app.add_middleware(Audit(services))
    if services.access.device_csv is not None:
        app.add_middleware(DeviceFileWait(services))
    app.req_options.strip_url_path_trailing_slash = True
    app.set_error_serializer(serialize)
    app.add_error_handler(Exception, handle_unexpected)
    app.add_error_handler(falcon.HTTPError, _keep_http_error)
    app.add_error_handler(StoreError, handle_store_error)
    app.add_error_handler(ApiError, handle_api_error)
    app.add_error_handler(InventoryError, handle_inventory_error)
    app.add_error_handler(news.Given, news.handle_given)

    routes = [*routes_of(services), ("/metrics", metrics.Scrape(services, measured))]
    routes += docs.routes(routes)
    openapi.check(routes)
    for path, resource in routes:
        app.add_route(path, heads(resource))
    return app


def _keep_http_error(
    _req: falcon.Request, _resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, object]
) -> None:
    raise error
