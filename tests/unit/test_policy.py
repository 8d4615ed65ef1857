"""The node's own policy: what it forbids, and that it cannot be stepped around."""

import os
import pwd

import pytest

from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.policy import Forbidden, Policy
from agentd.sentences import CannotStart
from store.model.policies import Container
from tests.builders import a_task, an_alloc

pytestmark = pytest.mark.unit
OTHER = pwd.getpwnam("nobody")


@pytest.fixture
def policy(tmp_path):
    def make(text):
        (tmp_path / "policy.yaml").write_text(text)
        return Policy(tmp_path / "policy.yaml")

    return make


def test_without_a_file_all_is_allowed(tmp_path):
    found = Policy(tmp_path / "none.yaml")
    found.check_user(0, 0)
    found.check_command("/bin/sh", ["LD_PRELOAD"])
    assert found.problem() is None


def test_a_group_is_not_a_way_around_the_user(policy):
    found = policy("users: [nobody]\n")
    found.check_user(OTHER.pw_uid, OTHER.pw_gid)
    with pytest.raises(Forbidden, match="does not list group 42"):
        found.check_user(OTHER.pw_uid, 42)
    policy("users: [nobody]\ngroups: [42]\n").check_user(OTHER.pw_uid, 42)
    with pytest.raises(Forbidden, match="forbids tasks of root"):
        policy("forbid_root: true\n").check_user(OTHER.pw_uid, 0)


def test_links_and_steering_variables_are_no_way_around_the_commands(policy, tmp_path):
    found = policy(f"commands: ['{tmp_path}/apps/*']\n")
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "sh").symlink_to("/bin/sh")
    (tmp_path / "apps" / "ok").write_text("")
    found.check_command(str(tmp_path / "apps" / "ok"), ["A"])
    with pytest.raises(Forbidden, match="does not list the command"):
        found.check_command(str(tmp_path / "apps" / "sh"), ())
    for name in ("LD_PRELOAD", "BASH_ENV", "PYTHONSTARTUP"):
        with pytest.raises(Forbidden, match=f"{name} could make one run another"):
            found.check_command(str(tmp_path / "apps" / "ok"), [name])


@pytest.mark.parametrize(
    ("rules", "container", "user", "says"),
    [
        ("containers: false", Container(image="a"), None, "forbids containers"),
        ("images: ['reg/*']", Container(image="other/x"), None, "does not list the image other/x"),
        (
            "mounts: ['/srv/*']",
            Container(image="a", mounts=("/etc:/e",)),
            None,
            "does not list the mount /etc",
        ),
        ("forbid_root: true", Container(image="a"), "0:5", "forbids tasks of root"),
        ("users: ['5']", Container(image="a"), "6", "does not list user 6"),
    ],
)
def test_containers_have_their_rules(policy, rules, container, user, says):
    with pytest.raises(Forbidden, match=says):
        policy(rules).check_container(container, user)


def test_a_file_that_cannot_be_read_allows_nothing_until_it_is_mended(policy):
    found = policy("commands: 5\n")
    with pytest.raises(Forbidden, match=r"nothing is allowed: commands: not one of"):
        found.check_command("/bin/true", ())
    assert "nothing is allowed" in found.problem()
    policy("commands: ['*']\n")
    found.check_command("/bin/true", ())


def test_a_relative_command_is_that_of_the_task_s_directory(tmp_path, policy, monkeypatch):
    """What is checked is what is executed: not what the agent's own directory holds by that name."""
    monkeypatch.chdir(tmp_path)
    for place in ("good", "evil"):
        (tmp_path / place / "apps").mkdir(parents=True)
        (tmp_path / place / "apps" / "run.sh").write_text("")
    rules = policy(f"commands: ['{tmp_path}/good/*']\n")
    (tmp_path / "apps").symlink_to(tmp_path / "good" / "apps")
    launcher = Launcher(tmp_path, Identity("n", "u", "s", "m"), rules, None)
    evil = an_alloc(a_task(config={"command": ["apps/run.sh"], "cwd": str(tmp_path / "evil")}))
    with pytest.raises(CannotStart, match="does not list the command"):
        launcher.order(evil, evil.tasks[0], "r", "main")
    good = an_alloc(a_task(config={"command": ["apps/run.sh"], "cwd": str(tmp_path / "good")}))
    assert launcher.order(good, good.tasks[0], "r", "main")["path"] == str(
        tmp_path / "good" / "apps" / "run.sh"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become")
def test_a_group_beside_root_is_not_forgotten(tmp_path, policy):
    launcher = Launcher(tmp_path, Identity("n", "u", "s", "m"), policy(""), None)
    alloc = an_alloc(a_task(config={"command": "/bin/true", "user": "0:33"}))
    order = launcher.order(alloc, alloc.tasks[0], "r", "main")
    assert (order["uid"], order["gid"]) == (0, 33)


@pytest.mark.parametrize(
    ("rules", "patterns"),
    [
        ("", None),
        ("commands: ['/bin/*']\n", None),
        ("forbid_root: false\n", None),
        ("forbid_root: true\n", []),
        ("users: [daemon]\n", []),
        ("users: [daemon]\nfiles: ['/srv/*', '/opt/*']\n", ["/srv/*", "/opt/*"]),
        ("files: []\n", []),
        ("files: no\n", []),
    ],
)
def test_files_of_the_node_are_for_all_unless_users_are_not_all_alike(policy, rules, patterns):
    assert policy(rules).files() == patterns


def test_without_a_policy_all_files_may_be_brought(tmp_path):
    assert Policy(tmp_path / "none.yaml").files() is None
