"""What is said of a server, for everything that can be so of one."""

import pytest

from store.errors import Denied, Unsupported
from store.model.finding import Finding, Severity, healthy, worst_first
from store.model.preflight import judge
from store.model.server import ServerFacts, Use, nodes_for
from store.preflight import insist, refused, tell

pytestmark = pytest.mark.unit

INFO = {
    "redis_mode": "standalone", "role": "master", "connected_slaves": 0, "aof_enabled": 1, "used_memory": 1 << 20,
    "maxmemory": 0, "maxmemory_policy": "noeviction", "connected_clients": 3, "aof_last_write_status": "ok",
}  # fmt: skip
CONFIG = {
    "save": "", "appendfsync": "everysec", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction",
    "maxclients": "10000", "timeout": "0", "bind": "127.0.0.1 -::1", "protected-mode": "yes",
    "min-replicas-to-write": "0", "min-replicas-max-lag": "10",
}  # fmt: skip
REPLICA = {"ip": "10.0.0.2", "port": 6379, "state": "online", "offset": 5, "lag": 1}


def found(info=(), config=(), use=None, **more):
    values = {"name": "redis", "version": (7, 0, 15), "key_patterns": True, "open_to_all": False, **more}
    config = {**CONFIG, **dict(config)} if config is not None else {}
    facts = ServerFacts(info={**INFO, **dict(info)}, config=config, **values)
    return judge(facts, use or Use())


def bad(*args, **more):
    return [(each.severity, each.name) for each in found(*args, **more) if each.severity != "ok"]


def text(name, *args, **more):
    (only,) = [each for each in found(*args, **more) if each.name == name]
    return only.text


def test_a_good_server_has_nothing_to_cure():
    assert bad() == []
    assert all(not each.cure for each in found())
    assert "room for 4900 agents" in text("maxclients")
    assert text("role") == "primary, with no replicas"


ON = {"connected_slaves": 1, "slave0": REPLICA, "min_slaves_good_slaves": 1}
MIN = {"min-replicas-to-write": "1"}
SENTINEL = Use(sentinel=True)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"info": {"redis_mode": "sentinel"}}, [("refuse", "mode")]),
        ({"info": {"redis_mode": "cluster"}}, [("refuse", "mode")]),
        ({"info": {"redis_mode": None, "server_mode": "cluster"}}, [("refuse", "mode")]),
        ({"info": {"redis_mode": None, "server_mode": "sentinel"}}, [("refuse", "mode")]),
        ({"version": (6, 0, 9), "key_patterns": False}, [("refuse", "version")]),
        ({"version": (6, 2, 14), "key_patterns": False}, [("warn", "version")]),
        ({"name": "valkey", "version": (9, 1, 2)}, []),
        ({"info": {"role": "slave", "master_host": "10.0.0.1"}}, [("refuse", "role")]),
        ({"info": {"maxmemory": 1 << 30, "maxmemory_policy": "volatile-lru"}}, [("refuse", "maxmemory-policy")]),
        ({"info": {"maxmemory_policy": "allkeys-lru"}}, [("warn", "maxmemory-policy")]),
        ({"info": {"maxmemory": 1 << 30}}, []),
        ({"info": {"maxmemory": 1 << 20}}, [("wrong", "memory")]),
        # replicas
        ({"info": ON, "config": MIN}, []),
        ({"info": {**ON, "connected_slaves": 1} | {"min_slaves_good_slaves": 0}, "config": MIN}, [("wrong", "min-replicas-to-write")]),
        ({"info": {"connected_slaves": 1, "slave0": REPLICA}}, [("warn", "min-replicas-to-write")]),
        ({"info": {"connected_slaves": 1, "slave0": REPLICA}, "use": SENTINEL}, [("refuse", "min-replicas-to-write")]),
        ({"info": {"connected_slaves": 1, "slave0": REPLICA}, "use": SENTINEL, "config": None}, [("refuse", "min-replicas-to-write"), ("warn", "maxclients")]),
        ({"info": {"connected_slaves": 1, "slave0": REPLICA}, "use": SENTINEL, "config": {**MIN, "min-replicas-max-lag": "0"}}, [("refuse", "min-replicas-max-lag")]),
        ({"info": ON, "use": SENTINEL, "config": MIN}, []),
        ({"info": {"min_slaves_good_slaves": 0}, "config": MIN}, [("wrong", "min-replicas-to-write")]),
        ({"info": {"min_slaves_good_slaves": 0}, "use": SENTINEL, "config": MIN}, [("wrong", "min-replicas-to-write"), ("wrong", "replicas")]),
        ({"info": {**ON, "slave0": {**REPLICA, "lag": 60}}, "config": MIN}, [("wrong", "replicas")]),
        ({"info": {**ON, "slave0": {**REPLICA, "state": "wait_bgsave"}}, "config": MIN}, [("wrong", "replicas")]),
        ({"info": {"connected_slaves": 1, "slave0": "nonsense"}}, []),
        # files
        ({"info": {"aof_enabled": 0}}, [("refuse", "persistence")]),
        ({"info": {"aof_enabled": 0}, "config": {"save": "60 1"}}, [("warn", "persistence")]),
        ({"info": {"aof_enabled": 0, "maxclients": 10000}, "config": None}, [("warn", "persistence")]),
        ({"config": {"appendfsync": "no"}}, [("warn", "appendfsync")]),
        ({"config": {"appendfsync": "always"}}, []),
        ({"config": {"appendfsync": "always", "no-appendfsync-on-rewrite": "yes"}}, [("warn", "appendfsync")]),
        ({"info": {"aof_last_write_status": "err"}}, [("wrong", "disk")]),
        ({"info": {"aof_last_bgrewrite_status": "err"}}, [("wrong", "disk")]),
        ({"info": {"rdb_last_bgsave_status": "err"}}, [("wrong", "disk")]),
        # connections, clocks, doors
        ({"clock_ahead": 4.9}, []),
        ({"clock_ahead": 6.0}, [("warn", "clock")]),
        ({"clock_ahead": -6.0}, [("warn", "clock")]),
        ({"config": {"maxclients": "300"}, "use": Use(nodes=50)}, []),
        ({"config": {"maxclients": "299"}, "use": Use(nodes=50)}, [("wrong", "maxclients")]),
        ({"config": None}, [("warn", "maxclients")]),
        ({"config": None, "info": {"maxclients": 10000}}, []),
        ({"config": {"timeout": "30"}}, [("warn", "timeout")]),
        ({"own_files": 256}, [("warn", "file limit")]),
        ({"own_files": 1024}, []),
        ({"open_to_all": True}, []),
        ({"open_to_all": True, "config": {"bind": "* -::*"}}, [("warn", "access")]),
        ({"open_to_all": True, "config": {"bind": ""}}, [("warn", "access")]),
        ({"open_to_all": True, "config": {"bind": "127.0.0.1 10.0.0.1", "protected-mode": "no"}}, [("warn", "access")]),
        ({"open_to_all": False, "config": {"bind": "*"}}, []),
        ({"lacking": ("xadd",), "user": "bob"}, [("refuse", "rights")]),
        ({"unread": {"CONFIG GET": "NOPERM"}}, [("warn", "rights")]),
    ],
)  # fmt: skip
def test_each_fact_has_its_finding_and_no_other(case, expected):
    assert bad(**case) == expected
    for each in found(**case):
        if each.severity in ("refuse", "wrong"):
            assert each.cure, f"{each.name} says no cure"


def test_what_is_said_names_values_and_the_command_that_cures():
    replica = found({"role": "slave", "master_host": "10.0.0.1", "master_port": 6380})
    assert "replica of 10.0.0.1 port 6380" in replica[1].text
    assert "10.0.0.1:6380" in replica[1].cure
    (eviction,) = [each for each in found({"maxmemory_policy": "allkeys-lru", "maxmemory": 3 << 30}) if each.severity == "refuse"]  # fmt: skip
    assert "allkeys-lru and maxmemory 3.0 GiB" in eviction.text
    assert eviction.cure.startswith("redis-cli CONFIG SET maxmemory-policy noeviction")
    (few,) = [each for each in found(config={"maxclients": "100"}, use=Use(nodes=7, embedded=True)) if each.severity == "wrong"]  # fmt: skip
    assert "room for 0 agents" in few.text
    assert "214 connections are needed for 7 nodes" in few.text
    assert "LimitNOFILE" in few.cure
    assert "protected-mode is on" in text("access", config={"bind": "*"}, open_to_all=True)
    assert "xadd, acl|setuser" in text("rights", lacking=("xadd", "acl|setuser"), user="bob")
    assert "power cut loses nothing" in text("appendfsync", config={"appendfsync": "always"})
    alien = found(config={"appendfsync": "no"})
    assert "redis-cli CONFIG SET appendfsync everysec" in next(each.cure for each in alien if each.cure)
    embedded = found(config={"appendfsync": "no"}, use=Use(embedded=True))
    assert not [each for each in embedded if each.cure], "its manager syncs it"


def test_room_for_agents():
    assert [nodes_for(most) for most in (0, 200, 203, 20_200)] == [0, 0, 1, 10_000]


ALL = [Finding("a", Severity.OK, "fine"), Finding("b", Severity.WARN, "so so", "do x"),
       Finding("c", Severity.WRONG, "ill"), Finding("d", Severity.REFUSE, "unsafe", "do y"),
       Finding("e", Severity.REFUSE, "very")]  # fmt: skip


def test_all_refusals_are_said_and_nothing_else_refuses():
    insist(ALL[:3])
    with pytest.raises(Unsupported) as raised:
        insist(ALL)
    assert "d: unsafe. Cure: do y -- e: very" in str(raised.value)


def test_what_is_well_is_said_once_and_the_rest_each(caplog):
    with caplog.at_level("INFO"):
        tell(ALL[:3])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "store: fine"), ("WARNING", "b: so so. Cure: do x"), ("WARNING", "c: ill"),
    ]  # fmt: skip


def test_the_worst_comes_first_and_only_bad_ones_are_bad():
    assert [each.name for each in worst_first(ALL)] == ["d", "e", "c", "b", "a"]
    assert healthy(ALL[:2])
    assert not healthy(ALL[:3])


def test_a_refused_password_is_told_from_a_missing_right():
    assert "user or password" in refused(Denied("invalid username-password pair")).text
    assert (
        "may not run INFO" in refused(Denied("this user has no permissions to run the 'info' command")).text
    )
