"""The inventory while the manager is killed: what was acknowledged holds, and all that is said of it agrees."""

import concurrent.futures
import contextlib
import json
import random
import threading
import time
import urllib.error
import urllib.request

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from store.errors import StoreError
from store.kv.store import Store
from tests.conftest import SOAK, eventually
from tests.e2e.conftest import UNANSWERED
from tests.inventory import check

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200 if SOAK else 200)]

HANDS = 12
KILLS = 100 if SOAK else 6


class Hand:
    """A client that asks again until it is answered, and remembers what it was promised."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.draws = cluster, number, random.Random(number)
        self.devices = {}
        """Device -> its name, as it was acknowledged."""
        self.groups = {}
        """Device -> the groups that it was put into."""
        self.gone = set()

    def ask(self, method, path, body):
        """The answer, and whether an earlier try went unanswered: it may have done what was asked."""
        tries, deadline, last = 0, time.monotonic() + 60, ""
        while True:
            tries += 1
            try:
                status, answer = self.once(method, path, body)
                if status < 500:
                    return status, answer, tries > 1
                last = f"{status}: {answer}"
            except UNANSWERED as error:
                last = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} was never done, at last {last}"
            time.sleep(0.05)

    def once(self, method, path, body):
        """Refusals are answers as well, and may be cut off as well by whoever kills the manager."""
        request = urllib.request.Request(self.cluster.url + path, json.dumps(body).encode(), method=method)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def one(self, shared):
        what = self.draws.random()
        device = self.draws.choice(sorted(self.devices.keys() - self.gone) or [None])
        if device is None or what < 0.2:
            status, answer, _ = self.ask("POST", "/v1/devices", {**DEVICE, "name": "new"})
            assert status == 200, answer
            self.devices[answer["data"]], self.groups[answer["data"]] = "new", []
        elif what < 0.5:
            name = str(self.draws.random())
            status, answer, _ = self.ask("PUT", "/v1/devices", {"id": device, "name": name})
            assert status == 200, answer
            self.devices[device] = name
        elif what < 0.85:
            wanted = self.draws.sample(shared, 2)
            status, answer, _ = self.ask("PUT", "/v1/memberships", {"device_id": device, "group_ids": wanted})
            assert status in (200, 404), answer  # 404: somebody has deleted one of the groups
            if status == 200:
                self.groups[device] = wanted
        else:
            status, answer, again = self.ask("DELETE", "/v1/devices", {"ids": [device]})
            assert status == 200, answer
            assert again or answer["ids"] == [device], answer
            self.gone.add(device)


def store_of(cluster):
    store = Store(cluster.client())
    store.attach()
    return store


def test_kill_9_of_the_manager_amid_edits_leaves_all_consistent(cluster):
    cluster.start_manager()
    hands = [Hand(cluster, number) for number in range(HANDS)]
    shared = [hands[0].ask("POST", "/v1/groups", {"name": f"g{n}"})[1]["data"] for n in range(6)]
    over = threading.Event()

    def work(hand):
        while not over.is_set():
            hand.one(shared)
            if hand.number < 2 and len(hand.devices) == 5:
                hand.ask("DELETE", "/v1/groups", {"ids": [shared[hand.number]]})

    def kill(turn):
        before = sum(len(hand.devices) for hand in hands)
        # Who was killed may seem to be there for a moment: whoever waits mends.
        eventually(lambda: cluster.mend() or sum(len(hand.devices) for hand in hands) > before, 60)
        cluster.kill(("worker", "controller", "manager")[turn % 3])

    with concurrent.futures.ThreadPoolExecutor(HANDS) as pool:
        working = [pool.submit(work, hand) for hand in hands]
        try:
            for turn in range(KILLS):
                kill(turn)
        finally:
            over.set()
            eventually(lambda: cluster.mend() or all(each.done() for each in working), 60)
        for each in working:
            each.result()

    eventually(lambda: cluster.mend() or cluster.ready(), 60)
    records, groups = check(store_of(cluster), swept=False)
    for hand in hands:
        assert not hand.gone & records.keys()
        for device in hand.devices.keys() - hand.gone:
            assert records[device]["name"] == hand.devices[device]
            named = set(records[device].get("groups", [])) & groups.keys()
            assert named == set(hand.groups[device]) & groups.keys()
    for number, group in enumerate(shared):
        assert group in groups or number < 2

    cluster.kill("controller")  # the next one looks after what others left, first thing

    def swept():
        cluster.mend()
        with contextlib.suppress(AssertionError, StoreError):
            return check(store_of(cluster), swept=True)

    eventually(swept, 40)
