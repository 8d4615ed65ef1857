"""What downloading children are told at their beginning."""

from dataclasses import replace
from pathlib import Path

import pytest

from agentd.artifacts import saying
from agentd.artifacts.pool import Pool
from agentd.core.files.items import Lane
from agentd.settings import AgentSettings
from transfer.hostkeys import HostKey, trust
from transfer.login import Login
from transfer.urls import parse

pytestmark = pytest.mark.unit

SERVER = parse("sftp://files.example/app.tgz")
KEY = HostKey("ssh-ed25519", b"key")
SETTINGS = AgentSettings(
    manager_url="http://127.0.0.1:1", hostname="n", interval=5.0, port=0, data_dir=Path("/nowhere"), log_file=None,
    policy=Path("/nowhere/policy.yaml"), cgroups="none", containers="none", log_quota=1 << 30,
)  # fmt: skip


@pytest.mark.parametrize("where", ["system", "home", "own"])
def test_a_server_is_known_by_the_files_of_the_machine_and_by_the_agents_own(tmp_path, monkeypatch, where):
    system, home = tmp_path / "ssh_known_hosts", tmp_path / ".ssh" / "known_hosts"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("transfer.hostkeys.KNOWN_HOSTS", ("~/.ssh/known_hosts", str(system)))
    own = tmp_path / "own"
    file = {"system": system, "home": home, "own": own}[where]
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{KEY.line(SERVER)}\n")
    settings = replace(SETTINGS, known_hosts=own if where == "own" else None)
    first = saying.begin(settings, Lane(SERVER.pool), None, (), None)
    files = tuple(Path(each) for each in first["known_hosts"])
    assert trust(SERVER, Login(known_hosts=files)).takes(KEY)


def test_a_child_understands_how_it_is_begun():
    first = saying.begin(SETTINGS, Lane(SERVER.pool), None, {"b", "a"}, None)
    assert (first["keep"], first["quota"]) == (["a", "b"], SETTINGS.artifact_quota)
    assert Pool(first, {}).resolve(str(SERVER)) == SERVER
