"""`/metrics`: what this API has served, summed over its worker processes, and how the cluster is just now."""

import os
import threading
from collections.abc import Callable, Iterator
from time import perf_counter

import falcon
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from manager_api.http.frame.operation import Answer, describe
from manager_api.http.services import Services
from manager_api.http.system.cluster_figures import figures

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Where workers keep their counts, each in files of its slot; the library's variable. By the supervisor."""
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
UNKNOWN = "unknown"
"""The endpoint of what is no call of this API: paths that somebody made up must not become series."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds. 2 is among them: the alert asks for it."""
_EXAMPLE = """# TYPE api_requests_total counter
api_requests_total{endpoint="/v1/nodes",method="GET"} 42.0
# TYPE active_containers gauge
active_containers 3.0
"""


class Metrics:
    """One worker's counts. `slot` is what no other living worker has: the next one goes on with its files."""

    def __init__(self, slot: int, *, shared: bool) -> None:
        self._registry = CollectorRegistry()
        self._shared = shared
        if shared:
            values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "api_requests_total", "Requests served.", ["method", "endpoint"], registry=self._registry
        )
        self._errors = Counter(
            "api_errors_total",
            "Requests answered with a status of 400 or more.",
            ["method", "endpoint", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "api_latency_seconds",
            "Time from a request to its answer, without what a blocking read waited on purpose.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._known: dict[tuple[str, str], Counter] = {}

    def served(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = method, endpoint
        counter = self._known.get(key)
        if counter is None:
            counter = self._known[key] = self._requests.labels(*key)
        counter.inc()
        self._latency.observe(max(0.0, seconds))
        if status >= 400:
            self._errors.labels(method, endpoint, str(status)).inc()

    def collect(self) -> Iterator[Metric]:
        """The counts of all workers; of this one, where they share nothing."""
        if not self._shared:
            yield from self._registry.collect()
            return
        yield from MultiProcessCollector(None, os.environ[DIRECTORY]).collect()  # type: ignore[no-untyped-call]


class Measured:
    """Middleware, the outermost: counts every request, and how long it took."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._metrics: Metrics | None = None
        self._lock = threading.Lock()

    @property
    def metrics(self) -> Metrics:
        """Made at the first request: after the fork, when this process has its slot."""
        if self._metrics is None:
            with self._lock:
                if self._metrics is None:
                    self._metrics = Metrics(self._services.slot, shared=DIRECTORY in os.environ)
        return self._metrics

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """The time runs."""
        req.context.began = perf_counter()

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Count it. `context.held` is what a call waited because it was asked to."""
        context = req.context
        held: float = getattr(context, "held", 0.0)
        method = req.method if req.method in METHODS else "other"
        seconds = perf_counter() - context.began - held
        self.metrics.served(method, req.uri_template or UNKNOWN, resp.status_code, seconds)


class Scrape:
    """`GET /metrics`."""

    def __init__(self, services: Services, measured: Measured) -> None:
        self._services = services
        self._measured = measured

    @describe(
        "Figures for Prometheus",
        id="get_metrics",
        tag="health",
        description=(
            "Counts of requests are of all worker processes since the API began; `active_containers`, nodes "
            "and deployments are read from the store; absent when it does not answer (`muster_store_up 0`)."
        ),
        answers={200: Answer("Prometheus' text format, or OpenMetrics.", None, _EXAMPLE, media="text/plain")},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer all figures."""
        encode, resp.content_type = choose_encoder(req.get_header("Accept") or "")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self._measured.metrics.collect))
        known = list(figures(self._services))
        registry.register(_Collected(lambda: iter(known)))
        resp.data = encode(registry)


class _Collected:
    """What the library asks for metrics."""

    def __init__(self, source: Callable[[], Iterator[Metric]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Them."""
        return self._source()
