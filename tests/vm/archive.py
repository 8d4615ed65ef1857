"""What the guest's file system is made of: a cpio archive, written as any user, on any distribution."""

import re
import stat
import subprocess
import sys
from pathlib import Path

UNUSED = re.compile(
    r"^(config-|distutils|ensurepip|idlelib|lib2to3|pydoc_data|(site|dist)-packages|tests?|tkinter|turtledemo|unittest)"
)
UNUSED_MODULES = re.compile(r"^(_tkinter|_curses|readline|_sqlite3|_g?dbm|nis|_test|_xxtest|xx|_codecs_)")
"""Modules in C that would bring large libraries, or are for nobody."""
COMPILED = f".{sys.implementation.cache_tag}.pyc"


class Archive:
    """A cpio archive in the `newc` format, as a kernel unpacks it; everything belongs to root."""

    def __init__(self):
        self._parts = []
        self._names = set()

    def add(self, name, mode, data=b"", mtime=0):
        """One entry, and the directories above it; a name that is there already is left as it is."""
        name = name.strip("/")
        if name in self._names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0], stat.S_IFDIR | 0o755)
        self._names.add(name)
        self._write(name, mode, data, mtime)

    def file(self, name, data, mode=0o644):
        self.add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, path, name=None):
        """A file of this machine, under its own name unless told otherwise; links are followed."""
        about = path.stat()
        mode = stat.S_IFREG | (0o755 if about.st_mode & 0o100 else 0o644)
        self.add(name or str(path), mode, path.read_bytes(), int(about.st_mtime))

    def copy_package(self, top, name):
        """A directory of Python code; compiled files make the guest start sooner."""
        for path in sorted(top.rglob("*")):
            inside = path.relative_to(top)
            if not UNUSED.match(inside.parts[0]) and wanted(path) and path.is_file():
                self.copy(path, f"{name}/{inside}")

    def bytes(self):
        self._write("TRAILER!!!", 0, b"", 0)
        return b"".join(self._parts)

    def _write(self, name, mode, data, mtime):
        number = len(self._names)
        fields = (number, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]


def wanted(path):
    if path.parent.name == "lib-dynload":
        return not UNUSED_MODULES.match(path.name)
    return path.parent.name != "__pycache__" or path.name.endswith(COMPILED)


def add_python(archive):
    """The Python that runs the tests, its standard library, and the libraries that both load."""
    home = Path(sys.base_prefix)
    program = Path(sys._base_executable).resolve()
    library = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    modules = [path for path in library.glob("lib-dynload/*.so") if wanted(path)]
    libraries = shared_libraries(program, *modules)
    # Loaded by name when a thread ends while Python does.
    helpers = {path.with_name("libgcc_s.so.1") for path in libraries if path.name.startswith("libc.so")}
    for path in libraries | {path for path in helpers if path.exists()}:
        archive.copy(path)
    if Path("/etc/ld.so.cache").exists():
        archive.copy(Path("/etc/ld.so.cache"))  # where the loader looks beyond /lib and /usr/lib
    archive.copy(program)
    archive.copy_package(library, str(library))
    archive.link("/usr/bin/python3", str(program))


def shared_libraries(*programs):
    """Where the dynamic loader finds what these load."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    return {Path(name) for name in re.findall(r"(/\S+)(?= \(0x)", said)}
