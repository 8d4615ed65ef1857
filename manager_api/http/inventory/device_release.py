"""`POST /v1/devices/{device}/release`: what people said of a node's device is its agent's again."""

import falcon
import orjson

from manager_api.http.frame import bodies, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import CONTRACT_5
from manager_api.http.frame.fields import OneOf, Several, StrictSchema
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.inventory import device_rows
from manager_api.http.inventory.device_schema import (
    SHOWN,
    DeviceRowSchema,
    HardwarePatchSchema,
    SoftwarePatchSchema,
    about,
)
from manager_api.http.services import Services
from manager_api.inventory import enrolment

FIELDS = (
    "name", "type", "nic",
    *(f"hardware.{name}" for name in HardwarePatchSchema().fields),
    *(f"software.{name}" for name in SoftwarePatchSchema().fields),
)  # fmt: skip
"""What people may edit of a node's device."""


class DeviceReleaseSchema(StrictSchema):
    """Which fields go back; none named: all that people edited."""

    fields = Several(  # type: ignore[assignment]  # marshmallow keeps it apart
        OneOf(*FIELDS), len(FIELDS), least=1, **about("Names as in `edited`; missing: all.")
    )


@writes
class Release:
    """`/v1/devices/{device}/release`."""

    envelope = CONTRACT_5
    inventory = True

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Give what people edited of a node's device back to its agent",
        id="release_device",
        tag="devices",
        body=DeviceReleaseSchema(),
        body_optional=True,
        body_example={"fields": ["hardware.model"]},
        answers={
            200: Answer(
                "The device as it is now. Again: the same.",
                DeviceRowSchema(),
                {**SHOWN, "node": "web-1", "edited": ["name"]},
            )
        },
        errors=(404, 409, 412),
        description="What the agent has said of it is put back at once, the rest when it says it. `name` and "
        "`type` are as they were when the node joined first. 409: the device is no node.",
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, device: str) -> None:
        """Take names out of `edited`."""
        said, rev = bodies.body(req), preconditions.expected(req)
        names = said.get("fields")
        kept = self._services.call(lambda store: enrolment.release(store, device, names, rev=rev))
        row = self._services.call(lambda store: device_rows.shown(store, kept.data))
        preconditions.tag(resp, kept.rev)
        resp.data = orjson.dumps(row)
