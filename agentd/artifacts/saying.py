"""What the brain tells its downloading children: see `words`."""

from collections.abc import Collection, Sequence
from typing import Any

from agentd.core.files.errands import Get
from agentd.core.files.items import Lane
from agentd.settings import AgentSettings
from transfer.hostkeys import known_hosts

Json = dict[str, Any]


def begin(
    settings: AgentSettings, lane: Lane, rate: int | None, keep: Collection[str], files: Sequence[str] | None
) -> Json:
    """The first word: `keep` are objects that are not to make room, `files` what `file://` may read."""
    key = settings.ssh_key
    return {
        "say": "begin",
        "pool": lane.pool,
        "known_hosts": [str(each) for each in known_hosts(settings.known_hosts)],
        "ssh_key": str(key) if key is not None else None,
        "quota": settings.artifact_quota,
        "rate": rate,
        "keep": sorted(keep),
        "files": files,
    }


def get(errand: Get) -> Json:
    """A job."""
    job, known = errand.job, errand.known
    return {
        "say": "get",
        "job": errand.name,
        "source": job.source,
        "sha256": job.sha256 or None,
        "fingerprint": job.fingerprint or None,
        "known": {"sha256": known[0], "stamp": known[1]} if known else None,
    }
