"""The depot with real processes: children that speak the words, directories that are filled, a brain that dies."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentd.artifacts.depot import Depot
from agentd.artifacts.home import STAGING
from agentd.artifacts.process import Ended
from agentd.artifacts.runner import Runner
from agentd.core.actions import Fetch, Start
from agentd.core.files.views import Files
from agentd.executor import Executor
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.policy import Policy
from agentd.settings import AgentSettings
from store.clock import SystemClock
from store.codec import dumps
from tests.builders import a_task, an_alloc
from tests.conftest import eventually
from tests.web import Page, Web
from transfer import urls

pytestmark = pytest.mark.integration

HERE = Path(__file__).resolve().parent
FAKE = HERE.parent / "fake_child.py"
UID = "uid"


def settings(home, interval=5.0):
    return AgentSettings(
        manager_url="http://127.0.0.1:1", hostname="n", interval=interval, port=0, data_dir=home, log_file=None,
        policy=home / "policy.yaml", cgroups="none", containers="none", log_quota=1 << 30,
    )  # fmt: skip


class Node:
    """A depot, and a round of a brain around it."""

    def __init__(self, home, *, fake=True, instance="brain", interval=5.0):
        self.home, self.clock = home, SystemClock()
        home.mkdir(exist_ok=True)
        self.launcher = Launcher(home, Identity("n", UID, "s", "m"), Policy(home / "policy.yaml"), None)
        self.depot = Depot(settings(home, interval), UID, self.launcher, self.clock, lambda: None, instance)
        self.launcher.stock = self.depot
        self.contact = True
        self.grants = True
        if fake:
            self.depot.program = (sys.executable, str(FAKE), str(home / "artifacts"))

    def round(self, *allocs, live=()):
        """One round, with a store that grants everything; the views."""
        self.beat()
        self.depot.settle()
        desired = {each.id: each for each in allocs}
        fetches = [Fetch(each, task, "") for each in allocs for task in each.tasks if task.has_files]
        self.depot.want(fetches, desired, desired.keys(), live)
        return self.depot.views

    def beat(self):
        if not self.contact:
            return
        asks = self.depot.asks().get("fetching", {}).get("asks", {})
        self.depot.heard(self.clock.now())
        grants = {ask: {"sealed": "c2VhbA=="} for ask in asks} if self.grants else {}
        self.depot.granted(dumps({"v": 1, "uid": UID, "grants": grants, "waiting": {}}))

    def until(self, alloc, condition, task="main"):
        """The view of a task's files, once it is as it should be."""

        def look():
            view = self.round(alloc).get((alloc.id, task, alloc.generation))
            return view if view is not None and condition(view) else None

        return eventually(look)

    def ready(self, alloc, task="main"):
        self.until(alloc, lambda view: view.state is Files.READY, task)
        return self.depot.home(alloc, next(each for each in alloc.tasks if each.name == task))

    def notes(self):
        path = self.home / "artifacts" / "notes"
        return [line.split(" ", 1)[1] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def strangers():
    """What other tests of this process have left dead, and nobody has looked after."""
    return frozenset(children_of(os.getpid(), ""))


@pytest.fixture
def node(tmp_path, strangers, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "STRANGERS", strangers)
    nodes = []

    def make(**more):
        nodes.append(Node(tmp_path / "data", **more))
        return nodes[-1]

    yield make
    for each in nodes:
        each.depot.stop()
    assert not children_of(os.getpid(), "artifacts")


STRANGERS = frozenset()


def children_of(pid, word):
    """Living and dead children of a process whose command line has a word; zombies have none, and count."""
    found = []
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            said = Path(f"/proc/{line}/cmdline").read_bytes().decode()
        except OSError:
            continue
        if (word in said or not said) and int(line) not in STRANGERS:
            found.append(int(line))
    return found


def needs(*artifacts, generation=1, **task):
    return an_alloc(a_task(artifacts=[{"source": each} for each in artifacts], **task), generation=generation)


def test_files_are_fetched_placed_and_remembered(node):
    one, alloc = node(), needs("good/hello", "good/world")
    home = one.ready(alloc)
    assert home.parent == one.launcher.allocs / alloc.id
    assert home.name.startswith("main@")
    assert {each.name: each.read_text() for each in home.iterdir()} == {"hello": "hello", "world": "world"}
    assert one.notes() == ["begin ~", "open c2VhbA==", "get good/hello new", "get good/world new"]
    eventually(lambda: one.round(alloc) and not one.depot.asks())  # the turn is given back


def test_the_archive_that_is_to_blame_is_named(node):
    alloc = an_alloc(
        a_task("main", artifacts=[{"source": "good/fine"}, {"source": "good/no archive", "extract": True}])
    )
    view = node().until(alloc, lambda view: view.state is Files.FAILED)
    assert view.reason.startswith("good/no archive: ")


def test_a_new_brain_finds_what_lies_ready_without_any_source(node):
    alloc = needs("good/hello")
    home = node().ready(alloc)
    later = node(instance="later")
    later.contact = False
    assert later.depot.views[alloc.id, "main", 1].state is Files.READY  # before the first round
    assert later.round(alloc)[alloc.id, "main", 1].state is Files.READY
    assert later.depot.home(alloc, alloc.tasks[0]) == home
    assert later.notes().count("get good/hello new") == 1


def test_a_new_generation_asks_the_source_whether_it_is_still_the_same(node):
    alloc = needs("good/hello")
    home = node().ready(alloc)
    later = node(instance="later")
    assert later.ready(needs("good/hello", generation=2)) == home  # the same files: the same directory
    assert later.notes()[-1] == "get good/hello known"


def test_going_back_asks_no_source_and_a_restart_does(node):
    one = node()
    old = one.ready(needs("good/old"))
    one.ready(needs("good/new", generation=2))
    one.ready(needs("good/new", generation=3))  # a restart of it
    asked = one.notes().count("get good/old known")
    assert one.notes()[-1] == "get good/new known"
    later, back = node(instance="later"), needs("good/old", generation=4)
    later.contact = False
    assert later.ready(back) == old
    last = node(instance="last")
    assert last.ready(needs("good/old", generation=5)) == old
    assert last.notes().count("get good/old known") == asked + 1


def test_going_back_from_files_that_never_came_asks_no_source(node):
    one = node()
    old = one.ready(needs("good/old"))
    one.until(needs("missing/new", generation=2), lambda view: "no such file" in view.reason)
    asked = len(one.notes())
    later = node(instance="later")  # and what was wished for is remembered
    later.contact = False
    assert later.ready(needs("good/old", generation=3)) == old
    assert len(later.notes()) == asked


def test_going_back_asks_the_source_of_what_the_node_does_not_have_any_more(node):
    one = node()
    one.ready(needs("good/old", "good/other"))
    one.ready(needs("good/new", generation=2))
    one.depot.cache.path(hashlib.sha256(b"old").hexdigest()).unlink()
    home = one.ready(needs("good/old", "good/other", generation=3))
    assert (home / "old").read_text() == "old"
    assert one.notes()[-1] == "get good/old known"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "uid": "another"})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "v": 2})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "alloc": "../../etc"})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "home": "../../../etc"})),
        lambda path: path.unlink(),
    ],
)
def test_a_record_that_cannot_be_believed_is_as_good_as_none(node, spoil):
    one, alloc = node(), needs("good/hello")
    one.ready(alloc)
    (path,) = (one.home / "artifacts" / "placed").glob("*/*.json")
    spoil(path)
    later = node(instance="later")
    assert later.depot.views == {}
    assert (later.ready(alloc) / "hello").read_text() == "hello"


def test_a_directory_that_somebody_removed_is_filled_again(node):
    one, alloc = node(), needs("good/hello")
    shutil.rmtree(one.ready(alloc))
    later = node(instance="later")
    assert (later.ready(alloc) / "hello").exists()


def test_of_older_generations_the_last_is_kept_and_those_that_run(node):
    one = node()
    homes = [one.ready(needs(f"good/{number}", generation=number)) for number in (1, 2)]
    live = {("d.0", "main", 1)}
    third = needs("good/3", generation=3)

    def placed(alloc, live):
        return lambda: (
            one.round(alloc, live=live).get((alloc.id, "main", alloc.generation), None)
            and (one.depot.home(alloc, alloc.tasks[0]))
        )

    homes.append(eventually(placed(third, live)))
    assert [each.exists() for each in homes] == [True, True, True]
    one.round(third)
    assert [each.exists() for each in homes] == [False, True, True]
    assert len([*(one.home / "artifacts" / "placed" / "d.0").glob("*.json")]) == 2
    eventually(lambda: len([*(one.launcher.allocs / "d.0").iterdir()]) == 2)


def test_what_is_known_of_an_allocation_goes_with_it(node):
    one = node()
    one.ready(needs("good/hello"))
    one.round()
    assert one.depot.views == {}
    assert [*(one.home / "artifacts" / "placed").iterdir()] == []


def test_what_a_killed_brain_was_removing_is_removed_by_the_next(node):
    one = node()
    home = one.ready(needs("good/hello"))
    left = home.with_name(f"{STAGING}0123456789abcdef")
    left.mkdir()
    (left / "large").write_text("")
    later = node(instance="later")
    eventually(lambda: later.round(needs("good/hello")) and not left.exists())
    assert home.exists()


def test_what_a_task_has_made_goes_with_its_allocation_however_deep_it_is(node):
    one = node()
    deepest = 3000
    fd = os.open(one.launcher.allocs, os.O_RDONLY)
    for name in ["gone.0", *["d"] * deepest]:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    (one.launcher.allocs / "kept.0").mkdir()
    Executor(SimpleNamespace(protocol=2), one.launcher, one.clock).sweep({"kept.0"}, [])
    assert [path.name for path in one.launcher.allocs.iterdir()] == ["kept.0"]


def test_a_child_that_dies_is_explained_by_its_last_words(node):
    one, alloc = node(), needs("die/x")
    view = one.until(alloc, lambda view: view.reason.startswith("the process"))
    assert view.reason == "the process that does it ended with exit code 3: MemoryError; tried again at once"


def test_a_child_that_talks_nonsense_is_ended(node):
    one, alloc = node(), needs("nonsense/x")
    view = one.until(alloc, lambda view: view.reason.startswith("the process"))
    assert "was killed by signal 9: it said something that is no word" in view.reason


def test_a_file_that_is_missing_is_said_and_another_task_does_not_wait_for_it(node):
    one = node()
    alloc = an_alloc(
        a_task("main", artifacts=[{"source": "missing/x"}]), a_task("other", artifacts=[{"source": "good/y"}])
    )
    one.ready(alloc, "other")
    view = one.until(alloc, lambda view: "no such file" in view.reason)
    assert view.reason.startswith("no such file missing/x; tried again in ")


def test_of_several_archives_the_one_that_is_none_is_named(node):
    one = node()
    archive = {"source": "good/archive", "extract": True, "to": "a"}
    alloc = an_alloc(a_task(artifacts=[{"source": "good/whole"}, archive]))
    view = one.until(alloc, lambda view: view.state is Files.FAILED)
    assert view.reason.startswith("good/archive: not unpacked: it is no archive")
    assert urls.shown("apps/whole") == "apps/whole"
    assert urls.shown("https://files.example/no.tgz?token=hush") == "https://files.example/no.tgz?…"


def test_progress_does_not_pile_up_nor_wake_the_brain(node):
    one, alloc = node(), needs("flood/100000")
    woken = []
    one.depot.runner._kick = lambda: woken.append(1)
    one.until(alloc, lambda view: "get flood/100000 new" in one.notes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (child,) = children_of(os.getpid(), "fake_child")
    eventually(lambda: len(woken) == 2)  # its key, and that it has got it: nobody listened meanwhile
    assert len(one.depot.runner.take()) <= 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024
    assert len(woken) == 2
    assert child


def test_a_turn_that_is_taken_back_ends_the_child(node):
    one, alloc = node(), needs("slow/x")
    one.until(alloc, lambda view: view.total == 1000)
    (child,) = children_of(os.getpid(), "fake_child")
    (ask,) = one.depot.asks()["fetching"]["asks"]
    one.grants = False
    one.round(alloc)
    eventually(lambda: one.round(alloc) and not Path(f"/proc/{child}").exists())
    eventually(
        lambda: one.round(alloc) and one.depot.asks() and ask not in one.depot.asks()["fetching"]["asks"]
    )


def test_a_child_that_lost_its_lease_ends_although_the_brain_is_stuck(node):
    one, alloc = node(interval=1.0), needs("slow/x")
    one.until(alloc, lambda view: view.total == 1000)
    (child,) = children_of(os.getpid(), "fake_child")
    eventually(lambda: not Path(f"/proc/{child}").exists())  # no round comes, and no heartbeat
    one.contact = False
    one.until(alloc, lambda view: view.reason.startswith("waits for the store"))


def test_what_nobody_wants_any_more_is_ended(node):
    one, alloc = node(), needs("slow/x")
    one.until(alloc, lambda view: view.total == 1000)
    one.round()
    eventually(lambda: one.round() == {} and not children_of(os.getpid(), "fake_child"))
    eventually(lambda: one.round() == {} and one.depot.asks() == {})


def test_asks_are_told_of_when_they_change(node):
    one, alloc, told = node(), needs("slow/x"), []
    one.depot.on_asks = lambda: told.append(dict(one.depot.asks()))
    one.until(alloc, lambda view: view.total == 1000)
    assert [len(each["fetching"]["asks"]) for each in told] == [1]


def test_a_program_that_the_node_lacks_is_fetched_by_its_name(node):
    one = node()
    alloc = an_alloc(a_task(command="/nowhere/at/all/good", fetch=True))
    one.depot.program = (
        sys.executable,
        "-c",
        FAKE.read_text().replace(
            '"good":', '"good" if not rest:\n            got(job, "#!/bin/sh")\n        case "good":'
        ),
        str(one.home / "artifacts"),
    )
    home = one.ready(alloc)
    command = one.depot.command(alloc, alloc.tasks[0])
    assert command == str(home / "good")
    assert os.access(command, os.X_OK)
    assert node(instance="later").depot.command(alloc, alloc.tasks[0]) == command


def test_a_program_that_the_node_had_is_fetched_once_a_start_finds_it_gone(node, tmp_path):
    program = tmp_path / "good"
    program.write_text("")
    one, alloc = node(), an_alloc(a_task(command=str(program), fetch=True))
    assert one.ready(alloc) is None
    program.unlink()
    start = Start(alloc, alloc.tasks[0], 0, "wanted")
    executor = Executor(SimpleNamespace(protocol=2), one.launcher, one.clock)
    assert executor.perform([start]) is not None
    home = one.ready(alloc)
    assert one.launcher.order(alloc, alloc.tasks[0], start.run, "main")["path"] == str(home / "good")


def test_a_program_that_the_node_has_is_not_fetched_though_the_task_says_fetch(node):
    one = node()
    alloc = an_alloc(a_task(command="/bin/true", fetch=True))
    one.contact = False
    one.round(alloc)
    assert one.round(alloc)[alloc.id, "main", 1].state is Files.READY
    assert one.depot.home(alloc, alloc.tasks[0]) is None
    assert one.depot.command(alloc, alloc.tasks[0]) is None
    assert one.notes() == []


@pytest.mark.parametrize(
    ("artifact", "says"),
    [
        ({"source": "ftp://x/y"}, "ftp:// is not one of"),
        ({"source": "../x"}, "not a path under --sftp-host"),
        ({"source": "x", "to": "../../etc/passwd"}, "not a path inside the task's directory"),
        (
            {"source": "x", "owner": "nobody-of-that-name"},
            "owner of x: user nobody-of-that-name does not exist",
        ),
    ],
)
def test_what_can_never_be_had_fails_at_once(node, artifact, says):
    one = node()
    alloc = an_alloc(a_task(artifacts=[artifact]))
    one.round(alloc)
    view = one.round(alloc)[alloc.id, "main", 1]
    assert view.state is Files.FAILED
    assert says in view.reason
    assert one.notes() == []


def test_a_node_that_forbids_root_lets_no_file_be_roots(node):
    one = node()
    (one.home / "policy.yaml").write_text("forbid_root: true\n")
    alloc = an_alloc(a_task(artifacts=[{"source": "x", "owner": "root"}]))
    one.round(alloc)
    assert "forbids tasks of root" in one.round(alloc)[alloc.id, "main", 1].reason


def test_variables_in_sources_are_filled_in(node):
    one, alloc = node(), needs("good/${node.id}-${alloc.index}")
    assert (one.ready(alloc) / "n-0").read_text() == "n-0"


def test_the_real_child_brings_a_file_of_this_node(node, tmp_path):
    source = tmp_path / "füße.bin"
    source.write_bytes(os.urandom(3 << 20))
    one = node(fake=False)
    one.contact = False
    alloc = needs(f"file://{tmp_path}/f%C3%BC%C3%9Fe.bin")
    home = one.ready(alloc)
    assert (home / "füße.bin").read_bytes() == source.read_bytes()


def test_all_children_are_gone_and_reaped_when_the_depot_stops(node):
    one, alloc = node(), needs("slow/x")
    one.until(alloc, lambda view: view.total == 1000)
    assert children_of(os.getpid(), "fake_child")
    one.depot.stop()
    assert not children_of(os.getpid(), "fake_child")
    assert not [each for each in threading.enumerate() if each.name == "files"]


BRAIN = HERE / "fetching_brain.py"


class Life:
    """One life of a brain with a keeper, in a process of its own."""

    def __init__(self, home, source, *rate):
        argv = [sys.executable, str(BRAIN), str(home), source, *rate]
        self.home, self.process = home, subprocess.Popen(argv, cwd=HERE.parents[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def home(tmp_path):
    """A data directory whose tasks and keeper end with the test."""
    found = tmp_path / "data"
    found.mkdir()
    yield found
    argv = [sys.executable, "-m", "agentd", "stop", "--tasks", "--data-dir", str(found)]
    subprocess.run(argv, cwd=HERE.parents[1], check=True, capture_output=True)


def program(path, padding=0):
    path.write_text("#!/bin/sh\necho started >> $MUSTER_ALLOC_DIR/starts\nexec sleep 1000\n" + "#" * padding)
    return path


def starts(home):
    path = home / "alloc" / "d.0" / "starts"
    return path.read_text().count("started") if path.exists() else 0


def test_the_next_life_of_a_killed_brain_starts_what_lies_ready_without_its_source(home, tmp_path):
    source = program(tmp_path / "run.sh")
    with Life(home, f"file://{source}") as first:
        eventually(lambda: starts(home) == 1)
        first.kill()
    source.unlink()
    with Life(home, f"file://{source}"):
        run = eventually(lambda: (home / "running").exists() and (home / "running").read_text())
        os.kill(int(run), signal.SIGKILL)
        eventually(lambda: starts(home) == 2)


def test_a_killed_brain_takes_its_downloads_along_and_the_next_life_goes_on_with_them(home, tmp_path):
    source, parts = program(tmp_path / "run.sh", 4 << 20), home / "artifacts" / "parts"

    def so_far():
        return max((path.stat().st_size for path in parts.glob("*.part")), default=0)

    with Life(home, f"file://{source}", str(1 << 20)) as first:
        eventually(lambda: so_far() > 0)
        (child,) = children_of(first.process.pid, "agentd.artifacts.child")
        first.kill()
    eventually(lambda: not Path(f"/proc/{child}").exists())
    assert starts(home) == 0
    assert so_far() > 0
    with Life(home, f"file://{source}"):
        eventually(lambda: starts(home) == 1)
    assert so_far() == 0


def test_a_child_of_a_stopped_brain_ends_with_its_turn_and_the_woken_brain_goes_on(home, tmp_path, web):
    data = program(tmp_path / "run.sh", 2 << 20).read_bytes()
    web.pages["/run.sh"] = Page(data)
    with Life(home, f"{web.url}/run.sh", str(256 << 10)) as life:
        (child,) = eventually(lambda: web.sent and children_of(life.process.pid, "agentd.artifacts.child"))
        life.process.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: ended(child))
        finally:
            life.process.send_signal(signal.SIGCONT)
        eventually(lambda: starts(home) == 1)
    assert len(web.gets()) > 1


def ended(pid):
    """Whether a process is gone, or only not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def test_parts_that_nobody_goes_on_with_go_as_the_brain_looks_after_its_cache(node):
    one = node()
    old, new = (one.depot.cache.parts / name for name in ("old.part", "new.part"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    one.round()
    eventually(lambda: not old.exists())
    assert new.exists()


def test_a_child_that_is_gone_is_not_written_to_any_more():
    runner = Runner(lambda: None, SystemClock(), lambda: 0.0)
    runner._thread = threading.current_thread()  # its turns are taken here
    runner.start("x", ["/bin/sleep", "0.2"], [{"say": "a" * (1 << 18)}])
    process = runner._children["x"].process
    select = runner._selector.select
    runner._selector.select = lambda _: sorted(
        select(0.02), key=lambda found: "stdout" not in (found[0].data or ())
    )
    for _ in range(5):
        runner._turn()
    process.wait()
    while runner._children:
        runner._turn()
    assert [type(each) for each in runner.take()] == [Ended]
    runner._thread = None
    runner.stop()
