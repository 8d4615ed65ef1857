"""What became of a container, from its main process's word, in sentences its user can act on."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from agentd.containers import shim
from store.model.spec import TaskSpec

_RLIMITS = (
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending",
    "msgqueue", "nice", "rtprio", "rttime",
)  # fmt: skip
"""By the kernel's number, which is all that a runtime tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The last word of a container's main process, whose pid is `main`.

    `state`: `running` (then `pid` is the container's first process, as the host sees it), `ended` (it
    ran), `refused` (the engine could not start it; `said` is the end of its error). `oom_kills` counts
    the processes of it that the kernel killed for memory, at least; None when nobody saw.
    """

    main: int
    state: str
    code: int | None = None
    pid: int | None = None
    oom_kills: int | None = None
    said: str = ""


def read(home: Path, main: int) -> Outcome | None:
    """What the main process `main` left in a container's `home`; None when it has not got so far.

    An earlier run's word is none of this run's.
    """
    try:
        raw = json.loads((home / shim.STATUS).read_text(encoding="utf-8"))
        found = Outcome(**{key: value for key, value in raw.items() if key in Outcome.__slots__})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return found if found.main == main else None


def explain(task: TaskSpec, code: int | None, outcome: Outcome | None) -> str | None:
    """Why a container ended so; None when its exit code says all that is known."""
    if outcome is None:
        return None
    if outcome.state == "refused":
        return refusal(task, outcome.said)
    if outcome.oom_kills:
        limit = f"its limit of {task.limits.memory} bytes" if task.limits.memory else "the node's memory"
        many = "a process" if outcome.oom_kills == 1 else f"{outcome.oom_kills} processes"
        return f"out of memory: the kernel killed {many} of it at {limit} (exit code {code})"
    if code == 137 and task.limits.memory and outcome.oom_kills is None:
        return "killed by SIGKILL (exit code 137), perhaps for memory: it has a limit, and nobody saw"
    return None


def refusal(task: TaskSpec, said: str) -> str:
    """Why an engine started nothing, from the last lines of its client's error."""
    image = task.container.image if task.container else "?"
    for pattern, sentence in _KNOWN:
        match = re.search(pattern, said, re.IGNORECASE)
        if match:
            told = {key: value or "" for key, value in match.groupdict().items()}
            return sentence.format(image=image, **told, ulimit=_ulimit(told.get("number", "")))
    errors = re.findall(r"^(?:Error: |docker: )(.+)$", said, re.MULTILINE)
    last = errors[-1:] or said.split("\n")[-2:-1] or ["nothing"]
    return f"the container could not be started; its engine said: {last[0].strip()[:500]}"


def _ulimit(number: str) -> str:
    return _RLIMITS[int(number)] if number and int(number) < len(_RLIMITS) else number


_KNOWN = (
    (
        r"cannot connect to the docker daemon|error during connect|cannot connect to podman",
        "the node's container engine does not answer",
    ),
    (
        r"permission denied while trying to connect",
        "this agent may not use the node's container engine: permission denied on its socket",
    ),
    (
        r"short-name .* did not resolve",
        "image {image} is not on this node, and its name says no registry: write docker.io/library/NAME:TAG",
    ),
    (
        r"(?:manifest|name) unknown|manifest for .* not found|no such image|resource is denied",
        "image {image} is not on this node, and its registry does not have it or asks for a login",
    ),
    (
        r"unauthorized|authentication required|no basic auth credentials",
        "image {image} is not on this node, and its registry asks for a login",
    ),
    (
        r"(?:pinging container registry|Get \"?https?://)[^\n]*: (?P<why>[^\n\"]+)",
        "image {image} is not on this node, and its registry cannot be reached: {why}",
    ),
    (
        r"(?:Bind for|listen (?:tcp|udp)[46]?) (?P<at>[^\s]+?):? (?:failed: port is|bind: address) already",
        "port {at} is taken on this node",
    ),
    (r"address already in use|port is already allocated", "one of its ports is taken on this node"),
    (
        r"container name \"?/?(?P<name>[^\s\"]+)\"? is already in use",
        "another container has its name, {name}: remove that, or wait until it has ended",
    ),
    (
        r"statfs (?P<path>[^\n]+): no such file|bind source path does not exist: (?P<docker>[^\n]+)",
        "mount {path}{docker} does not exist on this node",
    ),
    (
        r"unable to find (?P<what>user|group) (?P<who>[^\s:]+)",
        "{what} {who} does not exist in image {image}; a number needs no entry there",
    ),
    (
        r"unable to find network|network [^\s]+ not found|cannot set multiple networks",
        "its network does not exist on this node",
    ),
    (
        r"netavark|cni|iptables",
        "its network could not be set up on this node: see the agent's or the engine's log",
    ),
    (
        r"error setting rlimit type (?P<number>\d+)",
        "ulimit {ulimit} is above what this agent may give",
    ),
    (
        r"no command (?:or entrypoint )?(?:provided|specified)",
        "image {image} says no command, and neither does the task",
    ),
    (
        r"exec: \"(?P<program>[^\"]+)\": (?:executable file not found|stat [^\n]*no such file)",
        "{program} does not exist in image {image}",
    ),
    (
        r"exec: \"(?P<program>[^\"]+)\": permission denied",
        "{program} in image {image} is not executable: it lacks the exec bit, or is a directory",
    ),
    (
        r"exec format error",
        "image {image} is not for this machine's processor, or its program lacks a shebang (#!) line",
    ),
    (
        r"cgroups in hybrid mode not supported",
        "podman's runtime crun refuses hybrid cgroups: install runc beside it",
    ),
    (r"no space left on device", "no space left for image {image} on this node"),
)
"""What engines say, the more telling first, and what is said instead."""
