"""How the cluster is, for Prometheus: read from the store when asked for, the same from every worker."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

from manager_api.core.workspaces import is_one
from manager_api.http.deployments import views
from manager_api.http.services import Services
from store.codec import loads
from store.errors import BadRecord, StoreError
from store.keys import DEPLOYMENTS, NODES, STATUS
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment
from store.version import VERSION

NODE_STATES = ("online", "offline", "unknown")


@dataclass(frozen=True, slots=True)
class Figures:
    """The cluster in numbers."""

    workspaces: int
    nodes: Counter[str]
    deployments: Counter[str]


def figures(services: Services) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
    """All gauges; only that the store is not there, when it is not."""
    yield InfoMetricFamily("muster_build", "Which Muster this is.", {"version": VERSION})
    try:
        found = services.call(read)
    except StoreError:
        found = None
    yield GaugeMetricFamily("muster_store_up", "Whether the store answers.", int(found is not None))
    if found is None:
        return
    yield GaugeMetricFamily("active_containers", "Workspaces that live.", found.workspaces)
    yield _by_word("muster_nodes", "Nodes by state.", "state", found.nodes, NODE_STATES)
    words = tuple(Deployment)
    yield _by_word("muster_deployments", "Deployments by status.", "status", found.deployments, words)


def _by_word(
    name: str, text: str, label: str, counts: Counter[str], words: tuple[str, ...]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word in words:
        family.add_metric([str(word)], counts[word])
    return family


def read(store: Store) -> Figures:
    """The cluster as it is."""
    known = store.values(STATUS)
    states, workspaces = Counter[str](), 0
    for key, raw in store.values(DEPLOYMENTS).items():
        try:
            status = known.get(key)
            record = loads(raw)
            state = views.state(record, loads(status) if status else None)
            states[state] += 1
            workspaces += state not in DEPLOYMENT_ENDED and is_one(record)
        except (BadRecord, KeyError, ValueError):
            continue  # doctor tells of it; one such record must not cost all figures
    beats, doubt = Projection(store).judged(sorted(store.values(NODES)))
    absent = "unknown" if doubt else "offline"
    nodes = Counter("online" if beat is not None else absent for beat in beats)
    return Figures(workspaces, nodes, states)
