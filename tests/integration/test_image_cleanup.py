"""The script that removes unused images, under an engine that is a script of the test's."""

import subprocess

import pytest

from manager_api.http.workspaces.image_cleanup import SCRIPT

pytestmark = pytest.mark.integration

IMAGES = """docker.io/library/redis:7 docker.io/library/redis:6 localhost/bb:1 reg:5000/team/app:latest
reg:5000/team/app:v2 docker.io/library/nginx:latest registry.example/other/nginx:1 <none>:<none> busy:1"""


def run(tmp_path, kept, engine="podman", images=IMAGES):
    said = tmp_path / "said"
    tool = tmp_path / engine
    lines = "\\n".join(images.split())
    tool.write_text(
        f'#!/bin/sh\ncase "$1" in\n  images) printf "{lines}\\n";;\n'
        f'  rmi) [ "$2" != busy:1 ] || {{ echo "in use" >&2; exit 2; }}; echo "$2" >> {said};;\n'
        f'  image) echo "$*" >> {said};;\nesac\n'
    )
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin" if engine == "podman" else f"{tmp_path}", "KEPT": kept}
    line = ["/bin/sh", "-c", SCRIPT if engine == "podman" else SCRIPT.replace("sort -u", "/usr/bin/sort -u")]
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return said.read_text().splitlines(), done.stdout


def test_what_no_template_names_and_no_container_uses_goes(tmp_path):
    gone, out = run(tmp_path, "redis:7 localhost/bb:1 reg:5000/team/app nginx")
    assert gone == [
        "docker.io/library/redis:6", "reg:5000/team/app:v2", "registry.example/other/nginx:1", "image prune --force",
    ]  # fmt: skip
    assert "kept, a template names it: docker.io/library/redis:7" in out


def test_docker_s_short_names_are_the_same_images(tmp_path):
    gone, _ = run(
        tmp_path,
        "docker.io/library/redis:7 docker.io/library/nginx",
        "docker",
        "redis:7 redis:6 nginx:latest",
    )
    assert gone == ["redis:6", "image prune --force"]


def test_a_node_without_engines_has_nothing_to_do(tmp_path):
    line = ["/bin/sh", "-c", SCRIPT]
    done = subprocess.run(line, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "neither podman nor docker is here\n")


def test_patterns_in_names_are_letters(tmp_path):
    """A template's image is anybody's text: it must not spare everything, nor name files."""
    gone, _ = run(tmp_path, "* [a-z]* redis:?", images="redis:7")
    assert gone == ["redis:7", "image prune --force"]
