"""What an agent says of its machine, and what the manager keeps of it."""

import json
import socket
from types import SimpleNamespace

import psutil
import pytest
from marshmallow import Schema

from agentd.facts import machine, nics
from agentd.facts.node import inventory
from agentd.identity import Identity
from agentd.join import Joiner
from manager_api.core import enrolment
from manager_api.http.nodes.node_schema import Facts
from store.errors import Denied, EpochChanged, Unavailable

pytestmark = pytest.mark.unit
JOIN = Schema.from_dict({"facts": Facts(allow_none=True)})()


def lay(root, **files):
    for path, content in files.items():
        where = root / path.replace("__", "/")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())


DMI = "sys__class__dmi__id__"


@pytest.mark.parametrize(
    ("files", "model", "serial"),
    [
        ({}, None, None),
        ({f"{DMI}product_name": "PowerEdge R640", f"{DMI}sys_vendor": "Dell Inc."}, "Dell Inc. PowerEdge R640", None),
        ({f"{DMI}product_name": "HP Z2", f"{DMI}sys_vendor": "HP"}, "HP Z2", None),
        ({f"{DMI}sys_vendor": "QEMU"}, "QEMU", None),
        ({f"{DMI}product_name": "To Be Filled By O.E.M.", f"{DMI}product_serial": "Default string"}, None, None),
        ({f"{DMI}product_serial": "None", f"{DMI}board_serial": " B-7 "}, None, "B-7"),
        ({"sys__firmware__devicetree__base__model": b"Raspberry Pi 4 Model B Rev 1.4\x00",
          "sys__firmware__devicetree__base__serial-number": b"10000000abcdef01\x00"},
         "Raspberry Pi 4 Model B Rev 1.4", "10000000abcdef01"),
        ({"proc__device-tree__model": b"Old Board\x00"}, "Old Board", None),
        ({f"{DMI}product_name": b"\xff\xfe"}, "\ufffd\ufffd", None),
    ],
)  # fmt: skip
def test_model_and_serial_number(tmp_path, files, model, serial):
    lay(tmp_path, **files)
    assert (machine.model(tmp_path), machine.serial(tmp_path)) == (model, serial)


def test_what_may_not_be_read_is_not_known(tmp_path):
    lay(tmp_path, **{f"{DMI}product_name__x": "a directory where a file should be"})
    assert machine.model(tmp_path) is None
    assert "model" not in machine.hardware(tmp_path)


def test_disks_are_devices_that_stay(tmp_path):
    block = "sys__block__"
    lay(
        tmp_path,
        **{
            f"{block}sda__size": "1000", f"{block}sda__device__x": "", f"{block}sda__removable": "0",
            f"{block}sdb__size": "8", f"{block}sdb__device__x": "", f"{block}sdb__removable": "1",
            f"{block}loop0__size": "77", f"{block}nvme0n1__size": "2", f"{block}nvme0n1__device__x": "",
            f"{block}sdc__size": "0", f"{block}sdc__device__x": "",
        },
    )  # fmt: skip
    assert machine.disks(tmp_path) == [{"name": "nvme0n1", "bytes": 1024}, {"name": "sda", "bytes": 512_000}]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, None),
        ({"etc__os-release": 'NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'}, "Debian GNU/Linux 12 (bookworm)"),
        ({"usr__lib__os-release": "PRETTY_NAME=Alpine"}, "Alpine"),
        ({"etc__os-release": "PRETTY_NAME=\n"}, None),
    ],
)  # fmt: skip
def test_the_operating_system_as_it_calls_itself(tmp_path, files, wanted):
    lay(tmp_path, **files)
    assert machine.system(tmp_path) == wanted


def link(address):
    return SimpleNamespace(family=psutil.AF_LINK, address=address)


def four(address):
    return SimpleNamespace(family=socket.AF_INET, address=address)


def test_interfaces_and_their_kinds(tmp_path, monkeypatch):
    net = "sys__class__net__"
    lay(tmp_path, **{
        f"{net}eth0__type": "1", f"{net}wlan0__type": "1", f"{net}wlan0__wireless__x": "", f"{net}lo__type": "772",
        f"{net}br0__type": "1", f"{net}br0__bridge__x": "", f"{net}bond0__bonding__x": "", f"{net}tun0__tun_flags": "1",
        f"{net}eth0.5__type": "1", f"{net}eth0.5__uevent": "DEVTYPE=vlan\nINTERFACE=eth0.5", f"{net}ib0__type": "32",
        f"{net}ppp0__type": "512",
    })  # fmt: skip
    mac = "02:00:00:00:00:0"
    known = {
        "wlan0": [link(f"{mac}2")],
        "eth0": [link(f"{mac}1".upper()), four("10.0.0.1"), four("10.0.0.9")],
        "lo": [four("127.0.0.1")],
        "br0": [four("10.1.0.1")], "bond0": [four("10.2.0.1")], "tun0": [link("00:00:00:00:00:00"), four("10.3.0.1")],
        "eth0.5": [four("10.4.0.1")], "ib0": [four("10.5.0.1")], "ppp0": [four("10.6.0.1")], "odd": [four("10.7.0.1")],
        "veth12": [link(f"{mac}7"), four("172.17.0.1")], "eth9": [],
    }  # fmt: skip
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: known)
    found = {nic["ipv4"]: nic for nic in nics.nics(tmp_path)}
    assert found["10.0.0.1"] == {"type": "ethernet", "mac": f"{mac}1", "ipv4": "10.0.0.1"}
    assert found[""] == {"type": "wifi", "mac": f"{mac}2", "ipv4": ""}
    assert found["10.3.0.1"] == {"type": "tunnel", "mac": "", "ipv4": "10.3.0.1"}
    kinds = {nic["ipv4"].split(".")[1]: nic["type"] for nic in found.values() if nic["ipv4"]}
    assert kinds == {
        "0": "ethernet", "1": "bridge", "2": "bond", "3": "tunnel", "4": "vlan", "5": "infiniband", "6": "other",
        "7": "unknown",
    }  # fmt: skip
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": known["lo"], "veth12": known["veth12"]})
    assert [nic["ipv4"] for nic in nics.nics(tmp_path)] == ["172.17.0.1"], (
        "an agent in a container has no other"
    )


def test_this_machine_says_nothing_that_the_manager_would_leave_out():
    said = inventory()
    assert enrolment.clean(json.loads(json.dumps(said))) == said
    assert said["hardware"]["cores"] >= 1
    assert {"version", "kernel"} == said["software"].keys()


def test_hearsay_is_bounded():
    text = "x" * 10_000
    raw = {
        "hardware": {"model": text, "sn": "a\n\x00b\ud800", "cores": True, "memory": -1, "color": "red",
                     "disks": [{"name": "sda", "bytes": 5}, {"name": "sdb"}, "sdc", {"bytes": 2**60}] * 20},
        "software": ["Debian"], "nic": [{"type": "a;b", "mac": "zz", "ipv4": "10.0.0.1"}, {"ipv4": "10.0.0.256"}, 7],
    }  # fmt: skip
    found = enrolment.clean(raw)
    disks = found["hardware"].pop("disks")
    assert found == {
        "hardware": {"model": "x" * 200, "sn": "a b"},
        "software": {},
        "nic": [{"type": "a,b", "mac": "", "ipv4": "10.0.0.1"}],
    }
    assert disks == [{"name": "sda", "bytes": 5}] * 8, "of the first 32"
    for nonsense in (None, [], "facts", 5, {"hardware": "x", "nic": {}}):
        assert not JOIN.validate({"facts": nonsense}, partial=True).get("facts")
        assert not any(enrolment.clean(nonsense).values())


# -- the agent's side of joining


@pytest.fixture
def said():
    return {"hardware": {"cores": 4}}


def joiner(tmp_path, said, posts, monkeypatch, fails=None):
    who = Identity("web-1", "uid-1", "s", "m")
    found = Joiner(tmp_path, who, "http://127.0.0.1:1", ["process"], inventory=lambda: said)

    def post(body):
        posts.append(body)
        if fails is not None:
            raise fails
        store = {"url": "redis://127.0.0.1:1/0", "username": "u", "password": None}
        return {"store": store, "cluster": "c", "spread": 0}

    monkeypatch.setattr(found, "_post", post)
    return found


def test_an_agent_joins_again_when_its_machine_has_changed(tmp_path, said, monkeypatch):
    posts = []
    mine = joiner(tmp_path, said, posts, monkeypatch)
    for _ in range(2):
        mine.connect(anew=False).close()
    assert [each["facts"] for each in posts] == [{"hardware": {"cores": 4}}]
    said["hardware"] = {"cores": 8}
    mine.connect(anew=False).close()
    mine.connect(anew=False).close()
    assert [each["facts"]["hardware"] for each in posts[1:]] == [{"cores": 8}]
    joiner(tmp_path, said, posts, monkeypatch).connect(anew=False).close()
    assert len(posts) == 2, "remembered over a restart"


@pytest.mark.parametrize(
    "refusal", [Unavailable("no manager"), Denied("is being removed"), EpochChanged("another cluster")]
)
def test_what_changed_is_said_another_time_if_nobody_hears_it(tmp_path, said, monkeypatch, refusal):
    posts = []
    joiner(tmp_path, said, posts, monkeypatch).connect(anew=False).close()
    said["hardware"] = {"cores": 8}
    later = joiner(tmp_path, said, posts, monkeypatch, fails=refusal)
    later.connect(anew=False).close()
    later.connect(anew=False).close()
    assert len(posts) == 3
