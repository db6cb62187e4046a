"""The queries that the dashboard and the alerts ask, and the metrics that are in them."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD = DOCKER / "grafana/dashboards/cwic.json"
ALERTS = DOCKER / "prometheus/alerts.yml"
# What Grafana puts in before it asks Prometheus.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


class Query(NamedTuple):
    """A query and where it stands."""

    where: str
    expr: str


def dashboard_queries() -> list[Query]:
    """Of every panel, as Prometheus gets them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        Query(f"{panel['title']} {target['refId']}", _filled_in(target["expr"]))
        for panel in panels
        for target in panel.get("targets", ())
    ]


def alert_queries() -> list[Query]:
    """Of every alert."""
    return [Query(rule["alert"], rule["expr"]) for rule in alert_rules()]


def alert_rules() -> list[dict[str, Any]]:
    """The alerts as they are written."""
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def selectors_of(query: Query) -> list[promql_parser.VectorSelector]:
    """What a query selects; raises ValueError where it cannot be parsed."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(query.expr), visit)
    return found


def metrics_of(query: Query) -> set[str]:
    """The names of the metrics in a query; raises ValueError where it cannot be parsed."""
    return {selector.name or "" for selector in selectors_of(query)}


def _filled_in(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert not re.search(r"\$\w+", expr), expr
    return expr
