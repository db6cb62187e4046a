"""Real Prometheus scrapes the real service under load, and all that is asked is answered: `docker/check observe`.

The committed configuration is used as it is, but for the address and a shorter interval. Checked: every query of the
dashboard returns numbers, every alert is evaluated without error and asks for series that are there, and none fires.
With `--screenshot FILE`, Chromium takes a picture of Prometheus' own graphs of the dashboard's main queries.
"""

import argparse
import contextlib
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import httpx
import yaml
from PIL import Image

from tests.docker.image import free_port, say
from tests.docker.promql import ALERTS, DOCKER, Query, alert_queries, dashboard_queries, metrics_of
from tests.effort import PATIENCE, wait_until
from tests.photo import photo_jpeg

SCRAPE = "1s"
CLIENTS = 3
LARGEST = 1_000_000  # bytes of a body
SCRAPES = 75  # until the longest window of the dashboard's queries, a minute, is full
# By panel and query of the dashboard.
SHOWN = (
    "Requests by route A",
    "Request time B",
    "Mean time by stage A",
    "Queue depth A",
    "Bits per pixel D",
    "Memory A",
)
FRAME = (720, 900)  # of one graph, in pixels
COLUMNS = 3


@contextlib.contextmanager
def process(*command: str | Path, log: Path) -> Iterator[None]:
    """A process that runs as long as the block."""
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as running,  # noqa: S603
    ):
        try:
            yield
        finally:
            running.terminate()


def answers(address: str) -> bool:
    """Whether a GET of an address is answered with success."""
    try:
        return httpx.get(address, timeout=PATIENCE).is_success
    except httpx.TransportError:
        return False


def configuration(folder: Path, target: str) -> Path:
    """The committed configuration, for a service at `target`; its file."""
    values: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    values["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    values["rule_files"] = [str(ALERTS)]
    [job] = values["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(values))
    return path


def load(service: str, stop: threading.Event) -> None:
    """What clients do, again and again: pictures at several qualities, files, maps, and things that are refused."""
    photo = photo_jpeg()
    with httpx.Client(base_url=service, timeout=PATIENCE) as client:
        while not stop.is_set():
            for quality in (20, 50, 80):
                file = client.post("/compress", params={"quality": quality}, content=photo).content
                client.post("/decompress", content=file)
            client.post("/importance-map", content=file)
            client.post("/inspect", content=file)
            client.post("/compress", content=b"no picture")
            client.post("/compress", content=bytes(LARGEST + 1))
            client.get("/models")


def series(prometheus: httpx.Client, expr: str) -> list[float]:
    """The values of a query, now."""
    answer = prometheus.get("/api/v1/query", params={"query": expr}).raise_for_status().json()
    result = answer["data"]["result"]
    if answer["data"]["resultType"] == "scalar":
        return [float(result[1])]
    return [float(each["value"][1]) for each in result]


def check_query(prometheus: httpx.Client, query: Query) -> None:
    """A query of the dashboard returns numbers."""
    values = series(prometheus, query.expr)
    assert values, f"{query.where}: no data for {query.expr}"
    assert any(map(math.isfinite, values)), f"{query.where}: {values} for {query.expr}"


def check_alerts(prometheus: httpx.Client) -> None:
    """Every alert is evaluated, asks for series that are there, and is silent."""
    groups = prometheus.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    for query in alert_queries():
        rule = rules[query.where]
        assert rule["health"] == "ok", f"{query.where}: {rule.get('lastError')}"
        assert rule["state"] == "inactive", f"{query.where} is {rule['state']}: {rule['alerts']}"
        for name in metrics_of(query):
            assert series(prometheus, name), f"{query.where}: no series {name}"


def take_screenshot(address: str, path: Path, folder: Path) -> None:
    """Prometheus' own graphs of the main queries, as Chromium shows them, side by side."""
    queries = {query.where: query.expr for query in dashboard_queries()}
    width, height = FRAME
    sheet = Image.new("RGB", (COLUMNS * width, math.ceil(len(SHOWN) / COLUMNS) * height), "white")
    graph = folder / "graph.png"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    options += [f"--user-data-dir={folder / 'chromium'}", "--virtual-time-budget=10000"]
    options += [f"--window-size={width},{height}", f"--screenshot={graph}"]
    for index, where in enumerate(SHOWN):
        fields = urlencode({"g0.expr": queries[where], "g0.tab": 0, "g0.range_input": "2m"})
        command = ["chromium", *options, f"{address}/graph?{fields}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
        assert graph.exists(), f"no screenshot:\n{done.stderr}"
        with Image.open(graph) as image:
            sheet.paste(image, (index % COLUMNS * width, index // COLUMNS * height))
        graph.unlink()
    sheet.quantize(64).save(path, optimize=True)
    say(f"screenshot: {path}")


def observe(folder: Path, screenshot: Path | None) -> None:
    """Start both, put load on the service, and ask what is to be asked."""
    service, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(2))
    serve: list[str | Path] = [
        Path(sys.executable).with_name("cwic-serve"),
        "--port",
        service.partition(":")[2],
    ]
    serve += ["--max-body-bytes", str(LARGEST)]
    scrape: list[str | Path] = ["prometheus", f"--config.file={configuration(folder, service)}"]
    scrape += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={prometheus}"]
    stop = threading.Event()
    with (
        process(*serve, log=folder / "service.log"),
        process(*scrape, log=folder / "prometheus.log"),
        ThreadPoolExecutor(CLIENTS) as pool,
        httpx.Client(base_url=f"http://{prometheus}", timeout=PATIENCE) as client,
    ):
        for address in (f"{service}/readyz", f"{prometheus}/-/ready"):
            wait_until(partial(answers, f"http://{address}"), pause=0.5)
        try:
            clients = [pool.submit(load, f"http://{service}", stop) for _ in range(CLIENTS)]
            scraped = 'count_over_time(up{job="cwic"}[10m])'
            wait_until(lambda: max(series(client, scraped), default=0) >= SCRAPES, pause=0.5)
            for each in clients:
                assert not each.done(), f"a client has stopped: {each.done() and each.exception()}"
            queries = dashboard_queries()
            for query in queries:
                check_query(client, query)
            say(f"dashboard: all {len(queries)} queries return numbers")
            check_alerts(client)
            say(f"alerts: all {len(alert_queries())} are evaluated, have their series, and are silent")
            if screenshot:
                take_screenshot(f"http://{prometheus}", screenshot, folder)
        finally:
            stop.set()


def main() -> int:
    """Observe; the exit status."""
    parser = argparse.ArgumentParser(
        prog="docker/check observe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--screenshot", type=Path, help="write a picture of Prometheus' graphs to this file")
    args = parser.parse_args()
    with TemporaryDirectory(prefix="cwic-observe-") as name:
        try:
            observe(Path(name), args.screenshot)
        except AssertionError as exc:
            sys.stderr.write(f"docker/check observe: {exc}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
