"""Dashboard and alerts: every query parses and asks for metrics that the service has, every alert is tested."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.observe.metrics import Metrics
from tests.docker.promql import (
    DASHBOARD,
    DOCKER,
    Query,
    alert_queries,
    alert_rules,
    dashboard_queries,
    metrics_of,
    selectors_of,
)
from tests.docker.tools import tool

QUERIES = dashboard_queries() + alert_queries()
OF_PROMETHEUS = {"up"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def metric_names(registry: CollectorRegistry) -> set[str]:
    """Of every series that a registry can tell, those that have no values yet among them."""
    return {family.name + suffix for family in registry.collect() for suffix in SUFFIXES[family.type]}


def family_of(name: str) -> str:
    """The metric of a series: a histogram has three kinds of them."""
    for suffix in SUFFIXES["histogram"]:
        name = name.removesuffix(suffix)
    return name


@pytest.fixture(scope="module")
def known() -> set[str]:
    metrics = Metrics()
    metrics.watch(
        queue_depth=lambda: 0,
        queue_size=1,
        queue_pixels=lambda: 0,
        queue_max_pixels=1,
        oldest_wait=lambda: 0,
        oldest_work=lambda: 0,
        heartbeat_age=lambda: 0,
    )
    metrics.watch_connections(count=lambda: 0, body_bytes=lambda: 0)
    return metric_names(metrics.registry)


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_parses_and_its_metrics_exist(query: Query, known: set[str]) -> None:
    asked = metrics_of(query)
    assert asked
    assert asked <= known | OF_PROMETHEUS


def test_a_query_that_does_not_parse_or_asks_for_nothing_known_is_found(known: set[str]) -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        metrics_of(Query("broken", "sum(rate(cwic_http_requests_total[5m])"))
    assert not metrics_of(Query("misspelt", "cwic_queue_dept > 1")) <= known


def test_the_dashboard_shows_everything_that_the_service_measures(known: set[str]) -> None:
    shown = set().union(*(metrics_of(query) for query in dashboard_queries()))
    assert "process_resident_memory_bytes" in shown
    measured = {name for name in known if name.startswith("cwic_")}
    assert {family_of(name) for name in measured} == {family_of(name) for name in shown if name in measured}


def test_panels_have_names_places_and_the_provisioned_source(panels: list[dict[str, Any]]) -> None:
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    [uid] = [each["uid"] for each in source["datasources"]]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == uid
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def promtool(*arguments: str | Path) -> Iterator[str]:
    """The lines that promtool writes."""
    program = tool("promtool", "Debian: prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    yield from done.stdout.splitlines()


def test_promtool_accepts_configuration_and_rules() -> None:
    assert any(
        "rules found" in line for line in promtool("check", "config", DOCKER / "prometheus/prometheus.yml")
    )


def test_promtool_accepts_the_configuration_with_a_key() -> None:
    assert list(promtool("check", "config", "--syntax-only", DOCKER / "prometheus/prometheus.keys.yml"))


def test_alerts_fire_and_keep_silent_as_their_tests_say() -> None:
    assert "  SUCCESS" in list(promtool("test", "rules", DOCKER / "prometheus/alerts_test.yml"))


def test_every_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((DOCKER / "prometheus/alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for alert in alert_queries():
        outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert.where}
        assert outcomes == {True, False}, alert.where


def test_every_alert_says_what_it_is_and_how_bad() -> None:
    for rule in alert_rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in (DOCKER / "README.md").read_text()


def test_alerts_use_the_job_that_is_scraped() -> None:
    scraped = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [each["job_name"] for each in scraped] == ["cwic"]
    selected = [selector for query in alert_queries() for selector in selectors_of(query)]
    matchers = [each for selector in selected for each in selector.matchers.matchers]
    assert {each.value for each in matchers if each.name == "job"} == {"cwic"}
