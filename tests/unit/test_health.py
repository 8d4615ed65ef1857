"""Results to health; what is due when, and how many at once; HTTP answers, byte by byte; targets."""

import itertools
import resource

import pytest

from agentd.core.health import Health, HealthView, Result, begin, fold
from agentd.probes import target
from agentd.probes.answer import MOST_BODY, WELL, Answer
from agentd.probes.pool import MOST_YOUNG, YOUNG, Pool
from agentd.probes.schedule import Due, Schedule
from store.model.policies import HealthCheck
from store.version import VERSION

pytestmark = pytest.mark.unit


def check(**more):
    return HealthCheck(**{"kind": "http", "target": "http://127.0.0.1/", "interval": 10.0, **more})


def after(story, *, started=100.0, **policy):
    """The view after a story such as `.x.`: one result every 10 s, the first at once; `e` is early."""
    view = begin(check(**policy), started)
    for number, what in enumerate(story):
        at = started + 10 * number
        result = Result(
            ok=what == ".", reason="" if what == "." else f"no {number}", at=at, early=what == "e"
        )
        view = fold(view, check(**policy), result, started, at + 1)
    return view


@pytest.mark.parametrize(
    ("story", "policy", "state", "failures"),
    [
        ("", {}, "starting", 0),
        (".", {}, "healthy", 0),
        ("x", {}, "starting", 1),
        ("xx", {}, "starting", 2),
        ("xxx", {}, "unhealthy", 3),
        ("xx.xx", {}, "healthy", 2),
        (".xx", {}, "healthy", 2),
        (".xxx", {}, "unhealthy", 3),
        (".xxxxxx", {}, "unhealthy", 3),
        ("xxx.", {}, "healthy", 0),
        ("xxx.xx", {}, "healthy", 2),
        ("x", {"retries": 1}, "unhealthy", 1),
        ("xxx", {"start_period": 25.0}, "starting", 0),
        ("xxxxx", {"start_period": 25.0}, "starting", 2),
        ("xxxxxx", {"start_period": 25.0}, "unhealthy", 3),
        (".xxx", {"start_period": 1000.0}, "unhealthy", 3),
        ("xxx.xx", {"start_period": 1000.0}, "healthy", 2),
        ("eeeeee", {}, "starting", 0),
        ("exexe", {}, "starting", 2),
        ("exexex", {}, "unhealthy", 3),
        ("xxe", {"retries": 2}, "unhealthy", 2),
    ],
)
def test_health_after_a_story(story, policy, state, failures):
    view = after(story, **policy)
    assert (view.state, view.failures) == (state, failures)
    assert view.reason == ("" if story[-1:] in ("", ".") else f"no {len(story) - 1}")


def test_since_is_when_the_state_began():
    assert after("").since == 100.0
    assert after("...").since == 101.0
    assert after(".xx").since == 101.0
    assert after(".xxxx").since == 131.0
    assert after("xxxx..").since == 141.0


def test_a_period_counts_from_the_beginning_of_a_probe():
    """One that began in time and failed late is excused, as Docker has it."""
    policy = check(start_period=5.0, retries=1)
    view = fold(begin(policy, 100.0), policy, Result(ok=False, reason="late", at=104.9), 100.0, 114.9)
    assert view.state is Health.STARTING


def test_who_stays_ill_stays_the_same():
    policy, ill = check(), after("xxx")
    again = fold(ill, policy, Result(ok=False, reason=ill.reason, at=999.0), 100.0, 999.0)
    assert again == ill


def test_nothing_asked_nothing_said():
    assert begin(None, 5.0) == HealthView(state=Health.NONE, since=5.0)


# -- schedule


def run(schedule, until, *, now=0.0, ok=True, takes=0.0):
    """(time, early) of every probe that is due until then, each answered after `takes`."""
    seen = []
    while schedule.next_at() <= until:
        now = max(now, schedule.next_at())
        for due in schedule.due(now):
            seen.append((now, due.early))
            schedule.done(due, now + takes, ok=ok)
    return seen


def test_a_new_key_is_due_at_once_and_once():
    schedule = Schedule()
    schedule.replace({"a": check()}, 5.0)
    assert schedule.next_at() == 5.0
    (due,) = schedule.due(5.0)
    assert (due.key, due.early) == ("a", True)
    assert schedule.due(1e9) == []
    assert schedule.next_at() == float("inf")


def test_a_healthy_key_is_probed_each_interval():
    schedule = Schedule()
    schedule.replace({"a": check()}, 0.0)
    times = [at for at, _ in run(schedule, 100.0)]
    assert times[0] == 0.0
    assert 5.0 <= times[1] <= 15.0
    assert all(b - a == pytest.approx(10.0) for a, b in itertools.pairwise(times[1:]))


def test_a_key_that_is_not_well_yet_is_looked_at_early_and_ever_more_seldom():
    schedule = Schedule()
    schedule.replace({"a": check(interval=30.0)}, 0.0)
    seen = run(schedule, 200.0, ok=False)
    assert [at for at, early in seen if early][:6] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6])
    assert len([at for at, early in seen if early]) < 15
    counted = [at for at, early in seen if not early]
    assert 30.0 <= counted[0] <= 60.0, "nothing counts sooner than it would with Docker"
    assert all(b - a == pytest.approx(30.0) for a, b in itertools.pairwise(counted))
    assert all(not early for at, early in seen if at > 65.0)


def test_early_looks_go_on_through_the_start_period():
    schedule = Schedule()
    schedule.replace({"a": check(interval=30.0, start_period=300.0)}, 0.0)
    seen = run(schedule, 600.0, ok=False)
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(seen) if b <= 300.0]
    assert max(gaps) <= 5.0 + 1e-9
    assert all(not early for at, early in seen if at > 310.0)


def test_the_first_success_ends_early_looks():
    schedule = Schedule()
    schedule.replace({"a": check()}, 0.0)
    assert all(not early for at, early in run(schedule, 100.0) if at)


def test_a_thousand_are_spread_over_the_interval():
    schedule = Schedule()
    schedule.replace({f"d{n}.0/web/1.0": check() for n in range(1000)}, 0.0)
    times = [at for at, _ in run(schedule, 100.0) if at >= 30.0]
    for bucket in range(30, 100):
        assert 50 < sum(bucket <= at < bucket + 1 for at in times) < 200


def test_phases_are_the_keys_own():
    first, second = Schedule(), Schedule()
    for schedule, now in ((first, 0.0), (second, 3.0)):
        schedule.replace({"a": check(), "b": check()}, now)
    later = [[at for at, _ in run(each, 99.0) if at > 20.0] for each in (first, second)]
    assert later[0] == pytest.approx(later[1])


def test_others_go_on_when_some_come_and_go():
    schedule = Schedule()
    schedule.replace({"a": check(), "b": check()}, 0.0)
    old = schedule.due(0.0)
    schedule.replace({"a": check(), "b": check(interval=20.0), "c": check()}, 1.0)
    assert [schedule.wants(due) for due in old] == [True, False]
    assert {due.key for due in schedule.due(1.0)} == {"b", "c"}, "a is still under way"
    schedule.done(old[1], 1.0, ok=True)
    assert schedule.next_at() == float("inf"), "the result of an old watch moves nothing"


def test_what_is_gone_is_forgotten():
    schedule = Schedule()
    for number in range(1000):
        schedule.replace({f"{number}": check(interval=1e6)}, 0.0)
        for due in schedule.due(0.0):
            schedule.done(due, 0.0, ok=True)
    assert len(schedule._heap) == 1


def test_what_was_put_off_comes_back():
    schedule = Schedule()
    schedule.replace({"a": check()}, 0.0)
    (due,) = schedule.due(0.0)
    schedule.put_off(due, 2.0)
    assert schedule.due(1.9) == []
    assert [each.key for each in schedule.due(2.0)] == ["a"]


def test_a_slow_probe_is_not_made_up_for():
    schedule = Schedule()
    schedule.replace({"a": check(interval=1.0)}, 0.0)
    times = [at for at, _ in run(schedule, 100.0, takes=9.0)]
    assert all(b - a > 9.0 for a, b in itertools.pairwise(times))


# -- how many at once


class NobodyKnows:
    """Host names that are never found: probes under way without any socket."""

    def find(self, *_):
        return None


def a_pool(monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    ended = []
    return Pool(
        None, NobodyKnows(), lambda due, began, verdict: ended.append((due.key, began, verdict))
    ), ended


def hanging(number):
    return Due(f"{number}", number, check(target="http://nobody.knows/"), early=False)


def test_only_so_many_probes_are_young(monkeypatch):
    pool, _ = a_pool(monkeypatch, 100_000)
    for number in range(MOST_YOUNG):
        assert pool.room(7.0)
        pool.begin(hanging(number), 7.0, 0.0)
    assert not pool.room(7.0 + YOUNG - 0.01)
    assert pool.next_at(waiting=True) == 7.0 + YOUNG
    assert pool.next_at(waiting=False) == 17.0
    assert pool.room(7.0 + YOUNG)


def test_only_so_many_probes_are_under_way(monkeypatch):
    pool, ended = a_pool(monkeypatch, 64)
    for number in range(16):
        assert pool.room(10.0 * number / 16)
        pool.begin(hanging(number), 10.0 * number / 16, 5.0)
    assert not pool.room(9.9)
    pool.expire(9.99)
    assert ended == []
    pool.expire(10.0)
    ((key, began, verdict),) = ended
    assert (key, began) == ("0", 5.0)
    assert verdict.reason == "http://nobody.knows/: its host was not found within 10 s"
    assert pool.room(10.0)
    pool.keep(lambda due: due.number < 3)
    pool.expire(1e9)
    assert [each[0] for each in ended] == ["0", "1", "2"], "nothing is told of what was broken off"


# -- answers

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n8;x=y\r\n yet rea\r\n2\r\ndy\r\n0\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n"


def judge(*pieces, status=(200, 399), body=None):
    answer = Answer(status, body)
    for piece in pieces:
        verdict = answer.feed(piece)
        if verdict is not None:
            return verdict
    return answer.end()


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (GOOD + b"\r\n", None),
        (GOOD + b"\r\nall is ready", "ready"),
        (GOOD + b"Content-Length: 5\r\n\r\nready and more", "ready"),
        (b"HTTP/1.0 200\n\nready", "ready"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CHUNKED, "ready"),
        (CHUNKED, "not yet ready"),
        (CHUNKED.replace(b"Transfer-Encoding: chunked", b"transfer-ENCODING:gzip, Chunked"), "ready"),
        (GOOD + b"Content-Length: 6\r\n\r\n" + "größe".encode()[:6], "grö"),
    ],
)
def test_good_answers_however_they_are_cut(raw, body):
    assert judge(raw, body=body) == WELL
    assert judge(*(raw[n : n + 1] for n in range(len(raw))), body=body) == WELL
    for cut in range(len(raw)):
        assert judge(raw[:cut], raw[cut:], body=body) == WELL


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", "answered 503, wanted 200-399"),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nready", "answered 400, wanted 200-399"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "answered 101, wanted 200-399"),
        (GOOD + b"Content-Length: 3\r\n\r\nready", "the answer lacks 'ready'"),
        (GOOD + b"Content-Length: 30\r\n\r\nready", "closed the connection in the middle of its answer"),
        (GOOD + b"Content-Length: -1\r\n\r\nready", "the answer's Content-Length is '-1'"),
        (GOOD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nrea", "closed the connection in the middle of"),
        (GOOD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nready\r\n", "the answer has a chunk of size '-5'"),
        (GOOD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 2000, "the answer's chunks have no sizes"),
        (b"", "closed the connection without an answer"),
        (b"HTT", "closed the connection in the middle of its answer"),
        (GOOD + b"Server: x\r\n", "closed the connection in the middle of its answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP: 'SSH-2.0-OpenSSH_9.2"),
        (b"\x15\x03\x03\x00\x02\x02\x16", "is it https?"),
        (b"\x00\xff\x00\xff", r"the answer is not HTTP: '\x00\xff\x00\xff'"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "the answer is not HTTP"),
        (GOOD + b"X: y\r\n" * 20_000, "the answer's headers are longer than 64 KiB"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, "the answer's headers are longer than 64 KiB"),
    ],
)
def test_bad_answers_in_words(raw, says):
    verdict = judge(raw, body="ready")
    assert not verdict.ok
    assert says in verdict.reason
    in_pieces = judge(*(raw[n : n + 7] for n in range(0, len(raw), 7)), body="ready")
    assert not in_pieces.ok
    assert in_pieces.reason[:22] == verdict.reason[:22]


def test_a_bad_status_needs_no_more():
    assert Answer((200, 200), None).feed(b"HTTP/1.1 201 Made\r\nContent-Length: 99\r\n\r\n").reason == (
        "answered 201, wanted 200"
    )


def test_only_so_much_of_a_body_is_read():
    endless = GOOD + b"\r\n" + b"x" * (MOST_BODY - 3)
    assert judge(endless + b"ready", body="ready").reason == "the answer lacks 'ready' in its first 64 KiB"
    answer = Answer((200, 399), None)
    assert answer.feed(endless) is None
    assert answer.feed(b"xxx") == WELL
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    head = GOOD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert judge(head + chunk, chunk, body="ready").reason.endswith("in its first 64 KiB")


# -- targets


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "path", "said"),
    [
        ("http://127.0.0.1:8080/health", "127.0.0.1", 8080, False, "/health", "127.0.0.1:8080"),
        ("http://web.internal", "web.internal", 80, False, "/", "web.internal"),
        ("https://[::1]:8443?deep=1#top", "::1", 8443, True, "/?deep=1", "[::1]:8443"),
        ("https://h/a%20b", "h", 443, True, "/a%20b", "h"),
    ],
)
def test_urls(url, host, port, tls, path, said):
    found = target.read(check(target=url))
    assert (found.host, found.port, found.tls) == (host, port, tls)
    line, *headers = found.request.decode().split("\r\n")
    assert line == f"GET {path} HTTP/1.1"
    assert f"Host: {said}" in headers
    assert f"User-Agent: muster-probe/{VERSION}" in headers
    assert "Connection: close" in headers
    assert found.request.endswith(b"\r\n\r\n")


def test_addresses():
    assert target.read(check(kind="tcp", target="db:5432")) == target.Target("db", 5432)
    assert target.read(check(kind="tcp", target="[::1]:1")) == target.Target("::1", 1)


@pytest.mark.parametrize("bad", ["", "ftp://h/", "http:///x", "http://h:99999/", "http://h/a b", "http://h/\r\nX: y", "http://h/ü", "http://${port.x}/"])  # fmt: skip
def test_no_urls(bad):
    with pytest.raises(ValueError, match=r"not a URL|[Pp]ort|no host name"):
        target.read(check(target=bad))


@pytest.mark.parametrize("bad", ["", "h", "h:", ":1", "h:0", "h:65536", "h:x", "büro:1"])
def test_no_addresses(bad):
    with pytest.raises(ValueError, match=r"not host:port|no host name"):
        target.read(check(kind="tcp", target=bad))
