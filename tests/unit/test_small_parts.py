"""Identity, memory, reports, sentences, settings, files: the small parts."""

import argparse
import os
import subprocess
import sys

import pytest

from agentd import identity, sentences
from agentd.core.obey import Orders
from agentd.join import Rejoins
from agentd.memory import Memory
from agentd.report import Outbox
from manager_api.inventory.seen import SLOTS, Seen
from manager_api.settings import StoreAccess
from store import config, faults
from store.codec import dumps, loads
from store.config import ConfigError, Setting
from store.errors import BadRecord
from store.keys import Keys, is_node_id
from store.kv.server import glob
from store.process import Lock, write_whole

pytestmark = pytest.mark.unit


def test_what_was_seen_is_known_however_much_it_is():
    seen, texts = Seen(), [f"SN-{number}" for number in range(3 * SLOTS)]
    assert all(seen.add(each) for each in texts)
    assert not any(seen.add(each) for each in texts)
    assert seen.add("")


def test_an_identity_stays(tmp_path):
    first = identity.load(tmp_path, "web-1", "machine")
    assert first.fresh
    again = identity.load(tmp_path, None, "machine")
    assert (again.node, again.uid, again.secret) == (first.node, first.uid, first.secret)
    assert oct((tmp_path / "identity.json").stat().st_mode)[-3:] == "600"


def test_a_secret_that_was_deleted_is_made_anew_for_the_same_node(tmp_path):
    first = identity.load(tmp_path, "web-1", "machine")
    path = tmp_path / "identity.json"
    record = loads(path.read_bytes())
    del record["secret"]
    path.write_bytes(dumps(record))
    renewed = identity.load(tmp_path, None, "machine")
    assert (renewed.node, renewed.uid, renewed.fresh) == (first.node, first.uid, False)
    assert renewed.secret not in ("", first.secret)
    assert identity.load(tmp_path, None, "machine") == renewed
    assert oct(path.stat().st_mode)[-3:] == "600"


def test_a_cloned_image_asks_for_a_new_uid_and_remembers_nothing(tmp_path, caplog):
    first = identity.load(tmp_path, "web-1", "machine")
    memory = Memory(tmp_path / "orders.json", first)
    memory.remember(Orders("1-a", 5, {"d.0": {"wanted": "running"}}))
    assert memory.recall().rev == 5
    clone = identity.load(tmp_path, "web-1", "another machine")
    assert clone.uid != first.uid
    assert "made on another machine" in caplog.text
    assert Memory(tmp_path / "orders.json", clone).recall() == Orders()


def test_a_changed_host_name_only_warns(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "old")
    first = identity.load(tmp_path, None, "m")
    monkeypatch.setattr("socket.gethostname", lambda: "new")
    assert identity.load(tmp_path, None, "m").node == first.node == "old"
    assert "the host name is new now" in caplog.text


def test_a_host_name_that_cannot_name_a_node(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "büro pc")
    with pytest.raises(ValueError, match="give one with --hostname"):
        identity.load(tmp_path, None, "m")


def test_a_torn_memory_waits_for_the_store(tmp_path):
    memory = Memory(tmp_path / "orders.json", identity.load(tmp_path, "n", "m"))
    (tmp_path / "orders.json").write_text('{"uid": ')
    assert memory.recall() == Orders()


def test_only_changes_are_said():
    outbox = Outbox()
    assert outbox.changes({"a": {"x": 1}, "b": {}}).keys() == {"a", "b"}
    assert outbox.changes({"a": {"x": 1}, "b": {}}) == {}
    assert outbox.changes({"a": {"x": 2}}) == {"a": dumps({"x": 2}), "b": None}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("exec:2", "/nope does not exist on this node"),
        ("exec:7", "arguments and environment are too long"),
        ("exec:0", "/nope cannot be run: invalid arguments"),
        ("user:1", "could not become its user: Operation not permitted"),
        ("cwd:2", "could not enter its directory /w: No such file or directory"),
        ("ulimits:1", "its ulimits could not be set: Operation not permitted"),
        ("a sentence already", "a sentence already"),
    ],
)
def test_errors_as_sentences(error, says):
    assert says in sentences.explain(error, "/nope", "/w")


def parse(*words, settings=(), environ=None):
    parser = argparse.ArgumentParser()
    config.add_flags(parser, settings)
    return config.resolve(settings, parser.parse_args(words), environ or {})


def test_settings_have_an_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = (Setting("store_port", config.port, 1, "help"), Setting("safe", config.boolean, False, "help"))
    assert parse(settings=settings) == {"store_port": 1, "safe": False}
    (tmp_path / "config.yaml").write_text("store_port: 2\nsafe: true\n")
    assert parse(settings=settings) == {"store_port": 2, "safe": True}
    assert parse(settings=settings, environ={"MUSTER_STORE_PORT": "3"})["store_port"] == 3
    assert (
        parse("--store-port", "4", settings=settings, environ={"MUSTER_STORE_PORT": "3"})["store_port"] == 4
    )
    (tmp_path / "config.yaml").write_text("[1]")
    with pytest.raises(ConfigError, match="not a list of settings"):
        parse(settings=settings)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        parse(settings=settings)


@pytest.mark.parametrize(
    "text",
    [
        'sftp_host: "sftp://u:hunter2@h/x',
        "sftp_host: sftp://u:hunter2: b@h/",
        "store: *hunter2",
        "sftp_host: {a: hunter2",
        "sftp_host: !!hunter2 x",
    ],
)
def test_a_settings_file_that_is_no_yaml_is_not_repeated_for_it_may_hold_a_password(text, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"# settings\n{text}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: line \d+, column \d+: not YAML") as caught:
        config.resolve((), argparse.Namespace(config=str(path)), {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("reader", "bad"), [(config.port, "-1"), (config.port, "65536"), (config.port, "٣"), (config.seconds, "0"), (config.seconds, "nan"), (config.boolean, "maybe")])  # fmt: skip
def test_values_that_are_none(reader, bad):
    with pytest.raises(ValueError, match=r"is ne|is not"):
        reader(bad)


def test_canonical_json():
    assert dumps({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    for bad in (b"", b"[]", b"nope", b"\xff"):
        with pytest.raises(BadRecord, match="here"):
            loads(bad, "here")


def test_keys_are_as_the_design_says():
    assert Keys().node("web-1").desired == "muster:n:{web-1}:desired"
    assert Keys().node("web-1").beat == "muster:n:{web-1}:hb"
    assert (Keys().lease("leader"), Keys().fence("leader")) == ("muster:leader", "muster:fence")
    for bad in ("", "a b", "a{b", "a\n", "x" * 129, "é", "a/b", "*"):
        assert not is_node_id(bad)


def test_patterns_match_only_themselves():
    assert glob("a*b?[c]\\") == "a\\*b\\?\\[c\\]\\\\"


def test_a_child_is_told_where_the_store_is():
    access = StoreAccess(
        url="redis://h:1/0", advertised_port=5, password_file="/p", holder="me", presence_url="redis://p:2/0"
    )
    assert StoreAccess.from_environment(access.environment()) == access


def test_files_appear_whole(tmp_path):
    path = tmp_path / "x"
    write_whole(path, b"1")
    write_whole(path, b"2" * 100_000)
    assert path.read_bytes() == b"2" * 100_000
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_lock_is_one_s_own(tmp_path):
    first, second = Lock(tmp_path / "l"), Lock(tmp_path / "l")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.close()
    assert second.try_acquire()
    second.close()


def test_a_fault_kills_once(tmp_path, monkeypatch):
    killed = []
    monkeypatch.setattr(faults, "_directory", str(tmp_path))
    monkeypatch.setattr(os, "kill", lambda *_: killed.append(1))
    faults.fault("api.deploy.before")
    assert killed == []
    (tmp_path / "api.deploy.before").touch()
    faults.fault("api.deploy.before")
    faults.fault("api.deploy.before")
    assert killed == [1]


def test_every_fault_point_is_in_the_code():
    import re
    from pathlib import Path

    root = Path(faults.__file__).parents[1]
    files = [path for name in ("store", "agentd", "manager_api") for path in (root / name).rglob("*.py")]
    text = "".join(path.read_text() for path in files if path.name != "faults.py")
    named = set(re.findall(r'fault\("([a-z.]+)"\)', text))
    written = set(re.findall(r'"(controller\.[a-z]+)"', text))  # the executor's `_write` adds when
    named |= {f"{name}.{when}" for name in written for when in ("before", "after")}
    assert named == faults.POINTS


def test_what_a_join_answered_is_read_though_another_release_wrote_it(tmp_path):
    import json

    from agentd.identity import Identity
    from agentd.join import Joiner

    who = Identity("n", "u", "s", "m")
    old = {"uid": "u", "cluster": "c", "url": "redis://h:1/0", "username": "node:n", "password": None}
    for more in ({}, {"said": "x", "presence": "redis://p:1/0", "spread": 3.0, "of_tomorrow": 1}):
        (tmp_path / "join.json").write_text(json.dumps(old | more))
        joiner = Joiner(tmp_path, who, "http://127.0.0.1:1", ())
        assert joiner.spread() == more.get("spread", 0.5)
        link = joiner.connect(anew=False)
        assert (link._presence is not None) is ("presence" in more)
        link.close()


def test_a_large_fleet_does_not_ask_its_manager_all_at_once(clock):
    small, fleet = Rejoins(clock), [Rejoins(clock) for _ in range(200)]
    assert small.due(0.5), "a few nodes ask at once"
    assert not small.due(0.5)
    asking = [sum(each.due(10.0) for each in fleet)]
    for _ in range(30):
        clock.advance(1)
        asking.append(sum(each.due(10.0) for each in fleet))
    assert max(asking) < 40
    assert sum(asking) >= 200, "each in its time"
    small.forget()
    assert small.due(0.5)


IN_A_WAIT = """
import os, signal, threading
from store.process import on_end
asked = threading.Event()
on_end(asked.set)
with asked._cond:  # as `wait` has it, now and then
    os.kill(os.getpid(), signal.SIGTERM)
    os.getpid()  # the handler runs here, if not before
assert asked.wait(20)
"""


def test_an_end_that_is_asked_for_in_the_middle_of_a_wait_is_heard():
    """A main thread that waits has the very lock that setting the event takes."""
    subprocess.run([sys.executable, "-c", IN_A_WAIT], check=True, timeout=40)
