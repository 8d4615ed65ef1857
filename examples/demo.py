"""`make demo`: two nodes on this machine, one deployment, shown; `CI=1` checks it and ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
MUSTER = [sys.executable, "-P", "-m", "muster"]
CHECKING = bool(os.environ.get("CI"))
RESULT = "10 values, sum 385"


def main() -> int:
    """Run it; 0 when all that was promised was seen."""
    directory = Path(tempfile.mkdtemp(prefix="muster-demo-"))
    os.environ["MUSTER_DATA_DIR"] = str(directory)
    os.environ.pop("MUSTER_URL", None)
    dev = subprocess.Popen([*MUSTER, "dev", "--agents", "2", "--data-dir", str(directory)])
    try:
        wait_for(lambda: (directory / "dev.json").exists() and len(nodes()) == 2, dev)
        show(dev, directory)
        if not CHECKING:
            sys.stdout.write("\nStays until Ctrl-C.\n")
            dev.wait()
        return 0
    except KeyboardInterrupt:
        return 0
    finally:
        end(dev)
        shutil.rmtree(directory, ignore_errors=True)


def show(dev: subprocess.Popen[bytes], directory: Path) -> None:
    """Deploy, and look at everything as a user would."""
    port = free_port()
    template = yaml.safe_load((HERE / "demo.yaml").read_text())
    command = template["task_groups"][0]["tasks"][2]["config"]["command"]
    command[0], command[-1] = sys.executable, str(port)
    file = directory / "demo.json"
    file.write_text(json.dumps(template))
    say("muster deploy examples/demo.yaml")
    subprocess.run([*MUSTER, "deploy", str(file), "--timeout", "60"], check=True)
    for command in ("nodes", "ps"):
        say(f"muster {command}")
        subprocess.run([*MUSTER, command], check=True)
    say(f"curl http://127.0.0.1:{port}/result.txt    # the analyser's result, by the web service")
    result = wait_for(lambda: fetch(f"http://127.0.0.1:{port}/result.txt"), dev)
    sys.stdout.write(result)
    if result.strip() != RESULT:
        raise SystemExit(f"expected {RESULT!r}")
    sys.stdout.flush()


def say(command: str) -> None:
    """Show a command before its output."""
    sys.stdout.write(f"\n$ {command}\n")
    sys.stdout.flush()


def nodes() -> list[dict[str, object]]:
    """The nodes that are online."""
    done = subprocess.run([*MUSTER, "nodes", "-o", "json"], capture_output=True, text=True, check=False)
    return [row for row in json.loads(done.stdout or "[]") if row["status"] == 0]


def fetch(url: str) -> str:
    """What a URL answers; nothing while it does not."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own service
            return str(answer.read().decode())
    except OSError:
        return ""


def wait_for(condition, dev):  # noqa: ANN001, ANN201 - anything that becomes true
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if dev.poll() is not None:
            raise SystemExit(f"muster dev ended with {dev.returncode}")
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit("the demo did not come up in 60 s")


def free_port() -> int:
    """A port for the web service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(dev: subprocess.Popen[bytes]) -> None:
    """End everything that was started."""
    if dev.poll() is None:
        dev.send_signal(signal.SIGINT)
    if dev.wait() not in (0, -signal.SIGINT):
        raise SystemExit(f"muster dev ended with {dev.returncode}")


if __name__ == "__main__":
    sys.exit(main())
