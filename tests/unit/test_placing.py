"""What placement, the plan, the desired entries and the agents expect of each other."""

import pytest

from agentd import facts
from agentd.executor import OF_OLD_KEEPERS
from manager_api.core import project
from manager_api.core.peering import Peers
from store.codec import dumps, loads
from store.model import spec
from tests.builders import a_task, a_template
from tests.core_world import Case

pytestmark = pytest.mark.unit

EVERYTHING = a_task(
    "web",
    command="/bin/web ${text.dollar}{HOME} ${port.http}",
    config={"user": "nobody", "umask": "0027"},
    ulimits={"nofile": 1000},
    ports={"http": 0, "admin": 9000},
    depends_on={"side": "started", "db.server": "2 healthy"},
    resources={"reservations": {"memory": "64M"}, "limits": {"memory": "128M"}},
    healthcheck={"tcp": 9000},
    logs={"max_size": "1M"},
    duration="1h",
    hooks={"pre_start": "/bin/true"},
)


def test_an_agent_claims_all_that_a_process_can_ask_of_it():
    body = a_template(EVERYTHING, a_task("side"), on_disconnect={"stop_after": "30s"})
    asked = spec.groups(body)[0].tasks[0].features
    assert {"literal", "peers", "ports", "disconnect"} <= asked
    assert asked <= set(facts.FEATURES)


def test_an_old_keeper_starts_what_is_new_to_the_brain_alone():
    """An agent that was upgraded over running tasks has the keeper of before."""
    assert {"literal", "peers", "ports"} <= OF_OLD_KEEPERS


def test_an_order_says_all_that_its_agent_needs_and_nothing_that_is_ours():
    case = Case(
        a_task("web", ports={"http": 0, "admin": 9000}, depends_on={"side": "started"}),
        a_task("side", config={"driver": "container", "image": "nginx", "ports": ["8080:80"]}),
        features=facts.features({"name": "docker"}),
        on_disconnect={"stop_after": "30s"}, duplicates="never", reschedule={"after": "120s"},
    ).begin()  # fmt: skip
    ((alloc_id, data),) = case.live.items()
    assert data["published"] == [8080], "kept, so that the port stays taken"
    order = loads(dumps({**project.entry(case.fleet, data, Peers(case.fleet)), "rev": 7}))
    assert not {"published", "why", "memory", "cpus", "node", "uid", "part"} & order.keys()
    assert order["duplicates"] == "never"
    found = spec.allocation(alloc_id, order)
    assert found.ports == data["ports"]
    assert found.ports["web"]["admin"] == 9000
    assert found.stop_after == 30.0
    assert [task.name for task in found.tasks] == ["web", "side"]
    assert found.tasks[0].depends_on == {"side": "started"}
