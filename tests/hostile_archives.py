"""Archives that mean harm, made when they are asked for: each with what the refusal has to say.

`HOSTILE` has for each name a function that gives the bytes, and words of the sentence. What an archive
would overwrite lies beside the directory that it is unpacked in, under the name `canary`.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zlib

BLOCK = 512


def header(
    name, kind=b"0", size=0, target=b"", mode=0o644, prefix=b"", magic=b"ustar\x0000", mtime=b"00000000001\0"
):
    """A tar header, as wrong as wanted."""
    raw_size = size if isinstance(size, bytes) else b"%011o\0" % size
    raw = b"".join(
        (
            name[:100].ljust(100, b"\0"), b"%07o\0" % mode, b"0000000\0" * 2, raw_size, mtime, b" " * 8, kind,
            target[:100].ljust(100, b"\0"), magic.ljust(8, b"\0"), bytes(64), b"0000000\0" * 2,
            prefix.ljust(155, b"\0"), bytes(12),
        )
    )  # fmt: skip
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def entry(name, data=b"", kind=b"0", **more):
    """A header and its data."""
    return header(name, kind, more.pop("size", len(data)), **more) + data + bytes(-len(data) % BLOCK)


def link(name, target):
    return entry(name, kind=b"2", target=target)


def hard(name, target):
    return entry(name, kind=b"1", target=target)


def directory(name, mode=0o755):
    return entry(name, kind=b"5", mode=mode)


def pax(kind=b"x", **records):
    """An extended header."""
    text = b""
    for key, value in records.items():
        raw = value if isinstance(value, bytes) else str(value).encode()
        body = b" " + key.encode() + b"=" + raw + b"\n"
        size = len(body) + 1
        while len(b"%d" % size) + len(body) != size:
            size += 1
        text += b"%d" % size + body
    return entry(b"PaxHeader", text, kind)


def tar(*entries, end=bytes(1024)):
    return b"".join(entries) + end


def base256(number):
    return b"\x80" + number.to_bytes(11, "big")


def zipped(*members, end=b"", flags=0, method=8):
    """A zip of (name, data, mode), with what is claimed of them."""
    local, central = b"", b""
    for text, data, mode in members:
        name = text.encode()
        packed = zlib.compress(data, 9, -15)
        common = struct.pack(
            "<5H3L2H", 20, flags, method, 0, 0x21, zlib.crc32(data), len(packed), len(data), len(name), 0
        )
        central += b"PK\1\2\x14\3" + common + struct.pack("<3H2L", 0, 0, 0, mode << 16, len(local)) + name
        local += b"PK\3\4" + common + name + packed
    many = len(members)
    return (
        local
        + central
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, many, many, len(central), len(local), 0)
        + end
    )


def patched(raw, at, form, value):
    return raw[:at] + struct.pack(form, value) + raw[at + struct.calcsize(form) :]


def zip_bomb_of_overlaps():
    raw = zipped(("a", b"1" * 100_000, 0o100644), ("b", b"2", 0o100644))
    central = raw.rindex(b"PK\1\2")
    return patched(raw, central + 42, "<L", 0)


def zip_that_lies_of_its_size(size=10):
    raw = zipped(("lies", b"1" * 1000, 0o100644))
    central = raw.index(b"PK\1\2")
    return patched(patched(raw, 22, "<L", size), central + 24, "<L", size)


def zip_with_a_second_directory():
    raw = zipped(("first", b"1", 0o100644))
    return raw + zipped(("second", b"2", 0o100644))


def zip_with_another_name_inside():
    raw = zipped(("inside", b"1", 0o100644))
    return raw.replace(b"inside", b"../abc", 1)


def gzip_bomb():
    """11 GiB of zeros in 11 MiB, so small that it can be made in a test: one member, again and again."""
    member = gzip.compress(bytes(64 * 1024**2), 9)
    return gzip.compress(header(b"zeros", size=base256(11 * 1024**3))) + member * 176


def gzip_bomb_of_padding():
    return gzip.compress(tar(entry(b"small", b"1"))) + gzip.compress(bytes(64 * 1024**2), 9) * 2


def xz_that_takes_memory():
    """Says that it needs a dictionary of 4 GiB."""
    raw = bytearray(lzma.compress(tar(entry(b"a", b"1")), preset=0))
    at = raw.index(b"\x21\x01", 12)  # LZMA2, one byte of properties
    raw[at + 2] = 40
    size = (raw[12] + 1) * 4
    raw[12 + size - 4 : 12 + size] = struct.pack("<L", zlib.crc32(bytes(raw[12 : 12 + size - 4])))
    return bytes(raw)


def gnu_long(kind, text, size=None):
    return entry(b"././@LongLink", text, kind, size=len(text) if size is None else size)


def sparse():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("holes")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": str(2**52),
        }
        archive.addfile(info)
    return buffer.getvalue()


FILE = b"evil"
OUT = b"../canary/file"

HOSTILE = {
    # Paths.
    "tar: parent": (lambda: tar(entry(OUT, FILE)), "'../canary/file' has '..' in its path"),
    "tar: parent in the middle": (lambda: tar(entry(b"a/../../canary/file", FILE)), "'a/../../canary/file' has '..'"),
    "tar: parent that comes back": (lambda: tar(entry(b"a/../b", FILE)), "'a/../b' has '..'"),
    "tar: only parent": (lambda: tar(directory(b"..")), "'..' has '..' in its path"),
    "tar: parent as a directory": (lambda: tar(directory(b"../canary/new/")), "'../canary/new/' has '..'"),
    "tar: absolute": (lambda: tar(entry(b"/canary/file", FILE)), "'/canary/file' has an absolute path"),
    "tar: absolute twice": (lambda: tar(entry(b"//canary", FILE)), "'//canary' has an absolute path"),
    "tar: absolute by prefix": (lambda: tar(entry(b"file", FILE, prefix=b"/canary")), "'/canary/file' has an absolute"),
    "tar: parent by prefix": (lambda: tar(entry(b"canary/file", FILE, prefix=b"..")), "'../canary/file' has '..'"),
    "tar: parent by pax": (lambda: tar(pax(path=OUT), entry(b"good", FILE)), "'../canary/file' has '..'"),
    "tar: parent by GNU": (lambda: tar(gnu_long(b"L", OUT + b"\0"), entry(b"good", FILE)), "'../canary/file' has '..'"),
    "tar: pax for all": (lambda: tar(pax(b"g", path=OUT), entry(b"good", FILE)), "gives all entries one path"),
    "tar: two long names": (
        lambda: tar(gnu_long(b"L", b"good\0"), pax(path=OUT), entry(b"good", FILE)),
        "has two names that need not agree",
    ),
    "tar: zero byte": (lambda: tar(pax(path=b"good\0../x"), entry(b"good", FILE)), "has a zero byte in its name"),
    "tar: no name": (lambda: tar(entry(b"", FILE)), "entry '' has no name"),
    "tar: a file for a dot": (lambda: tar(entry(b"./.", FILE)), "entry './.' has no name"),
    "tar: long name": (lambda: tar(pax(path=b"n" * 256), entry(b"good", FILE)), "has a name of more than 255 bytes"),
    "tar: long path": (lambda: tar(pax(path=b"n/" * 2049 + b"n"), entry(b"good", FILE)), "has a path of more than 4096 bytes"),
    "tar: deep": (lambda: tar(pax(path=b"n/" * 150 + b"n"), entry(b"good", FILE)), "more than 100 directories deep"),
    # Links.
    "tar: link to parent": (lambda: tar(link(b"l", b"..")), "'l' is a link that leads outside"),
    "tar: link out": (lambda: tar(link(b"l", b"../canary")), "'l' is a link that leads outside"),
    "tar: link out and back": (lambda: tar(link(b"l", b"../web/x")), "'l' is a link that leads outside"),
    "tar: link to absolute": (lambda: tar(link(b"l", b"/etc/passwd")), "'l' is a link to an absolute path"),
    "tar: link to nothing": (lambda: tar(link(b"l", b"")), "'l' is a link to nothing"),
    "tar: link by pax": (lambda: tar(pax(linkpath=b"../canary"), link(b"l", b"ok")), "'l' is a link that leads outside"),
    "tar: link by GNU": (
        lambda: tar(gnu_long(b"K", b"../canary\0"), link(b"l", b"ok")), "'l' is a link that leads outside",
    ),
    "tar: link, then file through it": (
        lambda: tar(link(b"l", b"../canary"), entry(b"l/file", FILE)), "'l/file' leads through the link 'l'",
    ),
    "tar: harmless link, then file through it": (
        lambda: tar(directory(b"d"), link(b"l", b"d"), entry(b"l/file", FILE)), "'l/file' leads through the link 'l'",
    ),
    "tar: link, then file in its place": (
        lambda: tar(link(b"l", b"../canary/file"), entry(b"l", FILE)), "'l' is there twice",
    ),
    "tar: directory, then link in its place": (
        lambda: tar(directory(b"d"), link(b"d", b"../canary"), entry(b"d/file", FILE)), "'d' is there twice",
    ),
    "tar: full directory, then link in its place": (
        lambda: tar(entry(b"d/e", FILE), link(b"d", b"."), entry(b"d/file", FILE)), "'d' is there twice",
    ),
    "tar: link, then directory in its place": (
        lambda: tar(link(b"d", b"../canary"), directory(b"d"), entry(b"d/file", FILE)), "'d' is there twice",
    ),
    "tar: file twice": (lambda: tar(entry(b"a", FILE), entry(b"a", FILE)), "'a' is there twice"),
    "tar: file as a directory": (lambda: tar(entry(b"a", FILE), entry(b"a/b", FILE)), "'a/b' is there twice"),
    "tar: directory as a file": (lambda: tar(entry(b"a/b", FILE), entry(b"a", FILE)), "'a' is there twice"),
    "tar: link to link out": (
        lambda: tar(link(b"a", b"b/.."), link(b"b", b"c/.."), link(b"c", b".")), "is a link that leads outside",
    ),
    "tar: link through link out": (
        lambda: tar(directory(b"x/y"), link(b"x/y/up", b"."), link(b"l", b"x/y/up/../../../canary")),
        "'l' is a link that leads outside",
    ),
    "tar: links that lead out only together": (
        lambda: tar(link(b"sub/deep/root", b"../.."), link(b"l", b"sub/deep/root/../canary")),
        "'l' is a link that leads outside",
    ),
    "tar: link to itself": (lambda: tar(link(b"a", b"a")), "'a' is a link that leads in a circle"),
    "tar: links in a circle": (lambda: tar(link(b"a", b"b"), link(b"b", b"a")), "is a link that leads in a circle"),
    "tar: links that double": (
        lambda: tar(*(link(b"l%d" % n, b"l%d/l%d" % (n + 1, n + 1)) for n in range(60)), link(b"l60", b".")),
        "is a link that leads in a circle, or through too many others",
    ),
    "tar: link far down": (
        lambda: tar(pax(linkpath=b"d/" * 400), link(b"a", b"x")), "'a' is a link that leads deeper than anything",
    ),
    # Hard links.
    "tar: hard link out": (lambda: tar(hard(b"h", OUT)), "'h' is a hard link to '../canary/file', which is outside"),
    "tar: hard link to absolute": (lambda: tar(hard(b"h", b"/etc/passwd")), "hard link to '/etc/passwd', which is outside"),
    "tar: hard link to nothing": (lambda: tar(hard(b"h", b"no")), "'h' is a hard link to 'no', which is not before it"),
    "tar: hard link to itself": (lambda: tar(hard(b"h", b"h")), "'h' is a hard link to 'h', which is not before it"),
    "tar: hard link behind a link": (
        lambda: tar(link(b"l", b"../canary"), hard(b"h", b"l/file")), "'h' is a hard link to 'l/file', which lies behind",
    ),
    "tar: hard link to a link out": (
        lambda: tar(link(b"l", b"../canary/file"), hard(b"h", b"l")), "is a link that leads outside",
    ),
    "tar: hard link, higher up, to a link": (
        lambda: tar(directory(b"d"), link(b"d/l", b"../x"), hard(b"h", b"d/l")), "'h' is a link that leads outside",
    ),
    "tar: hard link to a directory": (
        lambda: tar(directory(b"d"), hard(b"h", b"d")), "'h' is a hard link to 'd', a directory",
    ),
    "tar: hard link with contents": (
        lambda: tar(entry(b"a", FILE), entry(b"h", FILE, b"1", target=b"a")), "'h' is a hard link and has 4 bytes",
    ),
    # What is no file.
    "tar: character device": (lambda: tar(entry(b"null", kind=b"3")), "'null' is a character device"),
    "tar: block device": (lambda: tar(entry(b"disk", kind=b"4")), "'disk' is a block device"),
    "tar: FIFO": (lambda: tar(entry(b"pipe", kind=b"6")), "'pipe' is a FIFO"),
    "tar: unknown kind": (lambda: tar(entry(b"what", kind=b"s")), "'what' is of an unknown kind"),
    "tar: from several volumes": (lambda: tar(entry(b"rest", kind=b"M")), "'rest' is the rest of a file"),
    "tar: GNU sparse": (lambda: tar(entry(b"holes", kind=b"S")), "'holes' is a sparse file"),
    "tar: pax sparse of petabytes": (sparse, "'holes' is a sparse file"),
    # Sizes.
    "tar: petabytes": (lambda: tar(entry(b"big", size=base256(2**52))), "'big' brings it to 4096.0 TiB"),
    "tar: petabytes by pax": (lambda: tar(pax(size=2**52), entry(b"big")), "'big' brings it to 4096.0 TiB"),
    "tar: less than nothing": (lambda: tar(entry(b"neg", size=b"\xff" * 12)), "'neg' has a header with a number"),
    "tar: size that is none": (lambda: tar(entry(b"nan", size=b"1_0000000+1\0")), "'nan' has a header with a number"),
    "tar: pax size that is none": (lambda: tar(pax(size="-5"), entry(b"nan")), "'nan' has a size that is no number"),
    "tar: pax time that is none": (lambda: tar(pax(mtime="nan"), entry(b"when")), "'when' has a time that is no number"),
    "tar: directory with contents": (lambda: tar(entry(b"d", FILE, b"5")), "'d' is a directory and has 4 bytes"),
    "tar: huge pax header": (lambda: tar(entry(b"x", b"", b"x", size=2**31)), "a header of 2147483648 bytes"),
    "tar: huge long name": (lambda: tar(gnu_long(b"L", b"", 2**31)), "a header of 2147483648 bytes"),
    "tar: a thousand headers": (lambda: tar(*(pax(mtime=1) for _ in range(5000))), "two headers of one kind"),
    "tar: damaged pax header": (lambda: tar(entry(b"x", b"99 path=a\n", b"x"), entry(b"a")), "a pax header"),
    "tar: pax header of nothing": (lambda: tar(pax(mtime=1)), "ends after a header that says what comes next"),
    "tar.gz: bomb": (gzip_bomb, "'zeros' brings it to 11.0 GiB; at most "),
    "tar.gz: bomb after the end": (gzip_bomb_of_padding, "something follows the end of the archive"),
    "tar.xz: memory": (xz_that_takes_memory, "its packed data are damaged"),
    # Damage.
    "tar: cut short in a file": (lambda: tar(entry(b"a", b"1" * 5000))[:2000], "the archive is cut short"),
    "tar: cut short in a header": (lambda: tar(entry(b"a", FILE))[:700], "the archive is cut short"),
    "tar: no end": (lambda: tar(entry(b"a", FILE), end=b""), "the archive is cut short"),
    "tar: garbage after the end": (lambda: tar(entry(b"a", FILE)) + b"more", "something follows the end"),
    "tar: a second archive": (lambda: tar(entry(b"a", FILE)) + tar(entry(OUT, FILE)), "something follows the end"),
    "tar: damaged header": (lambda: tar(entry(b"a", FILE), b"\x01" * 512), "a header of the archive is damaged"),
    "tar.gz: cut short": (lambda: gzip.compress(tar(entry(b"a", bytes(range(256)) * 9)))[:-9], "cut short"),
    "tar.gz: damaged": (lambda: gzip.compress(tar(entry(b"a", FILE)))[:-8] + bytes(8), "packed data are damaged"),
    "tar.gz: garbage after the end": (lambda: gzip.compress(tar(entry(b"a", FILE))) + b"more", "packed data are damaged"),
    "tar.bz2: cut short": (lambda: bz2.compress(tar(entry(b"a", FILE)))[:-9], "cut short"),
    "tar.bz2: garbage after the end": (lambda: bz2.compress(tar(entry(b"a", FILE))) + b"more", "packed data are damaged"),
    "tar.xz: cut short": (lambda: lzma.compress(tar(entry(b"a", FILE)))[:-9], "cut short"),
    "tar.xz: garbage after the end": (lambda: lzma.compress(tar(entry(b"a", FILE))) + b"more than nothing", "packed data are damaged"),
    "nothing": (lambda: b"", "it is no archive"),
    "text": (lambda: b"#!/bin/sh\nrm -rf /\n" * 100, "it is no archive"),
    "page of HTML": (lambda: b"<html>404</html>".ljust(600), "it is no archive"),
    # Zip.
    "zip: parent": (lambda: zipped(("../canary/file", FILE, 0o100644)), "'../canary/file' has '..'"),
    "zip: absolute": (lambda: zipped(("/canary/file", FILE, 0o100644)), "'/canary/file' has an absolute path"),
    "zip: backslashes": (lambda: zipped(("..\\canary", FILE, 0o100644)), "has a backslash in its path"),
    "zip: drive": (lambda: zipped(("C:/canary", FILE, 0o100644)), "'C:/canary' begins with a drive letter"),
    "zip: zero byte": (lambda: zipped(("good\0../x", FILE, 0o100644)), "has a zero byte in its name"),
    "zip: link out": (lambda: zipped(("l", b"../canary", 0o120777)), "'l' is a link that leads outside"),
    "zip: link to absolute": (lambda: zipped(("l", b"/etc", 0o120777)), "'l' is a link to an absolute path"),
    "zip: huge link": (lambda: zipped(("l", b"x" * 10**6, 0o120777)), "'l' is a link to nothing"),
    "zip: link, then file through it": (
        lambda: zipped(("l", b".", 0o120777), ("l/file", FILE, 0o100644)), "'l/file' leads through the link 'l'",
    ),
    "zip: file twice": (lambda: zipped(("a", FILE, 0o100644), ("a", FILE, 0o100644)), "'a' is there twice"),
    "zip: FIFO": (lambda: zipped(("pipe", b"", stat.S_IFIFO | 0o644)), "'pipe' is neither file, directory nor link"),
    "zip: device": (lambda: zipped(("disk", b"", stat.S_IFBLK | 0o644)), "'disk' is neither file, directory nor link"),
    "zip: socket": (lambda: zipped(("sock", b"", stat.S_IFSOCK | 0o644)), "'sock' is neither file, directory nor link"),
    "zip: directory with contents": (lambda: zipped(("d/", FILE, 0o40755)), "'d/' is a directory and has contents"),
    "zip: encrypted": (lambda: zipped(("secret", FILE, 0o100644), flags=1), "'secret' is encrypted"),
    "zip: unknown method": (lambda: zipped(("new", FILE, 0o100644), method=99), "'new' is packed in a way"),
    "zip: lzma": (lambda: zipped(("new", FILE, 0o100644), method=14), "'new' is packed in a way"),
    "zip: bomb": (lambda: zip_that_lies_of_its_size(0xFFFFFFF0), "'lies' brings it to 4.0 GiB"),
    "zip: overlapping": (zip_bomb_of_overlaps, "shares its bytes with another entry"),
    "zip: size that lies": (zip_that_lies_of_its_size, "'lies' is damaged"),
    "zip: two archives": (zip_with_a_second_directory, "its directory is not where it should be"),
    "zip: another name inside": (zip_with_another_name_inside, "'inside' is damaged"),
    "zip: cut short": (lambda: zipped(("a", FILE, 0o100644))[:-30], "cut short"),
    "zip: garbage after the end": (lambda: zipped(("a", FILE, 0o100644), end=b"more"), "something follows the end"),
    "zip: damaged": (
        lambda: patched(zipped(("a", bytes(range(256)) * 9, 0o100644)), 100, "<L", 7), "'a' is damaged",
    ),
}  # fmt: skip
