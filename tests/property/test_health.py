"""Health after any history; schedules and answers under anything."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.core.health import Health, Result, begin, fold
from agentd.probes.answer import Answer, Verdict
from agentd.probes.schedule import Schedule
from store.model.policies import HealthCheck

pytestmark = pytest.mark.property

STARTED = 1000.0
histories = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 50.0)), max_size=40)


def told(history):
    at = STARTED
    for ok, early, gap in history:
        at += gap
        yield Result(ok=ok, reason="" if ok else "ill", at=at, early=early)


@settings(deadline=None)
@given(histories, st.integers(1, 5), st.floats(0.0, 300.0))
def test_health_is_what_docker_says(history, retries, start_period):
    """Against the rules told backwards: look at the past, not at a state."""
    policy = HealthCheck(kind="tcp", retries=retries, start_period=start_period)
    view, past = begin(policy, STARTED), []
    for result in told(history):
        before, view = view, fold(view, policy, result, STARTED, result.at)
        past.append(result)
        well = [each.ok for each in past]
        since_success = past[len(well) - well[::-1].index(True) :] if any(well) else past
        counted = [
            each
            for each in since_success
            if not each.early and (any(well) or each.at - STARTED >= start_period)
        ]
        if len(counted) >= retries:
            assert view.state is Health.UNHEALTHY
        else:
            assert view.state is (Health.HEALTHY if any(well) else Health.STARTING)
        assert view.failures == min(len(counted), retries)
        assert (view.since == before.since) or (view.state is not before.state)
        if not any(well) and result.at - STARTED < start_period:
            assert view.state is Health.STARTING, "nothing is unhealthy within its start period"


checks = st.builds(
    HealthCheck,
    kind=st.just("tcp"),
    target=st.just("h:1"),
    interval=st.floats(0.1, 100.0),
    timeout=st.floats(0.1, 20.0),
    start_period=st.floats(0.0, 100.0),
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), checks, max_size=5), st.data())
def test_a_schedule_neither_hurries_nor_forgets(wanted, data):
    """Never two at once; counted ones half an interval apart; all come back."""
    schedule = Schedule()
    schedule.replace(wanted, 0.0)
    counted = {}
    for _ in range(30):
        now = schedule.next_at()
        for due in schedule.due(now):
            check, takes = wanted[due.key], data.draw(st.floats(0.0, 20.0))
            if not due.early:
                assert now - counted.get(due.key, 0.0) >= check.interval / 2 * (1 - 1e-6)
                counted[due.key] = now + takes
            schedule.done(due, now + takes, ok=data.draw(st.booleans()))
        waiting = [key for _, _, key in schedule._heap]
        assert sorted(waiting) == sorted(wanted), "each waits exactly once"
        assert all(at - now <= 20.0 + 2 * wanted[key].interval + 1e-6 for at, _, key in schedule._heap)


pieces = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\n", b"\n", b"0\r\n", b"5\r\nready\r\n", b"HTTP/1.1 100\r\n\r\n",
                     b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"ready"]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(pieces, max_size=12), st.sampled_from([None, "ready"]), st.data())
def test_no_bytes_upset_the_reader_however_they_come(found, body, data):
    raw = b"".join(found)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))

    def read(parts):
        answer = Answer((200, 399), body)
        for part in parts:
            verdict = answer.feed(part)
            if verdict is not None:
                return verdict
        return answer.end()

    whole = read([raw] if raw else [])
    assert isinstance(whole, Verdict)
    bounds = [0, *cuts, len(raw)]
    parts = [raw[a:b] for a, b in itertools.pairwise(bounds) if a < b]
    assert read(parts).ok == whole.ok
