"""What is to be asked, and of whom: a policy's target taken apart."""

import functools
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from store.model.policies import HealthCheck
from store.version import VERSION

_HOST = re.compile(r"[\w.:%-]+", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_HEADERS = (
    f"User-Agent: muster-probe/{VERSION}\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: identity\r\n"
    "Connection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Target:
    """`request` is empty for tcp. `host` has no brackets."""

    host: str
    port: int
    tls: bool = False
    request: bytes = b""


@functools.lru_cache(maxsize=4096)
def read(check: HealthCheck) -> Target:
    """The target of an http or tcp check.

    Raises:
        ValueError: it is none; the sentence says why.
    """
    if check.kind == "tcp":
        host, _, port = check.target.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("not host:port")
        return Target(_host(host.strip("[]")), int(port))
    url = urlsplit(check.target)
    if url.scheme not in _PORTS or not url.hostname or not all(32 < ord(c) < 127 for c in check.target):
        raise ValueError("not a URL such as http://127.0.0.1:8080/health")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    address = url.netloc.rpartition("@")[2]
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n{_HEADERS}"
    number = _PORTS[url.scheme] if url.port is None else url.port  # which raises for a wrong one
    return Target(_host(url.hostname), number, url.scheme == "https", request.encode("ascii"))


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(f"'{text}' is no host name")
    return text
