"""What is taken for a device: bounds on every text, and patterns that hold from beginning to end."""

import re

import pytest
from marshmallow import ValidationError

from manager_api.http.inventory.device_schema import (
    DEVICE,
    DeviceChangeSchema,
    DevicePatchSchema,
    DeviceSchema,
    NicSchema,
)

pytestmark = pytest.mark.unit


def test_the_contract_s_own_device_is_taken_as_it_stands():
    assert DeviceSchema().load(DEVICE) == DEVICE


@pytest.mark.parametrize("missing", sorted(DEVICE))
def test_all_fields_are_required(missing):
    with pytest.raises(ValidationError) as error:
        DeviceSchema().load({key: value for key, value in DEVICE.items() if key != missing})
    assert set(error.value.messages) == {missing}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": "a\nb"}, {"name": "x" * 201}, {"name": 5}, {"type": ""}, {"type": "x" * 65},
        {"hardware": {"sn": "x" * 201}}, {"hardware": {"model": "a\x00"}}, {"hardware": []}, {"hardware": {"colour": "red"}},
        {"software": {"last_update": "yesterday"}}, {"software": {"last_update": "2023-13-01"}},
        {"software": {"last_update": "2023-08-06 20:00:00\n"}}, {"software": {"version": None}},
        {"nic": {}}, {"nic": [{"type": "wifi"}]}, {"nic": [{"type": "a;b", "mac": "", "ipv4": ""}]},
        {"nic": [{"type": "wifi", "mac": "12:34", "ipv4": ""}]}, {"nic": [{"type": "wifi", "mac": "", "ipv4": "1.2.3.256"}]},
        {"nic": [{"type": "wifi", "mac": "12:34:56:78:9a:bc\n", "ipv4": ""}]},
        {"nic": [{"type": "wifi", "mac": "", "ipv4": ""}] * 65}, {"status": ""}, {"member_of": []}, {"groups": "edge"},
    ],
)  # fmt: skip
def test_what_is_no_part_of_a_device_is_refused(wrong):
    with pytest.raises(ValidationError):
        DevicePatchSchema().load(wrong)


@pytest.mark.parametrize(
    "right",
    [
        {}, {"name": "机房一号"}, {"hardware": {"sn": ""}}, {"software": {"last_update": ""}}, {"nic": []},
        {"software": {"last_update": "2023-08-06T20:00:00.5+02:00"}}, {"hardware": {"cores": 8, "disks": [{"name": "sda", "bytes": 1}]}},
        {"nic": [{"type": "ib", "mac": ":".join(["0a"] * 20), "ipv4": ""}, {"type": "lan", "mac": "0A-0B-0C-0D-0E-0F", "ipv4": "10.0.0.1"}]},
    ],
)  # fmt: skip
def test_what_may_be_said_is_taken_unchanged(right):
    assert DevicePatchSchema().load(right) == right


def test_a_change_names_its_device():
    with pytest.raises(ValidationError):
        DeviceChangeSchema().load({"name": "x"})


def test_what_is_documented_is_what_is_validated():
    for name, field in NicSchema().fields.items():
        pattern = re.compile(field.json_schema()["pattern"])
        for value in ("", "wifi", "a;b", "12:34:56:78:9a:bc", "1.2.3.4", "1.2.3.256", "x" * 41):
            try:
                field.deserialize(value)
                taken = True
            except ValidationError:
                taken = False
            assert bool(pattern.search(value)) == taken, (name, value)
