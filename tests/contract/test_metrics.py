"""`/metrics` by the names of contract 2, and the alerts that are made of them."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from manager_api.http.system import metrics
from manager_api.http.system.metrics import BUCKETS
from manager_api.http.templates import templates
from manager_api.http.waiting import news
from store.errors import Unavailable
from tests.builders import a_task
from tests.fakes import Manager

pytestmark = pytest.mark.contract

ALERTS = Path(__file__).parents[2] / "ops/prometheus/alerts.yaml"


@pytest.fixture
def manager(fake_store):
    return Manager(fake_store)


def scraped(manager):
    answer = manager.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def requests(figures, method, endpoint, name="api_requests_total"):
    return figures.get((name, ("endpoint", endpoint), ("method", method)))


def test_requests_are_counted_by_route_not_by_path(manager):
    for number in range(3):
        manager.get(f"/deployments/{number}")
    manager.post("/v1/deployments/x/stop", {})
    figures = scraped(manager)
    assert requests(figures, "GET", "/deployments/{deployment}") == 3
    assert requests(figures, "POST", "/v1/deployments/{deployment}/stop") == 1
    errors = (
        "api_errors_total",
        ("endpoint", "/deployments/{deployment}"),
        ("method", "GET"),
        ("status", "404"),
    )
    assert figures[errors] == 3
    assert figures[("api_latency_seconds_count",)] == 4
    assert 0 < figures[("api_latency_seconds_sum",)] < 60
    assert figures[("api_latency_seconds_bucket", ("le", "+Inf"))] == 4
    assert requests(scraped(manager), "GET", "/metrics") == 1


def test_what_somebody_makes_up_is_one_series(manager):
    for number in range(20):
        manager.get(f"/made/up/{number}")
        manager.http.simulate_request("TRACE", f"/{number}")
    unknown = {key for key in scraped(manager) if key[0] == "api_requests_total"}
    assert unknown == {
        ("api_requests_total", ("endpoint", "unknown"), ("method", "GET")),
        ("api_requests_total", ("endpoint", "unknown"), ("method", "other")),
    }


def test_what_is_waited_for_on_purpose_is_no_latency(manager, monkeypatch):
    rev = manager.get("/v1/workspaces").headers["Muster-Revision"]
    with monkeypatch.context() as patched:  # a read of 500 s, all of which was waiting
        patched.setattr(metrics, "perf_counter", itertools.count(0, 500).__next__)
        patched.setattr(news, "monotonic", itertools.count(0, 250).__next__)
        assert manager.get(f"/v1/workspaces?after={rev}&wait=1s").status_code == 200
    assert scraped(manager)[("api_latency_seconds_sum",)] < 100


def test_the_cluster_is_in_it(manager):
    body = {"name": "t", "parameters": {"user_id": {}}, "task_groups": [{"tasks": [a_task()]}]}
    templates.save(manager.store, body)
    for name in ("workspace-jane", "other"):
        manager.post("/v1/deployments", {"template": "t", "name": name, "parameters": {"user_id": "jane"}})
    figures = scraped(manager)
    assert figures[("active_containers",)] == 1
    assert figures[("muster_deployments", ("status", "PENDING"))] == 2
    assert figures[("muster_nodes", ("state", "online"))] == 0
    assert figures[("muster_store_up",)] == 1


def test_without_a_store_there_are_figures_still(manager, monkeypatch):
    def gone(*_):
        raise Unavailable("gone")

    monkeypatch.setattr(manager.services, "call", gone)
    figures = scraped(manager)
    assert figures[("muster_store_up",)] == 0
    assert ("active_containers",) not in figures


def test_openmetrics_is_for_those_who_ask(manager):
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = manager.http.simulate_get("/metrics", headers=accept)
    assert answer.text.endswith("# EOF\n")


def test_the_alerts_are_the_contract_s_and_of_metrics_that_exist(manager):
    rules = {
        rule["alert"]: rule
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
    }
    assert {name: rule["for"] for name, rule in rules.items()} == {
        "APIServiceDown": "5m", "HighAPILatency": "10m", "TooManyContainers": "5m",
    }  # fmt: skip
    assert 2.0 in BUCKETS, "the quantile is exact where it is compared"
    names = {key[0] for key in scraped(manager)} | {"up"}
    for rule in rules.values():
        used = {name for name in (*names, "api_latency_seconds_bucket") if name in rule["expr"]}
        assert used
    assert "histogram_quantile" in rules["HighAPILatency"]["expr"]
    promtool = shutil.which("promtool")
    if promtool:  # beside what is checked above: which expressions are none, and that they fire
        cases = ALERTS.with_name("alerts_test.yaml")
        subprocess.run([promtool, "test", "rules", str(cases)], check=True, capture_output=True, text=True)
