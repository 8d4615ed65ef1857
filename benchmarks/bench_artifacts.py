"""Files over SFTP from a real sshd on loopback: Muster's reader beside OpenSSH's `sftp` and paramiko's own `get`.

One big file, and many small ones over one connection. All write what they get to the same directory, and are
processes of their own; the rounds alternate. MB/s: from the connection to the last byte written (Python's
imports are not counted, `sftp`'s start is); cpu: all of the client's process. Then the downloading child,
which also hashes and syncs what it got, beside `sftp`, `sha256sum` and `sync`. The same over a line on which every
byte takes 50 ms each way. Last, all of it, beside the same:
from the deploy call through manager, agent and sshd to the start of the task that needs the files, which are by
then checked, in the node's cache and, copied and synced, in the task's directory.

    bench_artifacts.py [rounds [MB [files]]]
    bench_artifacts.py short        2 rounds of small sizes, to see that it works
"""

import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent.parent))

if sys.argv[1:] == ["short"]:
    sys.argv[1:] = ["2", "32", "200"]
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
BIG = int(sys.argv[2]) if len(sys.argv) > 2 else 512
SMALL = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
SMALL_SIZE = 10_000
FAR = 0.05
"""Seconds, one way."""
MB = 1_000_000


def main():
    if len(sys.argv) > 4:
        return client(*sys.argv[4:])
    from benchmarks.rig import header
    from benchmarks.whole_stack import whole
    from tests.sshd import running

    header(f"Files over SFTP, {ROUNDS} alternating rounds, medians")
    into = Path(tempfile.mkdtemp(prefix="muster-bench-", dir=os.environ.get("MUSTER_BENCH_DIR")))
    try:
        with running() as server:
            (server.home / "known").write_text(server.known_hosts())
            block = os.urandom(1 << 20)
            big = server.file("big")
            with big.open("wb") as file:
                for _ in range(BIG):
                    file.write(block)
            small = [server.file(f"small/{n}", os.urandom(SMALL_SIZE)) for n in range(SMALL)]
            compare(f"one file of {BIG} MiB", server, [big], into, big.stat().st_size)
            compare(f"{SMALL} files of {SMALL_SIZE // 1000} KB", server, small, into, SMALL * SMALL_SIZE)
            compare_far(server, into)
            whole(server, ROUNDS, BIG, SMALL, SMALL_SIZE, lambda files: by_hand(server, files, into))
    finally:
        shutil.rmtree(into)


def compare_far(server, into):
    """Over a long line: what waits for answers one by one is slow there."""
    from benchmarks.far import Far

    size = min(BIG, 64) << 20
    big = server.file("far/big", os.urandom(size))
    small = [server.file(f"far/{n}", os.urandom(SMALL_SIZE)) for n in range(min(SMALL, 20))]
    with Far(server.port, FAR) as line:
        (server.home / "known").write_text(server.known_hosts() + server.known_hosts(port=line.port))
        away = SimpleNamespace(port=line.port, user=server.user, key_file=server.key_file, home=server.home)
        ways, how = {name: way for name, way in WAYS.items() if way != "get"}, f"over {2000 * FAR:.0f} ms"
        compare(f"one file of {size >> 20} MiB {how}", away, [big], into, size, ways, min(ROUNDS, 3))
        total = len(small) * SMALL_SIZE
        compare(
            f"{len(small)} files of {SMALL_SIZE // 1000} KB {how}",
            away,
            small,
            into,
            total,
            ways,
            min(ROUNDS, 3),
        )


WAYS = {
    "OpenSSH's sftp": "sftp",
    "paramiko's get": "get",
    "muster": "muster",
    "OpenSSH's sftp, sha256sum, sync": "sftp+",
    "muster's child (hashes, syncs, keeps)": "child",
}


def compare(title, server, files, into, size, ways=WAYS, rounds=ROUNDS):
    print(f"\n{title}")
    found = {name: [] for name in ways}
    for number in range(rounds):
        for name in ways if number % 2 else reversed(ways):
            shutil.rmtree(into)
            into.mkdir()
            os.sync()  # what others left to be written is not this one's
            found[name].append(measure(WAYS[name], server, files, into))
            check(WAYS[name], files, into)
    for name, each in found.items():
        seconds = [one["seconds"] for one in each]
        rates = [size / MB / one for one in seconds]
        cpu, rss = (statistics.median(one[what] for one in each) for what in ("cpu", "rss"))
        base = "sftp+" if WAYS[name] in ("sftp+", "child") else "sftp"
        peer = next(found[other] for other in ways if WAYS[other] == base)
        ratio = statistics.median(one["seconds"] for one in peer) / statistics.median(seconds)
        print(
            f"{name:<38} p50 {statistics.median(rates):7.1f}  min {min(rates):7.1f}  max {max(rates):7.1f} MB/s  "
            f"x{ratio:.2f}  {statistics.median(seconds):6.2f} s  cpu {cpu:5.2f} s"
            + (f"  {rss / 1024:6.1f} MB" if rss else "")
        )


def by_hand(server, files, into):
    """Seconds of `sftp`, `sha256sum` and `sync`."""
    shutil.rmtree(into)
    into.mkdir()
    return measure("sftp+", server, files, into)["seconds"]


def measure(way, server, files, into):
    """Seconds, processor seconds, and KiB at most of one client."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    if way.startswith("sftp"):
        openssh(server, files, into)
        if way == "sftp+":
            # Not more arguments than a command may have.
            command = f"find {into} -type f -exec sha256sum {{}} + -exec sync {{}} +"
            subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.DEVNULL, check=True)
        inner = {}
    else:
        listed = into.parent / f"{into.name}.list"
        listed.write_text("\n".join(map(str, files)))
        where = [str(server.port), server.user.name, str(server.key_file), str(server.home / "known")]
        again = [sys.executable, __file__, "0", "0", "0", way, *where, str(listed), str(into)]
        inner = json.loads(subprocess.run(again, stdout=subprocess.PIPE, check=True).stdout)
        listed.unlink()
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "rss": 0, **inner}


def openssh(server, files, into):
    batch = "".join(f"get {file} {into}/{file.name}\n" for file in files)
    options = {"UserKnownHostsFile": server.home / "known", "IdentitiesOnly": "yes", "BatchMode": "yes"}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command = ["sftp", "-q", "-b", "-", "-P", str(server.port), "-i", str(server.key_file), *words]
    subprocess.run(
        [*command, f"{server.user.name}@127.0.0.1"],
        input=batch.encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def check(way, files, into):
    """Everything is there, and as it was."""
    there = [
        path for path in into.rglob("*") if path.is_file() and not path.name.endswith((".json", ".lock"))
    ]
    digests = sorted(digest(path) for path in there)
    if digests != sorted(digest(path) for path in files):
        raise SystemExit(f"{way}: {len(there)} files of {len(files)}, or not the same")


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# -- clients, in processes of their own


def client(way, port, user, key, known, listed, into):
    files = [Path(line) for line in Path(listed).read_text().splitlines()]
    read = {"muster": muster, "get": plain, "child": child}[way](int(port), user, Path(key), Path(known))
    began = time.monotonic()
    read(files, Path(into))
    rss = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": time.monotonic() - began, "rss": rss}), flush=True)
    os._exit(0)  # the connection need not be ended in order


def muster(port, user, key, known):
    from transfer.login import Login
    from transfer.sftp import SftpReader
    from transfer.urls import Source

    def read(files, into):
        source = Source(scheme="sftp", host="127.0.0.1", port=port, user=user, path="/")
        reader = SftpReader(source, Login(key_file=key, known_hosts=(known,)))
        for path in files:
            with (into / path.name).open("wb") as file:
                for piece in reader.read(str(path), 0, reader.stat(str(path))):
                    file.write(piece)

    return read


def plain(port, user, key, known):
    import paramiko

    def read(files, into):
        ssh = paramiko.SSHClient()
        ssh.load_host_keys(str(known))
        ssh.connect("127.0.0.1", port, user, key_filename=str(key), allow_agent=False, look_for_keys=False)
        sftp = ssh.open_sftp()
        for path in files:
            sftp.get(str(path), str(into / path.name))

    return read


def child(port, user, key, known):
    def read(files, into):
        pool = f"sftp://127.0.0.1:{port}"
        begin = {
            "say": "begin",
            "pool": pool,
            "base": None,
            "known_hosts": [str(known)],
            "ssh_key": str(key),
            "quota": 1 << 40,
            "rate": None,
            "keep": [],
            "files": None,
        }
        command = [sys.executable, "-P", "-m", "agentd.artifacts.child", str(into)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for word in (begin, {"say": "open", "sealed": None}):
                process.stdin.write(json.dumps(word).encode() + b"\n")
            for path in files:
                source = pool.replace("//", f"//{user}@") + str(path)
                word = {"say": "get", "job": path.name, "source": source, "sha256": None, "fingerprint": None}
                process.stdin.write(json.dumps({**word, "known": None}).encode() + b"\n")
            process.stdin.flush()
            left = len(files)
            while left:
                said = json.loads(process.stdout.readline())
                if said["say"] in ("failed", "lost"):
                    raise SystemExit(said)
                left -= said["say"] == "got"

    return read


if __name__ == "__main__":
    main()
