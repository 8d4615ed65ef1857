"""What tasks are told of their allocation's ports and of the groups they depend on."""

import re
from collections import Counter
from collections.abc import Mapping

from store.model.spec import AllocSpec, TaskSpec

_ODD = re.compile(r"[^A-Z0-9]")


def ports_of(alloc: AllocSpec, task: TaskSpec) -> dict[str, int]:
    """The numbers of a task's own ports, by name: given out, or fixed by its template."""
    fixed = {name: number for name, number in task.ports.items() if number}
    return {**fixed, **alloc.ports.get(task.name, {})}


def ports_told(alloc: AllocSpec, task: TaskSpec) -> dict[str, int]:
    """By name: the task's own ports, and of the other tasks' those whose name says which is meant."""
    others = [ports_of(alloc, other) for other in alloc.tasks if other.name != task.name]
    named = Counter(name for ports in others for name in ports)
    found = {name: number for ports in others for name, number in ports.items() if named[name] == 1}
    return {**found, **ports_of(alloc, task)}


def variables(alloc: AllocSpec, task: TaskSpec) -> dict[str, str]:
    """Values of `${port.NAME}`, `${addr.KEY}`, `${addr.KEY.PORT}`."""
    ports = {f"port.{name}": str(number) for name, number in ports_told(alloc, task).items()}
    return ports | {f"addr.{'.'.join(name)}": said for name, said in _addresses(alloc).items()}


def environment(alloc: AllocSpec, task: TaskSpec) -> dict[str, str]:
    """The same as `MUSTER_PORT_NAME`, `MUSTER_ADDR_KEY`, `MUSTER_ADDR_KEY_PORT`."""
    # What is the task's own comes last: it wins where two names look alike in capitals.
    ports = {f"MUSTER_PORT_{_capitals(name)}": str(n) for name, n in ports_told(alloc, task).items()}
    addresses = _addresses(alloc).items()
    return ports | {f"MUSTER_ADDR_{'_'.join(map(_capitals, name))}": said for name, said in addresses}


def _addresses(alloc: AllocSpec) -> Mapping[tuple[str, ...], str]:
    """By (key,) the hosts of a peer, by (key, port name) its addresses."""
    return {
        (key, port) if port else (key,): said
        for key, peer in alloc.peers.items()
        for port, said in peer.addresses.items()
    }


def _capitals(name: str) -> str:
    return _ODD.sub("_", name.upper())
