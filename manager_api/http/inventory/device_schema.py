"""What clients say of devices, and what they are told: the one definition of both.

Contract 5's device. A later release may say more of one: readers pass over what they do not know.
"""

import re
from typing import Any

from marshmallow import INCLUDE, ValidationError, fields

from manager_api.core.enrolment import IPV4, MAC, MOST_CORES, MOST_NUMBER
from manager_api.http.frame.fields import Int, Name, Read, Several, StrictSchema

MOST_NICS = MOST_DISKS = 64
MOST_PASSED = 1000
_NAME, _TYPE = "What people call it.", "What kind of device it is."
_HARDWARE, _SOFTWARE = "What it is made of.", "What runs on it."
_NICS = "Its network interfaces."
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"

DEVICE: dict[str, Any] = {
    "name": "Front desk",
    "type": "terminal",
    "hardware": {"model": "T-1000", "sn": "SN-0042"},
    "software": {"version": "1.4.2", "last_update": "2023-08-06 20:00:00"},
    "nic": [{"type": "wifi", "mac": "12:34:56:78:9a:bc", "ipv4": "192.168.1.2"}],
    "status": "online",
}
"""An example, as it is posted."""
SHOWN: dict[str, Any] = {"id": "4322159209", **DEVICE}
"""The same, as it is answered."""


class Plain(Read[str]):
    """A text of one line, within a length."""

    def __init__(self, most: int, *, least: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._least, self._most = least, most

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("not a text")
        if len(value) < self._least:
            raise ValidationError("empty")
        if len(value) > self._most:
            raise ValidationError(f"{len(value)} characters, at most {self._most}")
        if _CONTROL.search(value):
            raise ValidationError("holds a control character, such as NUL or a line end")
        return value

    def json_schema(self) -> dict[str, Any]:
        """Its shape, for OpenAPI."""
        pattern = r"^[^\u0000-\u001f\u007f]*$"
        return {"type": "string", "minLength": self._least, "maxLength": self._most, "pattern": pattern}


class Pattern(Read[str]):
    """A text that is as a pattern says from beginning to end; `otherwise` is the sentence if it is not."""

    def __init__(self, pattern: str, otherwise: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pattern, self._otherwise = re.compile(pattern), otherwise

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise ValidationError(self._otherwise)
        return value

    def json_schema(self) -> dict[str, Any]:
        """Its shape, for OpenAPI."""
        return {"type": "string", "pattern": f"^(?:{self._pattern.pattern})$"}


def about(text: str) -> dict[str, Any]:
    """What the API's description says of a field."""
    return {"metadata": {"description": text}}


def device_id(**kwargs: Any) -> Pattern:
    """A field for the id of a device or group."""
    return Pattern("[1-9][0-9]{9}", "not an id of ten digits, the first not 0", **kwargs)


def _mac(**kwargs: Any) -> Pattern:
    return Pattern(f"(?:{MAC})?", "not a MAC address such as 12:34:56:78:9a:bc, nor empty", **kwargs)


def _ipv4(**kwargs: Any) -> Pattern:
    return Pattern(f"(?:{IPV4})?", "not an IPv4 address such as 192.168.1.2, nor empty", **kwargs)


def _moment(**kwargs: Any) -> Pattern:
    return Pattern(
        f"(?:[0-9]{{4}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?:[ T]{_TIME})?)?",
        "not a time such as 2023-08-06 20:00:00, nor empty",
        **kwargs,
    )


class DiskSchema(StrictSchema):
    """`{"name", "bytes"}`: one disk of a node."""

    name = Plain(64, least=1, required=True, **about("As the kernel calls it."))
    bytes = Int(0, MOST_NUMBER, required=True, **about("How large it is."))


class HardwarePatchSchema(StrictSchema):
    """Some of what is known of the hardware. Only `model` and `sn` are the contract's."""

    model = Plain(200, **about("May be empty."))
    sn = Plain(200, **about("The serial number; empty where it cannot be read."))
    cores = Int(0, MOST_CORES, **about("Processors of a node."))
    memory = Int(0, MOST_NUMBER, **about("Bytes of a node's memory."))
    disks = Several(fields.Nested(DiskSchema), MOST_DISKS, **about("Disks of a node."))


class HardwareSchema(HardwarePatchSchema):
    """The same, whole."""

    model = Plain(200, required=True, **about("May be empty."))
    sn = Plain(200, required=True, **about("The serial number; empty if it is not known."))


class SoftwarePatchSchema(StrictSchema):
    """Some of what is known of the software. Only `version` and `last_update` are the contract's."""

    version = Plain(200, **about("May be empty. Of a node: its operating system."))
    last_update = _moment(**about("When it was last updated; may be empty."))
    kernel = Plain(200, **about("Of a node."))
    agent = Plain(200, **about("The version of a node's agent."))


class SoftwareSchema(SoftwarePatchSchema):
    """The same, whole."""

    version = Plain(200, required=True, **about("May be empty."))
    last_update = _moment(required=True, **about("May be empty."))


class NicSchema(StrictSchema):
    """One network interface. Files of devices have several in one cell, with `;` between."""

    type = Pattern(
        r"[^;\x00-\x1f\x7f]{1,40}",
        "not a text of 1 to 40 characters without `;`",
        required=True,
        **about("What it is: wifi, ethernet, …."),
    )
    mac = _mac(required=True, **about("May be empty."))
    ipv4 = _ipv4(required=True, **about("May be empty."))


def _nics(**kwargs: Any) -> Several:
    return Several(fields.Nested(NicSchema), MOST_NICS, **kwargs)


class DeviceSchema(StrictSchema):
    """A device as it is made: all that the contract knows, but for the id."""

    name = Name(required=True, **about(_NAME))
    type = Plain(64, least=1, required=True, **about(_TYPE))
    hardware = fields.Nested(HardwareSchema, required=True, **about(_HARDWARE))
    software = fields.Nested(SoftwareSchema, required=True, **about(_SOFTWARE))
    nic = _nics(required=True, **about(_NICS))
    status = Plain(40, least=1, required=True, **about("Of a node: by its heartbeat."))


_PASSED_OVER = "As it was answered: passed over."


class DevicePatchSchema(StrictSchema):
    """What is to change of a device; `nic` is replaced as a whole, `hardware` and `software` key by key.

    Who read a device may give all of it back: what only Muster says of it is passed over.
    """

    id = Plain(200, **about("As in the path."))
    name = Name(**about(_NAME))
    type = Plain(64, least=1, **about(_TYPE))
    hardware = fields.Nested(HardwarePatchSchema, **about(_HARDWARE))
    software = fields.Nested(SoftwarePatchSchema, **about(_SOFTWARE))
    nic = _nics(**about(_NICS))
    status = Plain(40, least=1, **about("Not of a device that is a node: 409."))
    groups = Several(fields.String(), MOST_PASSED, **about(f"{_PASSED_OVER} Memberships change it."))
    node = fields.String(**about(_PASSED_OVER))
    edited = Several(fields.String(), MOST_PASSED, **about(_PASSED_OVER))


class DeviceChangeSchema(DevicePatchSchema):
    """Contract 5's PUT: the id is in the body."""

    id = Plain(200, required=True, **about("Which device."))


class DeviceRowSchema(DeviceSchema):
    """A device as it is answered."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    id = device_id(required=True, **about("Made here; no other device has it, or will have."))
    node = fields.String(**about("The node that this device is."))
    groups = fields.List(device_id(), **about("The groups that it is a member of, if it is in any."))
    edited = fields.List(
        fields.String(),
        **about("What people said of a node's device, and its agent no longer changes."),
    )
