"""The image of the manager: built over a bare Debian, run as its user would, ended by its signal."""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import eventually, need
from tests.e2e.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "ops/docker/Dockerfile"
PACKAGES = "python3,python3-distutils,python3.11,python3.11-venv,ca-certificates"
LIMITS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]


def run(*words, seconds=900):
    return subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=True).stdout


@pytest.mark.unit
def test_what_it_copies_is_there_and_what_it_promises_is_said():
    text = FILE.read_text()
    assert {
        "EXPOSE 8080 8082",
        "VOLUME /var/lib/muster",
        "USER 10001:10001",
        'ENTRYPOINT ["manager"]',
    } <= set(text.splitlines())
    named = [word for word in text.split() if word.startswith("requirements/")]
    assert named
    assert all((ROOT / word).exists() for word in named)


@pytest.mark.e2e
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_it_is_built_and_serves_and_keeps_its_data(tmp_path):
    for tool in ("podman", "debootstrap"):
        need(shutil.which(tool), tool)
    base, image, name, port = (
        "localhost/muster-test-base",
        "localhost/muster-test",
        "muster-test",
        free_port(),
    )
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tmp_path / "root"))
    run("tar", "-C", str(tmp_path / "root"), "-cf", str(tmp_path / "base.tar"), ".")
    run("podman", "import", str(tmp_path / "base.tar"), base)
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"  # whatever this machine trusts, the build does
    run("podman", "build", "--network", "host", "-v", certificates, "--build-arg", f"BASE={base}", "-t", image,
        "-f", str(FILE), str(ROOT))  # fmt: skip
    start = ["podman", "run", "-d", "--name", name, "--network", "host", "--runtime", "runc", *LIMITS,
             "-v", f"{name}:/var/lib/muster", image, "--port", str(port)]  # fmt: skip
    template = {"name": "kept", "task_groups": [{"tasks": [{"name": "t", "config": {"command": "true"}}]}]}
    url = f"http://127.0.0.1:{port}"
    try:
        for life in range(2):
            run(*start)
            eventually(lambda: _answers(f"{url}/readyz"), 60)
            if life == 0:
                asked = urllib.request.Request(
                    f"{url}/api/task/task_group", data=json.dumps(template).encode()
                )
                urllib.request.urlopen(asked, timeout=20).close()
            else:
                assert b"kept" in _answers(f"{url}/v1/templates")
            run("podman", "stop", "-t", "30", name)
            assert run("podman", "inspect", name, "--format", "{{.State.ExitCode}}").strip() == "0"
            run("podman", "rm", name)
    finally:
        subprocess.run(["podman", "rm", "-f", name], check=False, capture_output=True)
        subprocess.run(["podman", "volume", "rm", name], check=False, capture_output=True)
        subprocess.run(["podman", "rmi", image, base], check=False, capture_output=True)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read()
    except OSError:
        return b""
