"""What engines are asked for, without any: command lines, environment files, what their errors mean."""

import pytest

from agentd.containers import commands, outcome
from agentd.containers.commands import Refused
from agentd.containers.engine import Engine, Host, client_env, read_docker, read_podman
from agentd.containers.outcome import Outcome
from store.model import spec

pytestmark = pytest.mark.unit

PODMAN = Engine(
    name="podman",
    path="/usr/bin/podman",
    version="4.3.1",
    detached=True,
    controllers=frozenset({"memory", "cpu", "pids"}),
)
DOCKER = Engine(name="docker", path="/usr/bin/docker", version="28.2.2")


def container(config=None, **more):
    raw = {
        "name": "web",
        "config": {"driver": "container", "image": "docker.io/library/redis:7", **(config or {})},
    }
    return spec.task(raw | more)


def engine_line(engine, task, home):
    """What the engine itself is run with."""
    line = commands.run_argv(engine, "muster-x", task, {"muster.run": "a/web/1.0"}, home)
    return line[line.index("--") + 1 :]


def podman_info(**host):
    found = {
        "ociRuntime": {"name": "crun"},
        "cgroupVersion": "v2",
        "cgroupControllers": ["memory", "pids"],
        "security": {"rootless": False},
    }
    return {
        "host": found | host,
        "version": {"Version": "4.3.1"},
        "plugins": {"log": ["k8s-file", "passthrough"]},
    }


def test_podman_starts_and_goes(tmp_path):
    task = container(
        {
            "command": "redis-server --port 1",
            "mounts": ["/srv/a,b:/data:ro", "/x:/y:rw"],
            "ports": ["127.0.0.1:80:8080/tcp"],
            "network": "bridge",
            "user": "5:6",
            "cwd": "/data",
            "umask": "0077",
        },
        resources={"limits": {"memory": "64M", "cpus": 0.25, "pids": 20}},
        ulimits={"nofile": {"soft": 10, "hard": 20}},
        stop={"signal": "SIGINT"},
    )
    line = engine_line(PODMAN, task, tmp_path)
    assert line[:3] == ["/usr/bin/podman", "run", "--detach"]
    assert line[-4:] == ["docker.io/library/redis:7", "redis-server", "--port", "1"]
    assert {
        "--rm",
        "--log-driver=passthrough",
        "--name=muster-x",
        "--label=muster.run=a/web/1.0",
        "--pull=missing",
        f"--env-file={tmp_path}/env",
        "--security-opt=no-new-privileges",
        "--stop-signal=SIGINT",
        '--mount=type=bind,"source=/srv/a,b",target=/data,readonly',
        "--mount=type=bind,source=/x,target=/y",
        "--publish=127.0.0.1:80:8080/tcp",
        "--network=bridge",
        "--user=5:6",
        "--workdir=/data",
        "--umask=0077",
        "--http-proxy=false",
        "--memory=67108864",
        "--memory-swap=67108864",
        "--cpus=0.25",
        "--pids-limit=20",
        "--ulimit=nofile=10:20",
    } <= set(line)
    assert not any(word.startswith(("--tty", "--interactive", "--init", "--runtime")) for word in line)


def test_docker_s_client_stays(tmp_path):
    task = container({"args": ["--port", "1"]}, resources={"limits": {"memory": "64M"}})
    line = engine_line(DOCKER, task, tmp_path)
    assert line[:3] == ["/usr/bin/docker", "run", "--log-driver=none"]
    assert line[-3:] == ["docker.io/library/redis:7", "--port", "1"]
    assert "--memory=67108864" in line
    assert not {"--detach", "--rm"} & set(line)
    assert not any(
        word.startswith(("--umask", "--http-proxy", "--pidfile", "--pids", "--ulimit")) for word in line
    )


def test_an_image_s_own_command_is_left_to_it(tmp_path):
    assert engine_line(PODMAN, container(), tmp_path)[-1] == "docker.io/library/redis:7"


def test_no_limit_is_no_limit_and_the_machine_s_ulimits_hold(tmp_path):
    from dataclasses import replace

    engine = replace(PODMAN, ulimits={"nofile": (7, 7), "nproc": (8, 8)}, runtime="runc")
    line = engine_line(engine, container(ulimits={"nofile": 5}), tmp_path)
    assert "--pids-limit=-1" in line
    assert [word for word in line if "ulimit=" in word] == ["--ulimit=nofile=5:5", "--ulimit=nproc=8:8"]
    assert "--runtime=runc" in line


@pytest.mark.parametrize(
    ("engine", "task", "sentence"),
    [
        (DOCKER, container({"umask": "0027"}), "umask"),
        (PODMAN, container({"network": "none", "ports": ["80:80"]}), "publishes no ports"),
        (
            Engine(name="podman", path="/p", version="4", controllers=frozenset()),
            container(resources={"limits": {"cpus": 1}}),
            "no cgroup controller cpu",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, task, sentence, tmp_path):
    with pytest.raises(Refused, match=sentence):
        commands.run_argv(engine, "x", task, {}, tmp_path)


def test_the_environment_is_a_file_for_the_agent_only(tmp_path):
    commands.write_env(tmp_path, {"A": "b=c # d 'e' \"f\"", "EMPTY": "", "Ü": "ü"})
    assert (tmp_path / "env").read_text() == "A=b=c # d 'e' \"f\"\nEMPTY=\nÜ=ü\n"
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "env", [{"A": "b\nPATH=/evil"}, {"A": "b\r"}, {"#A": "b"}, {"A B": "c"}, {"": "a"}, {"A": "b" * 70_000}]
)
def test_an_environment_that_no_file_can_say_is_refused(env, tmp_path):
    with pytest.raises(Refused):
        commands.write_env(tmp_path, env)
    assert not (tmp_path / "env").exists()


def test_names_are_an_engine_s_and_one_for_each_task():
    one = commands.container_name("uid", "etl-1.0", "straße/ä")
    assert one.startswith("muster-etl-1.0-stra-e-")
    assert one == commands.container_name("uid", "etl-1.0", "straße/ä")
    others = [("uid2", "etl-1.0", "straße/ä"), ("uid", "etl-1.1", "straße/ä"), ("uid", "etl-1.0", "straße/ö")]
    assert one not in {commands.container_name(*other) for other in others}
    assert len(commands.container_name("u", "a" * 300, "b" * 300)) < 100


def test_the_other_lines():
    assert commands.remove_argv(PODMAN, "x") == [
        "/usr/bin/podman", "rm", "--force", "--ignore", "--volumes", "--time=0", "x",
    ]  # fmt: skip
    assert commands.remove_argv(DOCKER, "x") == ["/usr/bin/docker", "rm", "--force", "--volumes", "x"]
    assert commands.is_gone(0, "")
    assert commands.is_gone(1, "Error response from daemon: No such container: x")
    assert not commands.is_gone(1, "Cannot connect to the Docker daemon")
    assert commands.exec_argv(DOCKER, "x", ["true"], "5") == [
        "/usr/bin/docker",
        "exec",
        "--user=5",
        "x",
        "true",
    ]
    assert commands.exec_argv(PODMAN, "x", ["true"]) == ["/usr/bin/podman", "exec", "x", "true"]
    assert "--filter=label=muster.node=uid" in commands.list_argv(PODMAN, "uid")


def test_podman_is_asked_for_runc_where_crun_would_refuse():
    hybrid = podman_info(cgroupVersion="v1")
    assert read_podman(hybrid, "/p", Host(hybrid=True, runc=True)).runtime == "runc"
    assert read_podman(hybrid, "/p", Host(hybrid=True)) is None
    assert read_podman(hybrid, "/p", Host()).runtime is None
    assert read_podman(podman_info(), "/p", Host(hybrid=True)).runtime is None


def test_podman_before_4_and_podman_elsewhere_keep_their_clients():
    old = podman_info()
    old["plugins"]["log"] = ["k8s-file"]
    assert read_podman(podman_info(), "/p", Host()).detached
    assert not read_podman(old, "/p", Host()).detached
    assert not read_podman(podman_info(serviceIsRemote=True), "/p", Host()).detached


def test_an_old_podman_says_less():
    old = {"host": {"ociRuntime": {"name": "runc"}, "rootless": False}, "version": {"Version": "3.0.1"}}
    found = read_podman(old, "/p", Host())
    assert (found.detached, found.controllers) == (False, None)


def test_podman_without_root_limits_nothing_on_cgroup_v1():
    rootless = {"security": {"rootless": True}}
    assert read_podman(podman_info(cgroupVersion="v1", **rootless), "/p", Host()).controllers == frozenset()
    assert "memory" in read_podman(podman_info(**rootless), "/p", Host()).controllers


def test_docker_s_client_alone_is_no_engine():
    assert read_docker({"ServerErrors": ["Cannot connect"]}, "/d") is None
    assert read_docker({"ServerVersion": ""}, "/d") is None
    found = read_docker({"ServerVersion": "28.2.2", "MemoryLimit": True, "PidsLimit": False}, "/d")
    assert (found.version, found.controllers) == ("28.2.2", {"memory", "cpu"})
    assert found.facts() == {"engine": "docker", "version": "28.2.2"}


def test_a_client_sees_where_to_look_and_no_more():
    agent = {
        "DOCKER_HOST": "unix:///x",
        "https_proxy": "p",
        "SECRET": "s",
        "LD_PRELOAD": "e",
        "PATH": "/evil",
    }
    found = client_env(agent)
    assert (found["DOCKER_HOST"], found["https_proxy"], found["HOME"]) == ("unix:///x", "p", "/root")
    assert not {"SECRET", "LD_PRELOAD"} & found.keys()
    assert "/evil" not in found["PATH"]


SAID = [
    ('Error: short-name "bb:2" did not resolve to an alias and no unqualified-search registries', "says no registry"),
    ("Error: initializing source docker://x: reading manifest 9 in docker.io/library/redis: manifest unknown", "does not have it"),
    ("docker: Error response from daemon: pull access denied for zork, denied: requested access to the resource is denied.", "asks for a login"),
    ('Error: initializing source docker://localhost/x:1: pinging container registry localhost: Get "https://localhost/v2/": dial tcp: connect: connection refused', "cannot be reached: connection refused"),
    ("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "does not answer"),
    ("docker: permission denied while trying to connect to the Docker daemon socket", "denied on its socket"),
    ("Error: cannot listen on the TCP port: listen tcp4 127.0.0.1:80: bind: address already in use", "port 127.0.0.1:80 is taken"),
    ("docker: Error response from daemon: driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated.", "port 0.0.0.0:80 is taken"),
    ('Error: creating container storage: the container name "e1" is already in use by 0d35b. You have to', "its name, e1:"),
    ('docker: Error response from daemon: Conflict. The container name "/e1" is already in use by container "f"', "its name, e1:"),
    ("Error: statfs /no pe: no such file or directory", "mount /no pe does not"),
    ("docker: Error response from daemon: bind source path does not exist: /nope.", "mount /nope"),
    ("Error: unable to find user zork: no matching entries in passwd file", "user zork does not exist in image"),
    ("Error: unable to find network with name or ID zork: network not found", "network does not exist"),
    ("error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation", "ulimit nofile is above"),
    ("Error: no command or entrypoint provided, and no CMD or ENTRYPOINT from image", "says no command"),
    ('Error: runc: runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH', "nope does not exist in"),
    ('Error: runc: unable to start container process: exec: "/nope": stat /nope: no such file or directory: OCI', "/nope does not exist in"),
    ('Error: runc: unable to start container process: exec: "/etc/passwd": permission denied: OCI', "/etc/passwd in image"),
    ("Error: crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2", "install runc"),
    ("warning: x\nError: something that nobody has seen yet\n", "said: something that nobody has seen yet"),
    ("", "said: nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "sentence"), SAID)
def test_engines_errors_are_said_in_plain_words(said, sentence):
    assert sentence in outcome.refusal(container(), said)


def test_memory_is_blamed_as_far_as_is_known():
    limited = container(resources={"limits": {"memory": "32M"}})
    assert "killed a process of it at its limit of 33554432 bytes" in outcome.explain(
        limited, 137, Outcome(main=7, state="ended", code=137, oom_kills=1)
    )
    assert "nobody saw" in outcome.explain(limited, 137, Outcome(main=7, state="ended", code=137))
    assert outcome.explain(limited, 137, Outcome(main=7, state="ended", code=137, oom_kills=0)) is None
    assert outcome.explain(container(), 137, Outcome(main=7, state="ended", code=137)) is None
    assert outcome.explain(limited, 1, None) is None


def test_what_is_no_word_of_a_container_is_none(tmp_path):
    assert outcome.read(tmp_path, 7) is None
    for text in ("", "{", "[]", '{"code": 1}'):
        (tmp_path / "status").write_text(text)
        assert outcome.read(tmp_path, 7) is None
    (tmp_path / "status").write_text(
        '{"main": 7, "state": "ended", "code": 3, "oom_kills": null, "later": 1}'
    )
    assert outcome.read(tmp_path, 8) is None
    assert outcome.read(tmp_path, 7) == Outcome(main=7, state="ended", code=3)
