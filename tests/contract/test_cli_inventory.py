"""The command line of devices, groups and workspaces, against the API over HTTP."""

import json
import os
import re
import subprocess
import sys

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from manager_api.http.templates import templates
from manager_api.inventory import devices, groups, memberships
from store.codec import dumps, loads
from store.keys import DEPLOYMENTS, DEVICES, GROUPS
from tests.conftest import eventually
from tests.contract.test_cli import Cli
from tests.contract.test_workspaces import a_workspace, configure
from tests.fakes import Puppet

pytestmark = pytest.mark.contract

NIC = "wifi,12:34:56:78:9a:bc,192.168.1.2"


@pytest.fixture
def cli(fake_store, monkeypatch):
    monkeypatch.setattr("muster.workspaces.LOOK_EVERY", 0.001)
    yield from _served(fake_store)


@pytest.fixture
def fleet(store):
    """The same with a real server, which nodes need."""
    yield from _served(store)


def _served(store):
    found = Cli(store)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def desk(cli):
    return add(cli)


def add(cli, **said):
    return devices.create(cli.store, {**DEVICE, **said}).data["id"]


def kept(cli, device):
    return devices.find(cli.store, device).data


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_a_device_is_added_shown_changed_and_deleted(cli):
    words = ("--name", "desk", "--type", "terminal", "--model", "T", "--last-update", "2023-08-06 20:00:00")
    device = cli("device", "add", *words, "--nic", NIC, "--nic", "lan").stdout.strip()
    assert kept(cli, device) == {
        "v": 1, "id": device, "name": "desk", "type": "terminal", "status": "unknown",
        "hardware": {"model": "T", "sn": ""}, "software": {"version": "", "last_update": "2023-08-06 20:00:00"},
        "nic": [dict(zip(("type", "mac", "ipv4"), NIC.split(","), strict=True)), {"type": "lan", "mac": "", "ipv4": ""}],
    }  # fmt: skip
    shown = cli("device", "show", "desk").stdout.splitlines()
    assert shown[0].split(maxsplit=1) == ["device", f"{device} (desk, terminal)"]
    assert {"nic         wifi 12:34:56:78:9a:bc 192.168.1.2", "nic         lan"} <= set(shown)
    assert json.loads(cli("device", "show", device, "-o", "json").stdout)["id"] == device

    words = ("name=a = b", "hardware.sn=S1", "hardware.cores=8", "software.version=", "nic.1.ipv4=10.0.0.9")
    assert cli("device", "set", "desk", *words).stdout.strip() == device
    now = kept(cli, device)
    assert (now["name"], now["hardware"]) == ("a = b", {"model": "T", "sn": "S1", "cores": 8})
    assert [nic["ipv4"] for nic in now["nic"]] == ["192.168.1.2", "10.0.0.9"]
    cli("device", "set", "S1", "--nic", "lan,,10.0.0.1")
    assert kept(cli, device)["nic"] == [{"type": "lan", "mac": "", "ipv4": "10.0.0.1"}]

    assert cli("device", "rm", "S1").stdout.strip() == device
    assert cli.store.values(DEVICES) == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps(DEVICE), 1),
        (json.dumps([DEVICE, {"name": "b", "type": "t"}]), 2),
        ("name: desk\ntype: terminal\nsoftware: {last_update: 2023-08-06 20:00:00}\n", 1),
    ],
)
def test_devices_are_added_from_files(cli, tmp_path, text, count):
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    ids = [*cli("device", "add", "-f", str(path)).stdout.split(), *cli("device", "add", "-f", "-", typed=text).stdout.split()]  # fmt: skip
    assert sorted(ids) == sorted(cli.store.values(DEVICES))
    assert len(ids) == 2 * count
    assert kept(cli, ids[0])["software"]["last_update"] == "2023-08-06 20:00:00"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("device", "add", "--name", "x"), 2, "give --name and --type"),
        (("device", "add", "--name", "x", "-f", "-"), 2, "-f FILE says it all"),
        (("device", "add", "--name", "x", "--type", "t", "--nic", ",a"), 2, "not TYPE,MAC,IPV4"),
        (("device", "add", "--name", "x", "--type", "t", "--nic", "a,b"), 1, "not a MAC address"),
        (("device", "add", "-f", "/nowhere.yaml"), 1, "/nowhere.yaml: No such file"),
        (("device", "add", "-f", "-"), 1, "neither a device"),
        (("device", "show", "nope"), 4, "no device with id, name, node or serial number nope"),
        (("device", "show", "1234567890"), 4, "no device with id, name"),
        (("device", "show", ""), 2, "DEVICE is empty"),
        (("device", "show", "a\nb"), 1, "control character"),
        (("device", "set", "Front desk"), 2, "give KEY=VALUE or --nic"),
        (("device", "set", "Front desk", "name"), 2, "'name' is not KEY=VALUE"),
        (("device", "set", "Front desk", "name=a", "name=b"), 2, "name is given twice"),
        (("device", "set", "Front desk", "colour=red"), 2, "colour is not one of name, type"),
        (("device", "set", "Front desk", "hardware.cores=many"), 2, "'many' is not a whole number"),
        (("device", "set", "Front desk", "nic.7.mac="), 2, "it has 1 nics, and the first is nic.0"),
        (("device", "set", "Front desk", "nic.0.speed=1"), 2, "not nic.0.type"),
        (("device", "set", "Front desk", "name="), 1, "name: "),
        (("device", "set", "Front desk", "name=\udcff"), 1, "a text cannot be sent"),
        (("device", "rm", "Front desk", "nope"), 4, "no device with"),
        (("device", "import", "/nowhere.csv"), 2, "does not exist"),
        (("device", "import", "-"), 1, "the first line must be id,name"),
        (("device", "export", ""), 2, "FILE is empty"),
        (("device", "export", "/nowhere/x.csv"), 1, "No such file"),
        (("devices", "--group", "nope"), 4, "no group with id or name nope"),
        (("group", "show", "1234567890"), 4, "no group with id or name"),
        (("group", "add", "edge", "--label", "=a"), 2, "not KEY=VALUE"),
        (("group", "add", "edge", "--label", "a=b", "--label", "a=c"), 2, "given twice"),
        (("group", "add", "edge", "--fact", "cores"), 2, "not such as cores>=8"),
        (("group", "add", "edge", "--fact", "cores=8", "--fact", "cores<9"), 2, "do not go together"),
        (("group", "add", "edge", "--fact", "os=a", "--fact", "os=b"), 2, "given twice"),
        (("group", "add", "edge", "--fact", "colour=red"), 1, "'colour' is not one of"),
        (("group", "add", "lab"), 1, "lab"),
        (("group", "set", "lab"), 2, "nothing to change"),
        (("group", "set", "lab", "--no-rule", "--label", "a=b"), 2, "does not go with"),
        (("group", "join", "lab", "Front desk", "nope"), 4, "no device with"),
        (("group", "leave", "nope", "Front desk"), 4, "no group with"),
        (("group", "rm", ""), 2, "GROUP is empty"),
        (("workspaces",), 0, "USER"),
        (("workspace", "create", "jane"), 1, "orkspace"),
        (("workspace", "rm", ""), 2, "USER is empty"),
        (("workspace", "rm", "jane"), 4, "jane"),
    ],
)
def test_what_cannot_be_done_has_its_exit_code_and_sentence(cli, desk, words, code, says):
    groups.create(cli.store, {"name": "lab"})
    before = cli.store.meta().rev
    result = cli(*words, expect=code)
    assert says in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), "no traceback"
    assert cli.store.meta().rev == before, "nothing was changed"


def test_a_device_has_several_names_and_ambiguity_names_the_candidates(cli, desk):
    twin = add(cli, hardware={"model": "T", "sn": "SN-7"})
    result = cli("device", "show", "Front desk", expect=1)
    assert "Front desk could be several devices; give the id of one:" in result.stderr
    assert f"  {desk}, Front desk, model T-1000, serial number SN-0042" in result.stderr.splitlines()
    assert f"  {twin}, Front desk, model T, serial number SN-7" in result.stderr.splitlines()
    other = add(cli, name="other", hardware={"model": "", "sn": desk})
    assert cli("device", "show", "SN-7").stdout.startswith(f"device      {twin}")
    assert cli("device", "show", desk).stdout.startswith(f"device      {desk}"), "an id is an id first"
    assert cli("device", "rm", "other", twin).stdout.split() == [other, twin]
    for _ in range(11):
        add(cli)
    assert cli("device", "show", "Front desk", expect=1).stderr.splitlines()[-1] == "  …"


def test_a_node_is_a_device_that_goes_after_it(fleet):
    cli = fleet
    Puppet(cli.manager, "web-1")
    row = json.loads(cli("device", "show", "web-1", "-o", "json").stdout)
    assert (row["node"], row["status"]) == ("web-1", "online")
    result = cli("device", "rm", "web-1", expect=1)
    assert (
        result.stderr == f"muster: device {row['id']} stays: it is node web-1: first muster node rm web-1\n"
    )
    assert "its status follows the heartbeat" in cli("device", "set", "web-1", "status=x", expect=1).stderr
    cli("device", "set", "web-1", "hardware.model=X")
    assert "edited      hardware.model" in cli("device", "show", "web-1").stdout.splitlines()


def test_the_list_filters_sorts_and_stops(fleet):
    cli = fleet
    Puppet(cli.manager, "web-1")
    for number in (3, 1, 2):
        state = "spare" if number == 2 else "online"
        add(cli, name=f"d{number}", status=state, hardware={"model": f"T-{number}", "sn": f"S{number}"})
    edge = groups.create(cli.store, {"name": "edge"}).data["id"]
    first = next(key for key, raw in cli.store.values(DEVICES).items() if loads(raw)["name"] == "d1")
    memberships.add(cli.store, first, [edge])

    def names(*words):
        return [row["name"] for row in json.loads(cli("devices", *words, "-o", "json").stdout)]

    assert names() == ["d1", "d2", "d3", names("--model", "")[3]]
    assert names("--model", "T-", "--sort", "-sn") == ["d3", "d2", "d1"]
    assert names("--sn", "S3") == ["d3"]
    assert names("--status", "online", "--model", "T-", "--limit", "1") == ["d1"]
    assert names("--status", "online", "--status", "spare", "--model", "T-") == ["d1", "d2", "d3"]
    assert names("--limit", "2") == ["d1", "d2"]
    assert names("--group", "edge") == names("--group", edge) == ["d1"]
    titles, line, *_ = rows(cli("devices", "--model", "T-").stdout)
    assert titles == ["DEVICE", "NAME", "TYPE", "STATUS", "MODEL", "SN", "VERSION", "IP", "GROUPS"]
    assert line == [first, "d1", "terminal", "online", "T-1", "S1", "1.4.2", "192.168.1.2", "edge"]
    assert rows(cli("device", "ls").stdout)[0][-2:] == ["NODE", "GROUPS"]


def test_csv_of_the_list_is_the_managers_own(cli):
    """Two programs write these files, and either's can be imported: they must not drift apart."""
    add(cli, name="=SUM(1)", nic=[], hardware={"model": 'a"b,c', "sn": "'x"})
    add(
        cli,
        name="@ö",
        nic=[{"type": "-a", "mac": "", "ipv4": ""}, {"type": "b", "mac": "", "ipv4": "1.2.3.4"}],
    )
    theirs = cli.manager.http.simulate_get("/v1/devices/csv").content
    assert cli("devices", "--sort", "id", "-o", "csv").stdout_bytes == theirs


def test_a_node_s_device_is_given_back_to_its_agent(fleet):
    cli = fleet
    Puppet(cli.manager)
    cli("device", "set", "web-1", "name=desk", "hardware.model=M")
    device = cli("device", "release", "desk", "name").stdout.strip()
    assert (kept(cli, device)["name"], kept(cli, device)["edited"]) == ("web-1", ["hardware.model"])
    assert cli("device", "release", "web-1").stdout.strip() == device
    assert "edited" not in kept(cli, device)
    assert (
        "not one of name, type, nic, hardware.model"
        in cli("device", "release", "web-1", "x", expect=1).stderr
    )
    other = add(cli)
    assert "no agent says anything of it" in cli("device", "release", other, expect=1).stderr


def test_devices_go_out_and_come_in(cli, desk, tmp_path):
    path = tmp_path / "devices.csv"
    assert cli("device", "export", str(path)).stdout.startswith(f"{path}: 1 devices, ")
    assert "is there already; --force replaces it" in cli("device", "export", str(path), expect=1).stderr
    cli("device", "export", str(path), "--force")
    assert cli("device", "export", "-").stdout_bytes == path.read_bytes()
    assert cli("device", "import", str(path)).stdout == "0 created, 0 changed, 1 same, 0 refused\n"
    head, line = path.read_text().splitlines()
    path.write_text("\n".join((head, line.replace("Front desk", "Back"), "12" + line[10:], line[10:])))
    before = cli.store.meta().rev
    result = cli("device", "import", str(path), "--dry-run", expect=1)
    assert result.stdout.splitlines() == [
        "line 3: id: not an id of ten digits, the first not 0 (12)",
        "1 would be created, 1 would be changed, 0 would be same, 1 would be refused",
    ]
    assert cli.store.meta().rev == before
    found = json.loads(cli("device", "import", str(path), "-o", "json", expect=1).stdout)
    assert [each["line"] for each in found.pop("lines")] == [3]
    assert found == {"created": 1, "changed": 1, "same": 0, "refused": 1}
    assert kept(cli, desk)["name"] == "Back"
    assert len(cli.store.values(DEVICES)) == 2
    cli("device", "import", "-", typed=f"{head}\n{line}\n")
    assert kept(cli, desk)["name"] == "Front desk"
    new = f"{head}\n{line[10:].replace('SN-0042', 'SN-1')}\n"
    for said in ("1 created", "0 created, 0 changed, 1 same"):
        assert cli("device", "import", "-", "--match", "sn", typed=new).stdout.startswith(said)


def test_a_report_that_broke_off_is_no_success(cli, desk, tmp_path, monkeypatch):
    path = tmp_path / "devices.csv"
    cli("device", "export", str(path))
    whole = b'{"line": 2, "id": "1", "result": "same"}\n'
    for report, says in (
        ((whole, b'{"cre'), "broke off; up to line 2 it is done"),
        (
            (whole, dumps({"error": "it ended here: x", "created": 0}) + b"\n"),
            "it ended here: x; up to line 2",
        ),
    ):
        monkeypatch.setattr("muster.client.plain.Streamed.lines", lambda _, lines=report: iter(lines))
        assert says in cli("device", "import", str(path), expect=1).stderr


def test_somebody_elses_nics_are_not_undone(cli, desk, monkeypatch):
    from muster import device_words

    real = device_words.change

    def meanwhile(*args):
        devices.change(cli.store, desk, lambda record: {**record, "name": "other"})
        return real(*args)

    monkeypatch.setattr(device_words, "change", meanwhile)
    assert "changed by somebody else meanwhile" in cli("device", "set", desk, "--nic", "lan", expect=1).stderr
    assert kept(cli, desk)["nic"] == DEVICE["nic"]
    cli("device", "set", desk, "type=t")
    assert kept(cli, desk)["type"] == "t", "other words change nothing else"


def test_who_stops_reading_ends_it_quietly(cli):
    add(cli)
    env = {**os.environ, "MUSTER_URL": cli.url}
    for words in (["device", "export", "-"], ["devices", "-o", "csv"]):
        code = f"import os, sys; sys.argv = ['muster', *{words}]; import muster.__main__ as program; "
        code += "read, write = os.pipe(); os.close(read); os.dup2(write, 1); program.main()"
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_long_list_is_set_like_a_short_one(cli, monkeypatch):
    monkeypatch.setattr("muster.output.LONG", 0)
    add(cli, name="höhe 東京")
    add(cli, name="=b", hardware={"model": "", "sn": ""})
    long = cli("devices").stdout
    monkeypatch.setattr("muster.output.LONG", 500)
    assert cli("devices").stdout == long


# -- groups


def test_a_group_is_added_shown_changed_and_deleted(fleet):
    cli, desk = fleet, add(fleet)
    Puppet(cli.manager, "web-1")
    words = ("--label", "zone=a,b", "--label", "disk=ssd", "--fact", "memory>=16G", "--fact", "memory < 64G",
             "--fact", "os=Debian*,Ubuntu*", "--fact", "cores=8", "--fact", "agent>=0.3")  # fmt: skip
    group = cli("group", "add", "edge", "--description", "x", *words).stdout.strip()
    rule = {
        "labels": {"zone": ["a", "b"], "disk": "ssd"},
        "facts": {"memory": ">=16G <64G", "os": ["Debian*", "Ubuntu*"], "cores": "=8", "agent": ">=0.3"},
    }
    assert groups.find(cli.store, group).data["rule"] == rule
    text = "disk=ssd zone=a,b agent>=0.3 cores=8 memory>=16G <64G os=Debian*,Ubuntu*"
    assert rows(cli("groups").stdout)[1] == [group, "edge", *text.split(), "x"]
    assert json.loads(cli("group", "ls", "-o", "json").stdout)[0]["rule"] == rule

    assert cli("group", "join", "edge", "Front desk", "web-1").stdout.split()[0] == desk
    shown = cli("group", "show", "edge").stdout.splitlines()
    assert {f"rule        {text}", "nodes       1: web-1", "members     2", f"  {desk}  Front desk"} <= set(
        shown
    )
    assert json.loads(cli("group", "show", group, "-o", "json").stdout)["name"] == "edge"
    assert "groups      edge" in cli("device", "show", "web-1").stdout.splitlines()

    assert (
        cli("group", "set", "edge", "--name", "rim", "--description", "", "--label", "zone=c").stdout
        == f"{group}\n"
    )
    assert groups.find(cli.store, group).data == {
        "v": 1,
        "id": group,
        "name": "rim",
        "rule": {"labels": {"zone": "c"}},
    }
    cli("group", "set", "rim", "--no-rule")
    assert "rule" not in groups.find(cli.store, group).data

    assert cli("group", "leave", "rim", desk).stdout.strip() == desk
    again = cli("group", "leave", "rim", desk)
    assert again.stderr == f"muster: device {desk} was not a member of rim\n"
    assert cli("group", "rm", "rim").stdout.strip() == group
    assert cli.store.values(GROUPS) == {}


def test_a_group_that_is_used_stays(cli, monkeypatch):
    group = groups.create(cli.store, {"name": "edge"}).data["id"]
    monkeypatch.setattr("manager_api.http.inventory.groups.used_by", lambda *_: ["etl-1"])
    result = cli("group", "rm", "edge", expect=1)
    assert "muster: group edge stays: 1 living deployment placed on it: etl-1" in result.stderr
    assert list(cli.store.values(GROUPS)) == [group]


def test_what_stops_much_is_asked_for_twice(cli, desk, monkeypatch):
    group = groups.create(cli.store, {"name": "edge", "rule": {"labels": {"zone": "a"}}}).data["id"]
    memberships.add(cli.store, desk, [group])
    plan = {"groups": [{"group": "main", "here": 4, "of": 6, "deployment": "etl"}]}
    monkeypatch.setattr("manager_api.http.inventory.regrouping.targeted", lambda _, names: names)
    monkeypatch.setattr("manager_api.http.inventory.regrouping.confirm.LEAST", 1)
    monkeypatch.setattr("manager_api.http.inventory.regrouping.ask", lambda *_, **__: plan)
    before = cli.store.meta().rev
    says = "his stops 4 of 6 of group main at once of deployment etl"
    for words in (("set", "edge", "--no-rule"), ("add", "new"), ("leave", "edge", desk)):
        result = cli("group", *words, expect=1)
        assert f"t{says}: give --yes if that is meant; nothing was done" in result.stderr
    monkeypatch.setattr("muster.asking._on_terminal", lambda: True)
    assert f"T{says}. Is that meant?" in cli("group", "leave", "edge", desk, expect=1, typed="n\n").stderr
    assert cli.store.meta().rev == before
    cli("group", "set", "edge", "--no-rule", typed="y\n")
    assert cli("group", "leave", "edge", desk, "--yes").stdout.strip() == desk


def test_an_import_shows_what_it_stops_and_then_means_it(cli, tmp_path, monkeypatch):
    path, sent = tmp_path / "x.jsonl", []
    path.write_text("")
    plan = {
        "mode": "merge",
        "records": {},
        "conflicts": [],
        "epoch": None,
        "stops": ["group edge: this stops 4 of 6"],
    }

    def send(_client, _file, asked):
        sent.append(asked)
        return plan if "dry_run" in asked else {**plan, "stops": []}

    monkeypatch.setattr("muster.moving._send", send)
    assert "group edge: this stops 4 of 6" in cli("import", str(path)).stdout.splitlines()
    assert len(sent) == 1, "nobody said yes"
    cli("import", str(path), "--yes")
    assert (sent[2]["confirm"], sent[2]["mode"]) == ("true", "merge")
    plan["stops"] = []
    cli("import", str(path), "--yes")
    assert "confirm" not in sent[4], "what was not shown is not meant"


# -- workspaces


@pytest.fixture
def workspaces(cli, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    configure(cli.manager)
    templates.save(cli.store, a_workspace())
    return cli


def test_a_workspace_begins_is_listed_and_stops(workspaces):
    cli = workspaces
    result = cli("workspace", "create", "jane", "--no-wait")
    assert (result.stdout, "not decided yet" in result.stderr) == ("", True)
    (row,) = json.loads(cli("workspaces", "-o", "json").stdout)
    assert rows(cli("workspace", "ls").stdout)[1][:2] == ["jane", "PENDING"]
    late = cli("workspace", "create", "jane", "--timeout", "0", expect=124)
    assert late.stderr.splitlines()[0] == "jane has this workspace already"
    assert "still PENDING after 0 s: no reason given" in late.stderr
    assert cli("workspace", "rm", "jane").stdout == "jane\n"
    assert cli.record(row["id"])["wanted"] == "stopped"
    assert cli("workspace", "cleanup").stdout == "0 ended workspaces are forgotten within a minute\n"
    assert json.loads(cli("workspace", "cleanup", "-o", "json").stdout) == {"removed": [], "images": None}


@pytest.mark.parametrize(("status", "code"), [("RUNNING", 0), ("FAILED", 1)])
def test_a_workspace_is_waited_for(workspaces, monkeypatch, status, code):
    cli = workspaces

    def meanwhile(_seconds):
        (deployment,) = cli.store.values(DEPLOYMENTS)
        cli.say(deployment, status=status, reason="no room")

    monkeypatch.setattr("muster.workspaces.time.sleep", meanwhile)
    result = cli("workspace", "create", "jane", expect=code)
    assert ("muster: FAILED: no room" in result.stderr) == (status == "FAILED")


def test_a_workspace_says_where_it_answers(fleet, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 60.0)
    cli = fleet
    Puppet(cli.manager)
    configure(cli.manager)
    templates.save(cli.store, a_workspace())
    cli.manager.lead()
    try:
        eventually(lambda: cli.manager.get("/readyz").status_code == 200)
        url = cli("workspace", "create", "jane", "--no-wait").stdout.strip()
        assert re.fullmatch(r"http://192\.168\.10\.100:[23][0-9]{4}/", url)
        assert url in cli("workspaces").stdout
    finally:
        cli.manager.end()
