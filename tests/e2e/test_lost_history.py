"""From a store that lost its memory back to normal: no task stops, nothing is forgotten in silence."""

import contextlib
import json
import shutil
import signal

import psutil
import pytest

from tests.conftest import eventually
from tests.e2e.conftest import forget, pid_and_start, shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def service(name="t", **more):
    return {"name": name, "config": {"command": shell("exec sleep 600")}, "stop": {"timeout": "2s"}, **more}


def up(cluster, name="service"):
    deployment = cluster.deploy(name)
    return deployment, pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0])


def who(cluster, deployment):
    """Which process runs it; what a store that was put back says of a pid may be old for a moment."""

    def found():
        with contextlib.suppress(psutil.NoSuchProcess):
            return pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0])
        return None

    return eventually(found)


def unclaimed(cluster):
    return {row["deployment"]: row for row in cluster.call("/v1/unclaimed")[1].get("data", [])}


def thawed(cluster):
    return cluster.ready() and cluster.nodes().get("web-1", {}).get("frozen", "?") is None


def halt_manager(cluster):
    cluster.manager.send_signal(signal.SIGTERM)
    assert cluster.manager.wait(30) == 0


def epochs(cluster):
    found = cluster.client().hgetall("muster:epochs")
    return {key.decode(): json.loads(value) for key, value in found.items()}


def test_a_store_that_fell_back_goes_on_in_a_new_epoch_by_itself(running):
    running.post("service", service())
    kept, before = up(running)
    lost, _ = up(running)
    forget(running, lost)
    eventually(lambda: len(epochs(running)) == 2)
    about = next(each for name, each in epochs(running).items() if name.startswith("2-"))
    assert about["kind"] == "lost"
    assert f"deployments/{lost}" in about["lost"]
    eventually(lambda: thawed(running))
    assert who(running, kept) == before
    another, _ = up(running)
    assert another != lost
    eventually(lambda: lost in unclaimed(running))


def test_forgotten_work_is_unclaimed_until_it_is_adopted_or_stopped(running):
    running.post("service", service())
    running.post("jobs", service("a"), service("b"))
    (one, pid), (two, _) = up(running), up(running, "jobs")
    for key in ("muster:templates:versions", "muster:templates:versions:rev"):
        running.client().hdel(key, "1:service")
    forget(running, one, two)
    row = eventually(lambda: {one, two} <= (found := unclaimed(running)).keys() and found)[one]
    assert (row["node"], row["template"], row["tasks"][0]["state"]) == ("web-1", "service", "running")
    assert f"{two}.0" in running.muster("unclaimed").stdout
    assert "run unclaimed" in running.muster("ps").stderr

    done = running.muster("adopt", one[:8])
    assert (done.returncode, done.stdout.strip()) == (0, one), done.stderr
    assert who(running, one) == pid
    assert unclaimed(running).keys() == {two}
    done = running.muster("stop", "--unclaimed", "--replicated", two)
    assert done.returncode == 0, done.stderr
    assert "no replica of the store confirmed it" in done.stderr
    assert unclaimed(running) == {}
    assert running.call(f"/deployments/{two}")[0] == 404
    eventually(lambda: running.client().hlen("muster:claims") == 0)

    assert running.muster("stop", one).returncode == 0
    running.wait(one, "STOPPED")
    three, _ = up(running, "jobs")
    forget(running, three)
    eventually(lambda: three in unclaimed(running))
    assert running.muster("adopt", three).returncode == 0
    who(running, three)
    names = {row["name"] for row in running.call("/v1/templates")[1]["data"]}
    assert names == {"service", "jobs"}, "a template that is still there is not made again"
    wrong = running.muster("adopt", "nothing")
    assert (wrong.returncode, "nothing unclaimed belongs to" in wrong.stderr) == (4, True)
    assert running.muster("adopt").returncode == 2


@pytest.mark.parametrize("restarted", [False, True], ids=["flushed", "flushed and restarted"])
def test_an_emptied_store_is_recovered_and_its_work_adopted(running, restarted):
    running.post("service", service())
    one, pid = up(running)
    two, _ = up(running)
    backup = running.db.read_bytes()
    running.client().flushall()
    if restarted:
        halt_manager(running)
        running.start_manager(wait=False)
    eventually(lambda: "data lost" in str(running.call("/readyz")[1]) if alive(running) else False, 40)
    assert running.call("/v1/templates")[0] == 503

    plan = running.muster("recover")
    assert plan.returncode == 1
    assert "with --yes" in plan.stderr
    assert "would be shut out" in running.muster("recover", "--cluster", "f" * 32).stderr
    assert running.client().exists("muster:meta") == 0
    done = running.muster("recover", "--yes")
    assert done.returncode == 0, done.stderr
    assert running.muster("recover", "--yes").returncode == 1  # not empty any more
    eventually(lambda: {one, two} <= unclaimed(running).keys(), 60)
    done = running.muster("adopt", "--all")
    assert done.returncode == 0, done.stderr
    assert who(running, one) == pid
    eventually(lambda: thawed(running), 40)
    running.stop(two)
    running.wait(two, "STOPPED")
    up(running)  # its template was made again, too
    kept = eventually(lambda: list(running.db.parent.glob("*.before-*")))
    assert len(kept[0].read_bytes()) >= len(backup) // 2


def alive(cluster):
    try:
        cluster.call("/healthz")
    except OSError:
        return False
    return True


def test_a_backup_put_back_counts_and_stops_nothing(running):
    """Yesterday's backup: what ran then and runs now, what was stopped, restarted or begun since."""
    running.post("service", service())
    (same, pid), (stopped, _), (again, _) = up(running), up(running), up(running)
    halt_manager(running)  # the snapshot holds everything then
    shutil.copy(running.db, running.home / "backup")
    running.start_manager()
    eventually(lambda: thawed(running), 40)
    running.stop(stopped)
    running.wait(stopped, "STOPPED")
    assert running.muster("restart", again).returncode == 0
    restarted = who(running, again)
    later, younger = up(running)

    halt_manager(running)
    shutil.copy(running.home / "backup", running.db)
    running.start_manager()
    eventually(lambda: thawed(running), 40)
    assert who(running, same) == pid
    assert who(running, again) == restarted
    assert who(running, stopped)  # the backup says that it runs
    eventually(lambda: later in unclaimed(running), 40)
    assert running.muster("adopt", "--all").returncode == 0
    assert who(running, later) == younger
