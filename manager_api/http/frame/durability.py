"""`Muster-Durability: replicated` on a call that writes; `Muster-Replicated: yes | no` on its answer."""

from contextlib import ExitStack
from typing import Any

import falcon

from manager_api.http.frame.errors import invalid
from manager_api.http.services import Services
from manager_api.settings import REPLICATED, durability
from store.kv.durability import Replicated, replicated

ASKED, HELD = "Muster-Durability", "Muster-Replicated"


def writes(resource: Any) -> Any:
    """Class decorator: the calls of this resource write, so that they may be asked how durably."""
    resource.writes = True
    return resource


class DurabilityHeaders:
    """Middleware. A request is served by one thread from beginning to end: its context is the request's."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Have what the call writes wait for a replica, if that is asked for.

        Raises:
            ApiError: 400 for another word than the two.
        """
        if req.method not in ("POST", "PUT", "DELETE") or not getattr(resource, "writes", False):
            return
        try:
            word = durability(req.get_header(ASKED) or self._services.access.durability)
        except ValueError as error:
            raise invalid(f"{ASKED}: {error}") from None
        if word == REPLICATED:
            stack = ExitStack()
            req.context.durable = stack.enter_context(replicated())
            req.context.durable_ends = stack.close

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Say whether it held. Not on failures: they say themselves what became of the call.

        Nor on streams: what writes while it is sent says so itself, at its end.
        """
        durable: Replicated | None = getattr(req.context, "durable", None)
        if durable is None:
            return
        req.context.durable_ends()
        if succeeded and resp.stream is None:
            resp.set_header(HELD, "yes" if held(self._services, durable) else "no")


def asked(req: falcon.Request) -> Replicated | None:
    """What a call's writes are to wait for, for answers that write while they are sent."""
    return getattr(req.context, "durable", None)


def held(services: Services, durable: Replicated) -> bool:
    """Whether replicas have what was written; of a call that found all as it was to be, what it found."""
    if durable.held is not None:
        return durable.held
    return services.call(lambda store: store.confirm(durable.replicas))
