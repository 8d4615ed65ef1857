"""What the brain decides about files: jobs shared, turns obeyed, time counted, wishes ended."""

import pytest

from agentd.core.files.downloads import (
    BIG,
    DEEPEST,
    END_WITHIN,
    LINGER,
    MANY,
    MOST_CHILDREN,
    PATIENCE,
    START_WITHIN,
)
from agentd.core.files.errands import Get, KillChild, Open, Place, Rate, StartChild
from agentd.core.files.items import Lane
from agentd.core.files.jobs import Trouble
from agentd.core.files.stock import MOMENT
from agentd.core.files.views import Files
from tests.stock_world import TTL, World, item, key, order, sha
from transfer.errors import FINAL, SLOW, Kind

pytestmark = pytest.mark.unit


@pytest.fixture
def world():
    return World()


def kinds(errands, kind):
    return [each for each in errands if isinstance(each, kind)]


def only(world):
    (name,) = world.connected()
    return name


def test_a_file_comes_into_the_cache_and_then_into_its_directory(world):
    world.want(t=order(item(sha256=sha("x"))))
    world.serve()
    world.got(only(world))
    (place,) = kinds(world.round(), Place)
    assert place == Place(key(), (sha("x"),))
    assert world.view().reason == "its files are put in place"
    world.place_all()
    assert key() in world.ready
    assert world.round() == []
    world.pass_time(LINGER)
    assert not world.processes


def test_what_is_in_the_cache_by_its_checksum_needs_no_source(world):
    world.cache[sha("x")] = 7
    errands = world.want(t=order(item(sha256=sha("x"))))
    assert [type(each) for each in errands] == [Place]
    assert (world.view().done, world.view().total) == (7, 7)


def test_without_a_checksum_the_source_is_asked_for_a_new_generation(world):
    world.want(t=order())
    world.serve()
    world.got(only(world), stamp="s1")
    world.round()
    world.place_all()
    world.want(t__2=order())
    (get,) = world.processes[only(world)].jobs
    assert get.known == (sha("app.tgz"), "s1")


def test_tasks_that_need_one_file_share_its_download(world):
    world.want(t=order(), u=order())
    world.serve()
    assert len(world.processes[only(world)].jobs) == 1
    world.got(only(world))
    assert {each.key for each in kinds(world.round(), Place)} == {key("t"), key("u")}
    assert len(world.fetched) == 1


def test_a_wish_that_came_after_a_download_began_is_not_served_with_what_may_be_older(world):
    world.want(t=order())
    world.serve()
    world.want(t=order(), t__2=order())
    world.got(only(world), content="old", stamp="s1")
    assert [each.key for each in kinds(world.round(), Place)] == [key()]
    (again,) = world.processes[only(world)].jobs
    assert again.known == (sha("old"), "s1")
    world.got(only(world), content="new", stamp="s2")
    (place,) = kinds(world.round(), Place)
    assert place == Place(key("t", 2), (sha("new"),))


def test_two_sources_of_the_same_checksum_are_fetched_once(world):
    world.want(
        t=order(item("a", sha256=sha("x"))), u=order(item("http://x/b", pool="http://x:80", sha256=sha("x")))
    )
    world.serve()
    (busy,) = [name for name in world.connected() if world.processes[name].jobs]
    world.got(busy)
    assert {each.key for each in kinds(world.round(), Place)} == {key("t"), key("u")}
    assert len(world.fetched) == 1


def test_a_child_may_connect_only_once_its_ask_is_granted(world):
    world.want(t=order())
    assert not world.processes  # nobody would hear it ask
    assert world.view().reason.startswith("waits for the store")
    world.beat()
    world.begin()
    (ask,) = world.downloads.asks()
    assert world.downloads.asks()[ask] == {"pool": "~", "key": f"key-of-{next(iter(world.processes))}"}
    world.beat()
    world.limit = 0
    world.read(world.grant())
    assert world.connected() == []
    assert world.view().reason == "waits for its turn at the manager's --sftp-host: 4 others are served"
    world.limit = 1
    (opened,) = kinds(world.read(world.grant()), Open)
    assert opened.sealed == "c2VhbGVk"


def test_files_of_this_node_need_no_turn_and_no_contact(world):
    world.want(t=order(item("file:///srv/x", pool="")))
    (opened,) = kinds(world.begin(), Open)
    assert opened.sealed is None
    assert world.downloads.asks() == {}


@pytest.mark.parametrize(
    "raw", [None, b"nonsense", b"[]", b'{"v":2,"uid":"uid"}', b'{"v":1,"uid":"uid","grants":[]}']
)
def test_a_grant_that_cannot_be_read_is_none(world, raw):
    world.want(t=order())
    world.serve()
    assert kinds(world.read(raw), KillChild)
    assert world.connected() == []


def test_a_grant_for_another_node_is_none(world):
    world.want(t=order())
    world.serve()
    world.read(world.document(uid="another"))
    assert world.connected() == []


def test_a_turn_ends_some_time_before_the_last_heartbeat_that_arrived(world):
    """So that whoever is late to end it does so before another has it."""
    world.want(t=order())
    world.serve()
    world.pass_time(0.8 * TTL - 0.01)
    assert world.connected()
    world.pass_time(0.01)
    assert world.connected() == []
    assert world.view().state is Files.FETCHING


def test_a_heartbeat_counts_from_when_it_was_sent(world):
    world.want(t=order())
    world.serve()
    world.pass_time(5.0)
    world.beat(delay=4.0)
    world.pass_time(0.8 * TTL - 4.0)
    assert world.connected() == []


def test_no_grant_from_before_the_contact_was_lost_is_obeyed_after_it(world):
    world.want(t=order())
    world.serve()
    stale = world.document()
    (old,) = world.downloads.asks()
    world.pass_time(TTL)
    world.beat()
    world.begin()
    assert old not in world.downloads.asks()
    world.beat()
    world.read(stale)
    assert world.connected() == []
    world.read(world.grant())
    assert world.connected()


def test_an_ask_that_waited_while_the_contact_was_lost_gets_another_name(world):
    world.want(t=order())
    world.beat()
    world.begin()
    world.beat()
    granted = world.grant()
    (old,) = world.downloads.asks()
    world.pass_time(TTL)
    world.beat()
    world.read(granted)
    (new,) = world.downloads.asks()
    assert new != old
    assert world.connected() == []


def test_an_ask_stands_in_the_heartbeat_until_its_process_is_gone(world, monkeypatch):
    world.want(t=order())
    world.serve()
    name, asks = only(world), dict(world.downloads.asks())
    monkeypatch.setattr(world, "end", lambda *_: None)
    world.want()
    assert world.downloads.asks() == asks
    monkeypatch.undo()
    world.end(name)
    assert world.downloads.asks() == {}


def test_a_job_that_nobody_wants_any_more_is_not_begun(world):
    world.want(t=order())
    world.beat()
    world.begin()
    assert kinds(world.want(), KillChild)
    assert not world.downloads.work.jobs


def test_a_download_that_nobody_wants_any_more_is_ended_and_one_that_another_wants_is_not(world):
    world.want(t=order(), u=order())
    world.serve()
    assert kinds(world.want(u=order()), KillChild) == []
    assert kinds(world.want(), KillChild)
    assert not world.processes


def test_a_missing_file_is_tried_again_ever_more_seldom_and_given_up_when_its_time_is_over(world):
    world.want(t=order(timeout=60.0))
    world.serve()
    world.failed(only(world))
    world.round()
    assert world.view().reason == "no such file sftp://files/app.tgz; tried again in 5 s"
    tries = 1
    while world.view().state is Files.FETCHING:
        world.live_on(1.0, every=1.0)
        world.begin()
        for name in world.connected():
            if world.processes[name].jobs:
                world.failed(name)
                tries += 1
    assert world.view().state is Files.FAILED
    assert world.view().reason == "no such file sftp://files/app.tgz; given up after 60 s of fetching"
    assert tries == 4  # after 0, 5, 15 and 35 seconds


def test_what_trying_again_cannot_mend_fails_at_once(world):
    world.want(t=order(), u=order(item("other")))
    world.serve()
    world.failed(only(world), kind="mismatch", text="not what the template says")
    world.round()
    assert world.view().state is Files.FAILED
    assert world.view().reason == "not what the template says"
    assert world.view("u").state is Files.FETCHING
    world.want(t=order())
    assert world.view().state is Files.FAILED  # for this generation, for ever
    assert not world.downloads.work.jobs


def test_what_was_given_up_is_forgotten_with_its_generation(world):
    world.stock.give_up(key(), "not a URL")
    assert world.view().reason == "not a URL"
    world.stock.keep(lambda each: each == key("t", 2))
    assert world.view() is None


def test_time_that_passes_in_a_queue_for_a_turn_does_not_count(world):
    world.limit = 0
    world.want(t=order(timeout=30.0))
    world.serve()
    world.live_on(3600.0)
    assert world.view().state is Files.FETCHING
    world.limit = 4
    world.read(world.grant())
    world.live_on(29.0)
    assert world.view().state is Files.FETCHING
    world.live_on(2.0)
    assert world.view().state is Files.FAILED


def test_time_without_contact_does_not_count(world):
    world.want(t=order(timeout=30.0))
    world.serve()
    world.failed(only(world))
    world.round()
    world.pass_time(3600.0)
    assert world.view().state is Files.FETCHING


def test_time_counts_across_generations_of_a_wish_that_comes_and_goes(world):
    world.want(t=order(timeout=30.0))
    world.serve()
    world.live_on(20.0)
    world.want()
    world.live_on(100.0)
    world.want(t=order(timeout=30.0))
    world.serve()
    world.live_on(15.0)
    assert world.view().state is Files.FAILED


def test_what_went_wrong_last_is_said_until_something_goes_well(world):
    world.want(t=order())
    world.serve()
    world.say(only(world), say="lost", kind="login", text="sftp://files does not take our password")
    world.end(only(world))
    world.round()
    said = world.view().reason
    assert said == "sftp://files does not take our password; tried again in 5 s"
    world.live_on(4.0)
    world.pass_time(1.5)
    world.begin()
    assert world.downloads.asks()
    assert world.view().reason == said, "its turn is as good as there: no other sentence for a moment"
    world.limit = 0
    world.live_on(MOMENT, every=1.0)
    assert world.view().reason == (
        "sftp://files does not take our password; "
        "waits for its turn at the manager's --sftp-host: 4 others are served"
    )
    world.limit = 1
    world.read(world.grant())
    assert world.view().reason == said
    world.got(only(world))
    world.round()
    assert world.view().reason == "its files are put in place"


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in FINAL])
def test_tries_are_a_minute_apart_at_most(kind):
    trouble = Trouble()
    for _ in range(20):
        trouble.add(kind, "", 0.0, 0.999)
    assert 0 < trouble.retry_at <= (60.0 if kind in SLOW else 30.0)


def test_a_lost_connection_holds_back_all_files_of_its_server_and_no_others(world):
    world.want(t=order(item("a")), u=order(item("http://x/b", pool="http://x:80")))
    world.serve()
    base = next(name for name in world.connected() if world.processes[name].lane == Lane("~"))
    world.say(base, say="lost", kind="login", text="sftp://files does not take our password")
    world.end(base)
    world.round()
    assert world.view("t").reason == "sftp://files does not take our password; tried again in 5 s"
    assert world.view("u").reason == ""
    assert [each.lane for each in world.processes.values()] == [Lane("http://x:80")]
    world.live_on(6.0)
    assert len(world.processes) == 2


def test_a_child_that_dies_is_tried_again_with_another_ask(world):
    world.want(t=order())
    world.serve()
    (old,) = world.downloads.asks()
    world.end(only(world), "the process that does it was killed by signal 9")
    world.round()
    assert world.view().reason == "the process that does it was killed by signal 9; tried again at once"
    world.pass_time(1.0)
    world.begin()
    assert [*world.downloads.asks()] != [old]
    assert len(world.downloads.asks()) == 1


@pytest.mark.parametrize("told", ["twice", "once"])
def test_a_connection_that_breaks_again_and_again_but_brings_something_is_not_held_back_long(world, told):
    world.want(t=order())
    world.serve()
    for number in range(10):
        name = only(world)
        if told == "twice":  # else one word of it is all that came through
            world.progress(name, number * 100)
        world.progress(name, number * 100 + 50)
        world.say(name, say="lost", kind="unreachable", text="sftp://files: the connection broke")
        world.end(name)
        world.pass_time(1.0)
        world.serve()
    assert only(world)


@pytest.mark.parametrize("how", ["its connection breaks", "its process dies"])
def test_a_file_that_always_costs_its_connection_keeps_no_other_waiting(world, how):
    world.want(bad=order(item("bad")), good=order(item("good")))
    world.serve()
    name = only(world)
    assert world.processes[name].jobs[0].job.source == "bad"
    if how == "its connection breaks":
        world.say(name, say="lost", kind="unreachable", text="sftp://files: the connection broke")
    world.end(name)
    world.pass_time(1.0)
    world.serve()
    assert world.processes[only(world)].jobs[0].job.source == "good"


def test_a_child_that_says_no_key_is_ended(world):
    world.want(t=order(item("file:///x", pool="")))
    world.pass_time(START_WITHIN)
    assert len(kinds(world.errands, KillChild)) == 1
    assert "did not begin" in world.view().reason


def test_a_child_that_does_not_end_is_ended(world, monkeypatch):
    world.want(t=order())
    world.serve()
    world.say(only(world), say="lost", kind="unreachable", text="gone")
    world.round()
    world.pass_time(END_WITHIN)
    assert kinds(world.errands, KillChild)


def test_a_child_keeps_its_turn_for_a_moment_and_gives_it_back(world):
    world.want(t=order())
    world.serve()
    world.got(only(world))
    world.want(u=order(item("b")))
    assert world.processes[only(world)].jobs  # the same connection
    world.got(only(world))
    world.round()
    world.pass_time(LINGER)
    assert not world.processes
    assert world.downloads.asks() == {}


def test_many_small_files_are_handed_out_ahead_and_worth_a_second_connection(world):
    world.want(t=order(*(item(f"f{n}") for n in range(100))))
    world.serve()
    first = only(world)
    for _ in range(5):
        world.got(first)
        world.round()
    assert len(kinds(world.errands, StartChild)) == 2
    assert len(world.processes[first].jobs) == DEEPEST


def test_few_files_make_do_with_one_connection(world):
    world.want(t=order(*(item(f"f{n}") for n in range(MANY))))
    world.serve()
    assert len(world.processes) == 1


def test_nothing_is_queued_behind_a_big_file_and_a_second_connection_is_asked_for(world):
    world.want(t=order(item("big"), item("small")))
    world.serve()
    first = only(world)
    world.progress(first, 0, BIG)
    assert [each.lane for each in kinds(world.round(), StartChild)] == [Lane("~")]
    assert len(world.processes[first].jobs) == 1
    world.begin()
    world.beat()
    world.read(world.grant())
    assert [len(world.processes[name].jobs) for name in world.connected()] == [1, 1]


def test_a_node_has_so_many_children_at_most_and_those_that_wait_long_make_way(world):
    pools = [f"http://x{n}:80" for n in range(6)]
    world.limit = 0
    world.want(**{f"t{n}": order(item(f"{pool}/f", pool=pool)) for n, pool in enumerate(pools)})
    world.serve()
    assert [each.lane.pool for each in world.processes.values()] == pools[:MOST_CHILDREN]
    world.live_on(PATIENCE + 1, every=1.0)
    asked = {each.lane.pool for each in kinds(world.errands, StartChild)}
    assert asked == {*pools}
    assert len(world.processes) <= MOST_CHILDREN


def test_a_host_key_of_its_own_gets_a_connection_of_its_own(world):
    world.want(t=order(item("a"), item("b", fingerprint="SHA256:x")))
    world.serve()
    assert len(world.connected()) == 2


def test_the_rate_of_the_node_is_shared():
    world = World(rate=1000)
    world.want(t=order(item("a")), u=order(item("http://x/b", pool="http://x:80")))
    world.serve()
    assert {each.rate for each in kinds(world.errands, Rate)} >= {500}
    world.got(next(iter(world.connected())))
    world.live_on(3.0, every=1.0)
    assert kinds(world.errands, Rate)[-1].rate == 1000


def test_progress_is_summed_over_the_files_of_a_task(world):
    world.cache[sha("x")] = 100
    world.want(t=order(item("a", sha256=sha("x")), item("b"), item("c")))
    world.serve()
    name = only(world)
    world.progress(name, 0, 50)
    assert (world.view().done, world.view().total) == (100, None)
    world.pass_time(1.0)
    world.progress(name, 20, 50)
    assert (world.view().done, world.view().rate) == (120, 20.0)
    world.got(name, size=50)
    world.round()
    world.progress(name, 10, 30)
    assert (world.view().done, world.view().total) == (160, 180)


def test_a_full_disk_while_files_are_placed_is_tried_again_and_a_hostile_archive_is_not(world):
    world.cache[sha("x")] = 7
    world.want(t=order(item(sha256=sha("x"), extract=True)))
    assert world.view().reason == "unpacking"
    world.placings.clear()
    world.stock.unplaced(key(), "full", "no room", world.now)
    assert world.view().reason == "no room; tried again in 5 s"
    world.pass_time(5.0)
    assert world.placings == {key()}
    world.placings.clear()
    world.stock.unplaced(key(), "hostile", "it would write outside", world.now)
    assert world.view().state is Files.FAILED


def test_an_object_that_is_gone_when_it_is_placed_is_fetched_again(world):
    world.cache[sha("x")] = 7
    world.want(t=order(item(sha256=sha("x"))))
    world.placings.clear()
    del world.cache[sha("x")]
    world.stock.unplaced(key(), "fault", "the copy is gone", world.now)
    world.serve()
    world.pass_time(1.0)
    world.serve()
    world.got(only(world))
    world.round()
    assert world.placings == {key()}


def test_what_is_said_to_be_got_and_is_not_in_the_cache_is_tried_again(world):
    world.want(t=order())
    world.serve()
    name = only(world)
    job = world.processes[name].jobs.popleft().name
    world.say(name, say="got", job=job, sha256=sha("x"), size=1, stamp="")
    world.round()
    assert world.view().reason == "what was fetched is not in the cache; tried again at once"


def test_words_of_a_child_about_jobs_that_it_does_not_have_are_passed_over(world):
    world.want(t=order())
    world.serve()
    for word in ({"say": "got", "job": "another"}, {"say": "progress"}, {"say": "what?"}, {}):
        world.say(only(world), **word)
    world.say("nobody", say="key", key="k")
    assert only(world)


def test_other_files_in_the_same_generation_are_another_order(world):
    world.want(t=order(item("a")))
    world.serve()
    get = world.want(t=order(item("b")))
    assert kinds(get, KillChild)
    world.serve()
    assert kinds(world.errands, Get)[-1].job.source == "b"
