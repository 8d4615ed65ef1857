"""The inventory under many hands, and with many devices, on a real store."""

import concurrent.futures
import csv
import io
import random
import resource
import threading
import time

import falcon.testing
import orjson
import psutil
import pytest

from manager_api.core import device_csv
from manager_api.http.inventory import device_files
from manager_api.http.inventory.device_schema import DEVICE
from manager_api.inventory import agreement, leftovers, memberships, search
from store.keys import DEVICES
from tests.conftest import SOAK
from tests.fakes import Manager
from tests.inventory import check, least_peak, numbered, peak, seed, seed_group

pytestmark = pytest.mark.integration

EDITORS = 50
ROUNDS = 20 if SOAK else 2
MANY = 100_000 if SOAK else 5000
GROUP = "9000000000"


@pytest.fixture
def manager(store):
    return Manager(store)


def together(*works):
    """Every piece of work in a thread of its own, all begun at the same moment; what they gave."""
    gate = threading.Barrier(len(works))

    def begin(work):
        gate.wait(30)
        return work()

    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(begin, work) for work in works]]


def call(manager, method, path, body=None, **more):
    answer = manager.http.simulate_request(method, path, json=body, **more)
    assert answer.status_code < 500, answer.text
    return answer


def made(answer):
    assert answer.status_code == 200, answer.text
    return answer.json["data"]


# -- many hands


def test_no_update_of_50_concurrent_editors_is_lost(manager):
    """Each adds one to a counter, with If-Match; half of them by the contract's PUT."""
    counters = [made(call(manager, "POST", "/v1/devices", {**DEVICE, "name": "0"})) for _ in range(5)]
    refused = []

    def add(device, by_path):
        path = f"/v1/devices/{device}"
        while True:
            seen = call(manager, "GET", path)
            body = {"name": str(int(seen.json["name"]) + 1)}
            where = (path, body) if by_path else ("/v1/devices", {"id": device, **body})
            answer = call(manager, "PUT", *where, headers={"If-Match": seen.headers["ETag"]})
            if answer.status_code == 200:
                return
            assert answer.status_code == 412, answer.text
            refused.append(device)

    def edit(number):
        for turn in range(ROUNDS):
            add(counters[(number + turn) % 5], number % 2)

    together(*(lambda number=number: edit(number) for number in range(EDITORS)))
    names = [call(manager, "GET", f"/v1/devices/{each}").json["name"] for each in counters]
    assert sum(map(int, names)) == EDITORS * ROUNDS
    assert refused, "they did not get into each other's way: nothing is shown"
    check(manager.store, swept=True)


def test_no_id_is_given_twice_and_no_name_either(manager, monkeypatch):
    """Ids are drawn from so few that the same are drawn again and again."""
    draws = random.Random(1)
    for room in ("devices", "groups"):
        monkeypatch.setattr(
            f"manager_api.inventory.{room}.new_id", lambda: str(10**9 + draws.randrange(2 * EDITORS))
        )

    def make(number):
        device = made(call(manager, "POST", "/v1/devices", {**DEVICE, "name": str(number)}))
        answer = call(manager, "POST", "/v1/groups", {"name": f"group {number % 5}"})
        assert answer.status_code in (200, 409)
        return device, answer.json.get("data")

    found = together(*(lambda number=number: make(number) for number in range(EDITORS)))
    records, groups = check(manager.store, swept=True)
    assert {device for device, _ in found} == records.keys()
    assert len(records) == EDITORS
    assert {group for _, group in found if group} == groups.keys()
    assert len(groups) == 5


def test_memberships_agree_while_devices_and_groups_come_and_go(manager):
    devices = [made(call(manager, "POST", "/v1/devices", DEVICE)) for _ in range(15)]
    groups = [made(call(manager, "POST", "/v1/groups", {"name": f"g{n}"})) for n in range(8)]
    kept = made(call(manager, "POST", "/v1/groups", {"name": "kept"}))
    stays = made(call(manager, "POST", "/v1/devices", DEVICE))

    def one(draws):
        device, group = draws.choice([*devices, stays]), draws.choice([*groups, kept])
        some = draws.sample(groups, 3)
        call(manager, *draws.choice([
            ("POST", "/v1/memberships", {"device_id": device, "group_id": group}),
            ("POST", "/v1/memberships", {"device_id": device, "group_id": kept}),
            ("PUT", "/v1/memberships", {"device_id": device, "group_ids": some}),
            ("DELETE", "/v1/memberships", {"device_id": device, "group_id": draws.choice(groups)}),
            ("PUT", "/v1/devices", {"id": device, "name": str(draws.random()), "hardware": {"sn": str(draws.randrange(3))}}),
            ("PUT", "/v1/groups", {"id": group, "description": str(draws.random())}),
        ]))  # fmt: skip

    def hand(number):
        draws = random.Random(number)
        for turn in range(ROUNDS * 3):
            one(draws)
            if turn == ROUNDS and number < 10:
                call(manager, "DELETE", "/v1/devices", {"ids": [devices[number]]})
            if turn == ROUNDS and 10 <= number < 16:
                call(manager, "DELETE", "/v1/groups", {"ids": [groups[number - 10]]})

    together(*(lambda number=number: hand(number) for number in range(EDITORS)))
    check(manager.store, swept=False)
    call(manager, "POST", "/v1/memberships", {"device_id": stays, "group_id": kept})
    pairs = call(manager, "GET", "/v1/memberships").json
    assert {each["device_id"] for each in pairs["data"]} <= {*devices[10:], stays}
    assert {each["group_id"] for each in pairs["data"]} <= {*groups[6:], kept}
    assert f"{stays}-{kept}" in {each["id"] for each in pairs["data"]}
    assert pairs["total"] == len(pairs["data"]) == memberships.count(manager.store)
    while leftovers.collect_all(manager.store, 3):
        pass
    check(manager.store, swept=True)
    assert call(manager, "GET", "/v1/memberships").json["data"] == pairs["data"], "nobody saw what was swept"


# -- many devices


def streamed(manager, path, query=""):
    """The pieces of an answer, each gone when the next is asked for."""
    env = falcon.testing.create_environ(path=path, query_string=query)
    said = []
    app = manager.http.app
    pieces = app(env, lambda status, headers, *_: said.append(status))
    assert said == ["200 OK"]
    yield from pieces


def page_through(manager, path, query, limit=1000):
    cursor = None
    while True:
        params = {**query, "limit": limit} | ({"cursor": cursor} if cursor else {})
        answer = call(manager, "GET", path, params=params).json
        yield answer
        if (cursor := answer["next"]) is None:
            return


def look_up(manager, count):
    """Everything that is asked of a large inventory, and whether it is right; milliseconds of each."""
    members = [numbered(n)["id"] for n in range(0, count, 10)]
    took = {}

    def ask(name, path, **query):
        begun = time.perf_counter()
        answer = call(manager, "GET", path, params=query).json
        took[name] = (time.perf_counter() - begun) * 1000
        return [each["id"] for each in answer["data"]], answer["total"]

    wanted = numbered(count - 1)
    assert ask("by sn", "/v1/devices", sn=wanted["hardware"]["sn"]) == ([wanted["id"]], 1)
    assert ask("by id", "/v1/devices", id=wanted["id"]) == ([wanted["id"]], 1)
    ids, total = ask("by sn and model", "/v1/devices", sn=wanted["hardware"]["sn"], model="T-")
    assert (ids, total) == ([wanted["id"]], 1)
    ids, total = ask("page by model", "/v1/devices", model="-07", limit=100)
    assert (len(ids), total) == (100, count // 20)
    ids, total = ask("page", "/v1/devices", limit=100)
    assert (ids, total) == ([numbered(n)["id"] for n in range(100)], count)
    ids, total = ask("page by name", "/v1/devices", limit=100, sort="-name")
    names = sorted((numbered(n)["name"], numbered(n)["id"]) for n in range(count))
    assert (ids, total) == ([each for _, each in names[:-101:-1]], count)
    ids, total = ask("members, page", f"/v1/groups/{GROUP}/devices", limit=100)
    assert (ids, total) == (members[:100], len(members))
    ids, total = ask("members by name", f"/v1/groups/{GROUP}/devices", limit=100, sort="name")
    assert total == len(members)
    assert ids == [each for _, each in names if each in set(members)][:100]
    ids, total = ask("memberships of a group", "/v1/memberships", group_id=GROUP)
    assert (ids, total) == ([f"{each}-{GROUP}" for each in members], len(members))
    return took


def walk_and_stream(manager, count):
    everybody = [numbered(n)["id"] for n in range(count)]
    begun = time.perf_counter()
    pages = list(page_through(manager, "/v1/devices", {"fields": "id"}))
    assert [each["id"] for page in pages for each in page["data"]] == everybody
    walked = time.perf_counter() - begun
    size, most = least_peak(lambda: sum(len(piece) for piece in streamed(manager, "/v1/devices")))
    return walked, size, most


def test_a_large_inventory_is_answered_right_and_in_bounded_memory(manager, monkeypatch):
    monkeypatch.setattr(search, "BATCH", 100)
    seed_group(manager.store, GROUP, "tenth")
    seed(manager.store, 5000, GROUP)
    look_up(manager, 5000)
    _, size, most = walk_and_stream(manager, 5000)
    assert size > 1_250_000
    assert most < size / 2, "all of it was in memory at once"
    whole = orjson.loads(b"".join(streamed(manager, "/v1/devices")))
    assert [each["id"] for each in whole["data"]] == [numbered(n)["id"] for n in range(5000)]
    assert (whole["total"], whole["next"], whole["status"]) == (5000, None, 200)
    monkeypatch.setattr(agreement, "BATCH", 50)
    manager.store.client.delete(manager.store.keys.index(DEVICES))
    mended, most = peak(lambda: agreement.mend(manager.store))
    assert mended.lacking.count == 4 * 5000 + 500
    assert most < size / 2
    check(manager.store, swept=True)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_100_000_devices(manager):
    count = 100_000
    seed_group(manager.store, GROUP, "tenth")
    seed(manager.store, count, GROUP)
    before, peak = psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    size = sum(len(piece) for piece in streamed(manager, "/v1/devices"))
    took = time.perf_counter() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    print(
        f"all: {size / 2**20:.0f} MiB in {took:.1f} s; RSS {before / 2**20:.0f} MiB, its peak grew by {grown / 1024:.1f} MiB"
    )
    assert grown < 32 * 1024
    for name, took in look_up(manager, count).items():
        print(f"{name}: {took:.0f} ms")
    walked, size, most = walk_and_stream(manager, count)
    print(
        f"pages of 1,000: {walked:.1f} s in all; traced peak of a stream {most / 2**20:.1f} MiB of {size / 2**20:.0f}"
    )
    assert most < size / 4
    check(manager.store, swept=True)


class Sent(io.RawIOBase):
    """A body of so many lines, made as they are read."""

    def __init__(self, lines):
        self._lines, self._rest = lines, b""

    def read(self, size=-1):
        assert size > 0, "it is to be read in pieces"
        while len(self._rest) < size and (line := next(self._lines, None)) is not None:
            self._rest += line
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def taken(manager, lines, query=""):
    """The last line of the report about a file, and the numbers of the lines of which it says something."""
    env = falcon.testing.create_environ(
        "/v1/devices/csv", method="POST", headers={"Content-Type": "text/csv"}, query_string=query
    )
    env |= {"wsgi.input": Sent(lines), "wsgi.input_terminated": True}
    env.pop("CONTENT_LENGTH", None)
    seen, told, rest = 0, None, b""
    status = []
    answer = manager.http.app(env, lambda said, *_: status.append(said))  # kept to its end, as servers do
    for piece in answer:
        assert status == ["200 OK"], piece
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            told = orjson.loads(line)
            if "line" in told:
                seen += 1
                assert told["line"] == seen + 1, "a report for every line, in their order"
    answer.close()
    return told, seen


def a_file(count, line):
    yield (",".join(device_csv.COLUMNS) + "\r\n").encode()
    for number in range(count):
        yield line(number)


def a_line(number):
    out = io.StringIO(newline="")
    csv.writer(out).writerow(device_csv.row({**numbered(number), "id": ""}))
    return out.getvalue().encode()


@pytest.mark.timeout(1200 if SOAK else 120)
def test_files_of_many_lines_come_and_go_in_bounded_memory(manager, monkeypatch):
    """Good ones and bad ones; the bound is the same for 5,000 as it is for 100,000."""
    monkeypatch.setattr(search, "BATCH", 100)
    monkeypatch.setattr(device_files, "SPOOLED", 1 << 16)
    count, many, bound = MANY, 4 * MANY, 3 << 19
    (told, seen), most = peak(lambda: taken(manager, a_file(many, lambda _: b"bad\r\n")))
    assert (told["refused"], seen, told["created"]) == (many, many, 0)
    assert most < bound
    (told, seen), most = peak(lambda: taken(manager, a_file(count, a_line)))
    assert (told["created"], seen, told["refused"]) == (count, count, 0)
    assert most < bound
    some = count // 5
    (told, seen), most = peak(lambda: taken(manager, a_file(some, a_line), "match=sn"))
    assert (told["same"], seen, told["created"]) == (some, some, 0)
    assert most < bound + 64 * some, "each serial number is remembered, in a few bytes"
    size, most = peak(lambda: sum(len(piece) for piece in streamed(manager, "/v1/devices/csv")))
    assert size > count * 80
    assert most < bound


# -- those who wait


@pytest.mark.parametrize("what", ["devices", "one device", "groups", "one group", "memberships", "a group's devices", "a device's groups"])  # fmt: skip
def test_readers_may_wait_for_what_becomes_of_the_inventory(manager, what):
    device = made(call(manager, "POST", "/v1/devices", DEVICE))
    group = made(call(manager, "POST", "/v1/groups", {"name": "g"}))
    ends = {"device_id": device, "group_id": group}
    path, *change = {
        "devices": ("/v1/devices", "POST", "/v1/devices", DEVICE),
        "one device": (f"/v1/devices/{device}", "PUT", "/v1/devices", {"id": device, "name": "x"}),
        "groups": ("/v1/groups", "POST", "/v1/groups", {"name": "h"}),
        "one group": (f"/v1/groups/{group}", "PUT", "/v1/groups", {"id": group, "name": "x"}),
        "memberships": ("/v1/memberships", "POST", "/v1/memberships", ends),
        "a group's devices": (f"/v1/groups/{group}/devices", "POST", "/v1/memberships", ends),
        "a device's groups": (f"/v1/devices/{device}/groups", "POST", "/v1/memberships", ends),
    }[what]
    before = call(manager, "GET", path)

    def until_it_differs():
        """An answer may be early, with nothing new in it."""
        answer = before
        while answer.json == before.json:
            after = answer.headers["Muster-Revision"]
            answer = call(manager, "GET", path, params={"after": after, "wait": "60s"})
        return answer

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(until_it_differs)
        assert call(manager, *change).status_code == 200
        assert waiting.result(50).status_code == 200
