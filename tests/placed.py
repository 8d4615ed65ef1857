"""An allocation's directory with objects to place in it, and a canary beside the home."""

import hashlib
import os
import stat
from pathlib import Path

from agentd.artifacts import placing, removing

HOME = "web@0123456789ab"


class Allocation:
    """`alloc/a1`, where all may write, and the node's objects."""

    def __init__(self, directory):
        self.objects = directory / "objects"
        self.directory = directory / "alloc" / "a1"
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o1777)
        self.home = self.directory / HOME
        self.canary = self.directory / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text("sings")
        (self.canary / "link").symlink_to("file")

    def put(self, data):
        """An object; its digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.objects / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return sha256

    def word(self, *items, **more):
        """An order."""
        return {"into": str(self.home), "objects": str(self.objects), "items": list(items), **more}

    def place(self, *items, **more):
        """What the child says to an order."""
        return placing.answer(self.word(*items, **more))

    def remove(self, name):
        """A home goes, or whatever bears a name there."""
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            removing.remove(fd, name)
        finally:
            os.close(fd)

    def archive(self, data, to=""):
        """An item: an archive to unpack."""
        return {"object": self.put(data), "to": to, "extract": True}

    def file(self, data, to, **more):
        """An item: a file."""
        return {"object": self.put(data), "to": to, **more}


def seen(directory):
    """All there is in a tree, as it is: modes, times, owners, contents."""
    found = {}
    for where, directories, files in os.walk(os.fsencode(directory)):
        for name in (b".", *directories, *files):
            path = Path(os.fsdecode(where + b"/" + name))
            status = path.lstat()
            what = None
            if stat.S_ISLNK(status.st_mode):
                what = path.readlink()
            elif stat.S_ISREG(status.st_mode):
                what = path.read_bytes()
            # A directory's own time is not looked at: staging directories come and go in them.
            mtime = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[str(path.relative_to(directory))] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_nlink, mtime, what,
            )  # fmt: skip
    return found
