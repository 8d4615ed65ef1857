"""What clients say of groups and memberships, ask of the inventory, and are told: shapes beside devices'."""

from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, pre_load, validate

from manager_api.http.frame.fields import Bool, Name, Read, Several, StrictSchema
from manager_api.http.frame.pages import PageSchema, Sort
from manager_api.http.inventory.device_schema import Plain, about, device_id
from manager_api.http.inventory.rule_schema import RuleField
from manager_api.http.waiting.news import WaitSchema
from manager_api.inventory.devices import MOST_GROUPS
from manager_api.inventory.search import SORTS

MOST_IDS = 10_000
"""Records that one call deletes."""
CONFIRM = "Needed where this stops more than half of what a deployment has on every node of a group."
_ID = 200
"""Characters of an id that is looked for: what cannot be one is simply not found."""


class DeviceGroupSchema(StrictSchema):
    """A group as it is made: what deployments may be placed on."""

    name = Name(required=True, **about("Unique."))
    description = Plain(1000, **about("What it is for."))
    rule = RuleField()


class DeviceGroupMadeSchema(DeviceGroupSchema):
    """The same, as it is asked for."""

    confirm = Bool(metadata={"description": CONFIRM})


class DeviceGroupPatchSchema(StrictSchema):
    """What is to change of a group; null takes description or rule away."""

    id = Plain(_ID, **about("As in the path."))
    name = Name(**about("Unique."))
    description = Plain(1000, allow_none=True, **about("What it is for."))
    rule = RuleField(allow_none=True)
    confirm = Bool(metadata={"description": CONFIRM})


class DeviceGroupChangeSchema(DeviceGroupPatchSchema):
    """Contract 5's PUT: the id is in the body."""

    id = Plain(_ID, required=True, **about("Which group."))


class DeviceGroupRowSchema(DeviceGroupSchema):
    """A group as it is answered."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    id = device_id(required=True, **about("Made here; never given twice."))


class MembershipSchema(StrictSchema):
    """A device and a group that it is to be in."""

    device_id = Plain(_ID, least=1, required=True, **about("The device."))
    group_id = Plain(_ID, least=1, required=True, **about("The group."))


class MembershipRowSchema(MembershipSchema):
    """A membership as it is answered."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    id = fields.String(required=True, **about("`<device>-<group>`."))


class GroupIds(Read[list[str]]):
    """Ids of groups; one alone counts as a list of one."""

    def _read(self, value: Any) -> list[str]:
        one = Plain(_ID, least=1)
        if isinstance(value, list) and len(value) > MOST_GROUPS:
            raise ValidationError(f"{len(value)} in all, at most {MOST_GROUPS}")
        return [str(one.deserialize(each)) for each in (value if isinstance(value, list) else [value])]

    def json_schema(self) -> dict[str, Any]:
        """Its shape, for OpenAPI."""
        one = Plain(_ID, least=1).json_schema()
        return {"anyOf": [{"type": "array", "items": one, "maxItems": MOST_GROUPS}, one]}


class MembershipsSchema(StrictSchema):
    """All groups that a device is to be in. `group_id` is taken for `group_ids`."""

    device_id = Plain(_ID, least=1, required=True, **about("The device."))
    group_ids = GroupIds(
        required=True, validate=validate.Length(max=MOST_GROUPS), **about("The groups that it is to be in.")
    )

    @pre_load
    def take_group_id(self, data: Any, **_: Any) -> Any:
        """The contract's word for one group, here for one or several."""
        if isinstance(data, dict) and "group_id" in data and "group_ids" not in data:
            return {
                **{key: value for key, value in data.items() if key != "group_id"},
                "group_ids": data["group_id"],
            }
        return data


class IdsSchema(StrictSchema):
    """Records that are to go; those that are not there are passed over."""

    ids = Several(Plain(_ID), MOST_IDS, required=True, **about("Which are to go."))


class MembershipIdsSchema(StrictSchema):
    """Memberships that are to go: by their ids, or one by both its ends."""

    ids = Several(Plain(2 * _ID), MOST_IDS, **about("Which are to go."))
    device_id = Plain(_ID, least=1, **about("One end of the one that is to go."))
    group_id = Plain(_ID, least=1, **about("Its other end."))
    confirm = Bool(**about(CONFIRM))


class DeviceQuerySchema(PageSchema, WaitSchema):
    """Which devices. All that is said must hold; nothing said: all."""

    id = Plain(_ID, **about("Exactly this one."))
    sn = Plain(_ID, **about("Exactly this serial number."))
    model = Plain(_ID, **about("A part of the model's name; capitals matter."))
    name = Plain(_ID, **about("Exactly this name."))
    node = Plain(_ID, **about("The device that is this node."))
    group = Plain(_ID, **about("Members of the group with this id."))
    sort = Sort(*SORTS)


class MembersQuerySchema(PageSchema, WaitSchema):
    """Which page of a group's devices."""

    sort = Sort(*SORTS)


class GroupQuerySchema(PageSchema, WaitSchema):
    """Which groups; nothing said: all."""

    id = Plain(_ID, **about("Exactly this one."))
    name = Plain(_ID, **about("Exactly this name."))
    sort = Sort("id", "name")


class GroupsOfQuerySchema(PageSchema, WaitSchema):
    """Which page of a device's groups."""

    sort = Sort("id", "name")


class MembershipQuerySchema(PageSchema, WaitSchema):
    """Which memberships: by either end, by both, or by id; nothing said: all."""

    id = Plain(2 * _ID, **about("Exactly this one."))
    device_id = Plain(_ID, **about("Of this device."))
    group_id = Plain(_ID, **about("Of this group."))
    sort = Sort("id", **about("By group, then by device."))


def _told(name: str, **more: fields.Field[Any]) -> Schema:
    """Contract 5's answer: `status` is the HTTP code, `message` says what happened, and `more`."""
    both: dict[str, Any] = {
        "status": fields.Integer(required=True, **about("The HTTP code.")),
        "message": fields.String(required=True, **about("What happened, for people.")),
    }
    return Schema.from_dict({**both, **more}, name=name)()


def made(name: str) -> Schema:
    """The answer to a POST: the new id."""
    return _told(name, data=fields.String(required=True, **about("The new id.")))


def changed(row: Schema, name: str, *, many: bool = False) -> Schema:
    """The answer to a PUT: the record, or the records, as they are now."""
    told: dict[str, Any] = {"required": True, **about("As it is now.")}
    return _told(name, data=fields.List(fields.Nested(row), **told) if many else fields.Nested(row, **told))


def gone(name: str) -> Schema:
    """The answer to a DELETE: what went, and why others stay."""
    kept = fields.Dict(fields.String(), fields.String(), **about("Why others stay, by id."))
    return _told(name, ids=fields.List(fields.String(), required=True, **about("What went.")), kept=kept)


def listed(row: Schema, name: str) -> Schema:
    """The answer to a GET of many."""
    return _told(
        name,
        data=fields.List(fields.Nested(row), required=True, **about("The records.")),
        total=fields.Integer(required=True, **about("Records that match, on whatever page.")),
        next=fields.String(
            required=True,
            allow_none=True,
            **about("`cursor` of the next page; null: that was all."),
        ),
    )
