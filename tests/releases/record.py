"""Records what a release says: `python tests/releases/record.py tests/releases/0.1.0.tar.gz`.

Runs its manager and agent, and writes the shapes that other releases must go on reading, as JSON beside it.
"""

import http.server
import json
import shutil
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.conftest import eventually
from tests.e2e.conftest import Cluster

TASK = {
    "name": "main",
    "config": {"command": ["/bin/sh", "-c", "exec sleep 600"], "env": {"A": "b"}},
    "resources": {"reservations": {"memory": "16M", "cpus": "0.1"}},
    "restart": {"condition": "on-failure", "delay": "1s"},
    "stop": {"signal": "SIGTERM", "timeout": "5s"},
    "ulimits": {"nofile": 1024},
}


NEUTRAL = {"addresses": ["10.0.0.1"], "ip": "10.0.0.1", "hostname": "host-web-1", "kernel": "6.1.0"}


class Eavesdropper(http.server.BaseHTTPRequestHandler):
    """Between agent and manager: hears the join."""

    manager, heard = "", {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = urllib.request.Request(self.manager + self.path, data=body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            said = answer.read()
        self.heard.update(join_request=json.loads(body), join_answer=json.loads(said))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


class Recorded(Cluster):
    """A cluster of a release."""

    def environment(self):
        """Of this release, unless another one lies there."""
        release = self.home / "release"
        return super().environment() | ({"PYTHONPATH": str(release)} if release.exists() else {})

    def record(self):
        self.start_manager()
        Eavesdropper.manager = self.url
        between = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Eavesdropper)
        threading.Thread(target=between.serve_forever, daemon=True).start()
        self.start_agent(**{"manager-url": f"http://127.0.0.1:{between.server_port}"})
        deployment = self.deploy(self.post("etl", TASK))
        self.wait(deployment, "RUNNING")
        client, node = self.client(), "muster:n:{web-1}:"

        def one(name, key, field):
            return {name: json.loads(client.hget(f"muster:{key}", field))}

        def settled():
            beat = json.loads(client.get(f"{node}hb") or "{}")
            return beat if beat.get("running") == 1 else None

        found = {**Eavesdropper.heard, "heartbeat": eventually(settled)}
        found |= one("node", "nodes", "web-1") | one("template", "templates", "etl")
        found |= one("version", "templates:versions", "1:etl") | one("deployment", "deployments", deployment)
        found |= one("status", "deployments:status", deployment)
        alloc = f"{deployment}.0"
        found |= one("allocation", "allocations", alloc)
        found |= one("desired", "n:{web-1}:desired", alloc) | one("actual", "n:{web-1}:actual", alloc)
        facts = {key.decode(): json.loads(raw) for key, raw in client.hgetall(f"{node}facts").items()}
        return {**found, "facts": facts, "id": deployment}


def plain(found):
    """Without what tells of the machine it was recorded on."""
    if isinstance(found, list):
        return [plain(each) for each in found]
    if not isinstance(found, dict):
        return found
    return {key: NEUTRAL.get(key, plain(value)) for key, value in found.items()}


def main():
    archive = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        shutil.unpack_archive(archive, Path(home) / "release")
        cluster = Recorded(Path(home))
        try:
            found = cluster.record()
        finally:
            cluster.end()
    beside = archive.with_name(archive.name.removesuffix(".tar.gz") + ".json")
    beside.write_text(json.dumps(plain(found), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
