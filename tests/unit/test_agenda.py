"""What is planned next, and what waits a little: by a clock that the test owns."""

import pytest

from manager_api.controller.agenda import ALLOCATIONS_PER_SECOND, PEERS_EVERY, PROMPT, ROOM_EVERY, Agenda
from manager_api.controller.intake import FEW, Intake
from manager_api.controller.pace import Paced
from manager_api.core.fleet import Stored
from store.codec import dumps
from store.keys import ALLOCATIONS, CONTROLS, DEPLOYMENTS, NODES, NODES_STATUS, STATUS, VERSIONS
from store.kv.api import Record
from tests.builders import a_fleet

pytestmark = pytest.mark.unit


class World:
    def __init__(self, clock):
        self.clock, self.fleet, self.forgotten = clock, a_fleet(), []
        self.agenda = Agenda(self.fleet, clock)
        self.intake = Intake(self.fleet, self.agenda, clock, self.forgotten.append)
        self.rev = 0

    def put(self, collection, field, **data):
        self.rev += 1
        self.intake.take(collection, field, Record(dumps({"v": 1, **data}), self.rev))

    def drop(self, collection, field):
        self.intake.take(collection, field, None)

    def version(self, number=1, **group):
        body = {"name": "etl", "task_groups": [{"tasks": [], **group}]}
        self.put(VERSIONS, f"{number}:etl", body=body)

    def deploy(self, name="big", **more):
        self.put(DEPLOYMENTS, name, template="etl", version=1, wanted="running", created=1.0, **more)

    def status(self, name="big", status="RUNNING", **more):
        self.put(STATUS, name, status=status, reason="", allocations=[], **more)

    def allocate(self, number, deployment="big", node=None, generation=1, **more):
        data = {"deployment": deployment, "node": node or f"n{number}", "generation": generation,
                "wanted": "running", "memory": 1, "cpus": 0.0, "template": "etl", **more}  # fmt: skip
        self.put(ALLOCATIONS, f"{deployment}.{number}", **data)

    def calm(self):
        self.agenda.deployments, self.agenda.nodes = set(), set()


@pytest.fixture
def world(clock):
    return World(clock)


def test_the_first_to_ask_has_its_turn_and_then_once_in_a_pause():
    paced = Paced()
    assert paced.ask("a", 10.0, 2.0)
    assert not paced.ask("a", 10.5, 2.0)
    assert not paced.ask("a", 11.0, 2.0)
    assert paced.ask("b", 11.0, 2.0)
    assert (paced.next(), paced.take(11.9), paced.take(12.0), paced.take(99.0)) == (12.0, [], ["a"], [])
    assert not paced.ask("a", 13.0, 2.0)  # the turn that was taken late counts
    paced.keep(["b"])
    assert paced.take(14.0) == ["a"]  # who waits is not forgotten


def test_reports_on_a_large_deployment_are_gathered_and_none_is_lost(world):
    size = 5 * PROMPT
    for number in range(size):
        world.allocate(number)
    world.calm()
    world.agenda.reported("n0")
    assert world.agenda.deployments == {"big"}
    world.calm()
    for number in range(1, size):
        world.agenda.reported(f"n{number}")
    assert world.agenda.deployments == set()
    assert len(world.agenda.nodes) == size - 1  # the nodes themselves wait for nothing
    due = world.agenda.next()
    assert due == world.clock.now() + size / ALLOCATIONS_PER_SECOND
    world.agenda.awaken(due - 0.001)
    assert world.agenda.deployments == set()
    world.agenda.awaken(due)
    assert world.agenda.deployments == {"big"}


def test_every_report_on_a_small_deployment_has_it_planned(world):
    world.allocate(0)
    for _ in range(3):
        world.calm()
        world.agenda.reported("n0")
        assert world.agenda.deployments == {"big"}


def test_what_a_user_asks_of_a_large_deployment_waits_for_no_pace(world):
    for number in range(2 * PROMPT):
        world.allocate(number)
    world.agenda.reported("n0")
    world.calm()
    world.deploy(restart=1)
    assert world.agenda.deployments == {"big"}


def test_a_deployment_that_is_to_be_woken_is_planned_then_and_once(world):
    now = world.clock.now()
    world.agenda.wake("d", now + 9)
    world.agenda.wake("d", now + 5)
    world.agenda.wake("d", now + 7)
    assert world.agenda.next() == now + 5
    world.agenda.awaken(now + 4.9)
    assert world.agenda.deployments == set()
    world.agenda.awaken(now + 5)
    assert (world.agenda.deployments, world.fleet.due) == ({"d"}, {})
    world.calm()
    world.agenda.awaken(now + 99)
    assert world.agenda.deployments == set()


def test_the_nodes_of_a_deployment_are_planned_when_one_of_its_peers_moved(world):
    world.allocate(0)
    world.allocate(1)
    world.calm()
    world.agenda.reported("n0")
    assert world.agenda.nodes == {"n0"}
    world.fleet.peered.add("big")
    world.calm()
    world.allocate(2)
    assert world.agenda.nodes == {"n0", "n1", "n2"}
    world.calm()
    world.agenda.reported("n0")
    assert world.agenda.nodes == {"n0"}
    world.agenda.awaken(world.clock.now() + PEERS_EVERY)
    assert world.agenda.nodes == {"n0", "n1", "n2"}


def test_those_that_miss_something_are_planned_when_there_is_room_but_not_without_end(world):
    world.version()
    for name in ("hungry", "content", "new"):
        world.deploy(name)
    world.status("hungry")
    world.status("content")
    world.fleet.hungry.add("hungry")
    assert world.fleet.undecided == {"new"}
    for number in range(3):
        world.allocate(number, "other")
    world.calm()
    world.allocate(0, "other", wanted="stopped")
    assert world.agenda.deployments == {"other", "hungry"}
    world.calm()
    world.drop(ALLOCATIONS, "other.1")
    assert world.agenda.deployments == {"other"}
    world.agenda.awaken(world.clock.now() + ROOM_EVERY)
    assert world.agenda.deployments == {"other", "hungry"}
    world.drop(DEPLOYMENTS, "new")
    assert world.fleet.undecided == set()


def test_what_ends_makes_room(world):
    world.deploy("hungry")
    world.status("hungry")
    world.fleet.hungry.add("hungry")
    world.deploy()
    world.allocate(0)
    world.status()
    world.calm()
    world.clock.advance(ROOM_EVERY)
    world.status(status="COMPLETED")
    assert world.agenda.deployments == {"big", "hungry"}


def test_a_node_that_changes_concerns_who_is_there_who_misses_something_and_who_wants_all(world):
    world.version()
    world.version(2, count="all")
    for name in ("there", "hungry", "all", "other"):
        world.deploy(name)
        world.status(name)
    world.fleet.hungry.add("hungry")
    world.fleet.everywhere.add("all")
    world.allocate(0, "there", node="web-1")
    world.clock.advance(ROOM_EVERY)
    world.calm()
    world.put(NODES, "web-1", uid="u", labels={"zone": "a"})
    assert (world.agenda.deployments, world.agenda.nodes) == ({"there", "hungry", "all"}, {"web-1"})
    world.drop(NODES, "web-1")
    assert world.forgotten == ["web-1"]


def test_since_when_an_allocation_is_ordered_is_known_until_its_generation_changes(world):
    began = world.clock.now()
    world.allocate(0)
    world.clock.advance(5)
    world.allocate(0, adjusted=1)
    assert world.fleet.ordered == {"big.0": (1, began)}
    world.allocate(0, generation=2)
    assert world.fleet.ordered == {"big.0": (2, began + 5)}
    world.drop(ALLOCATIONS, "big.0")
    assert world.fleet.ordered == {}


def test_a_status_of_a_large_deployment_moves_only_nodes_with_tombstones_until_it_ends(world):
    world.deploy()
    for number in range(FEW + 1):
        world.allocate(number)
    world.allocate(3, wanted="stopped")
    world.calm()
    world.status()
    assert world.agenda.nodes == {"n3"}
    world.status(status="STOPPED")
    assert len(world.agenda.nodes) == FEW + 1


def test_what_the_leader_says_of_a_node_and_what_people_decide_for_all_is_mirrored(world):
    world.allocate(0, node="gone")
    world.fleet.states["gone"].online = False
    world.calm()
    world.put(NODES_STATUS, "gone", drain={"state": "done"})
    assert (world.agenda.deployments, world.agenda.nodes) == ({"big"}, {"gone"})
    world.calm()
    world.put(CONTROLS, "brake", release=3)
    assert (world.agenda.deployments, world.agenda.nodes) == ({"big"}, {"gone"})
    assert world.fleet.controls["brake"] == Stored({"v": 1, "release": 3}, world.rev)
    assert world.fleet.nodes_status["gone"].data["drain"] == {"state": "done"}
