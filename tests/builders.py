"""Records as tests need them: everything has a default."""

from agentd.core.runs import Run, run_id
from manager_api.core.fleet import Fleet, Stored
from store.keys import version_field
from store.model import spec

GB = 1024**3
BOOT = "this boot"
FEATURES = ["process", "depends_on", "disconnect", "literal", "peers", "ports", "ulimits", "user"]


def a_task(name="main", command="/bin/true", **more):
    config = {"command": command, **more.pop("config", {})}
    return {"name": name, "config": config, **more}


def a_template(*tasks, name="etl", **group):
    return {"name": name, "task_groups": [{"tasks": list(tasks) or [a_task()], **group}]}


def an_alloc(*tasks, wanted="running", generation=1, rev=5, alloc_id="d.0"):
    return spec.allocation(
        alloc_id,
        {
            "rev": rev, "generation": generation, "wanted": wanted, "deployment": "d", "template": "etl",
            "group": "group-0", "index": 0, "tasks": list(tasks) or [a_task()],
        },
    )  # fmt: skip


def a_run(task="main", attempt=0, state="running", alloc="d.0", generation=1, role="main", **more):
    fields = {
        "id": run_id(alloc, task, generation, attempt, role), "role": role, "alloc": alloc, "task": task,
        "generation": generation, "attempt": attempt, "state": state, "pid": 100 + attempt, "start": 7,
        "code": None, "error": None, "lost": None, "started": 100.0, "started_wall": 1e9,
        "ended": None, "ended_wall": None, "stop_at": None, "boot": BOOT,
    }  # fmt: skip
    return Run(**{**fields, **more})


def ended(code=0, at=101.0, **more):
    return a_run(state="exited", code=code, ended=at, **more)


def a_fleet(epoch="1-aa"):
    return Fleet(epoch)


def add_node(fleet, node="web-1", *, online=True, memory=8 * GB, cpus=4, percent=10.0, cpu=5.0, **more):
    record = {
        "uid": f"uid-{node}", "hostname": f"host-{node}", "ip": "10.0.0.1", "addresses": ["10.0.0.1"],
        "version": "0.1.0", "features": [*FEATURES], "secret_sha256": "0" * 64,
        **more,
    }  # fmt: skip
    fleet.nodes[node] = Stored(record, 1)
    state = fleet.states[node]
    state.online = online
    state.beat = {
        "uid": record["uid"], "memory_total": memory, "cpus": cpus, "memory_percent": percent,
        "cpu_percent": cpu, "rev": 0, "epoch": fleet.epoch, "frozen": None,
    }  # fmt: skip
    state.desired_epoch, state.desired_uid, state.desired_rev = fleet.epoch, record["uid"], 1
    return state


def add_template(fleet, body, version=1):
    record = {"v": 1, "version": version, "body": body}
    fleet.versions[version_field(body["name"], version)] = Stored(record, 1)


def add_deployment(fleet, deployment="dep", template="etl", version=1, wanted="running", created=1e9):
    record = {"v": 1, "template": template, "version": version, "wanted": wanted, "created": created}
    fleet.deployments[deployment] = Stored(record, 3)
