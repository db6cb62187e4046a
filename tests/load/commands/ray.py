"""Ray Serve on a cluster of two nodes of one core each: they share the work, and one may die.

The cluster is real and local: a head that has no core for replicas, with the proxy, and two nodes whose processes
may use one core each. Needs the extra `cwic[ray]`.
"""

import argparse
import asyncio
import itertools
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.docker.image import free_port
from tests.effort import wait_until
from tests.load.pictures import kodak_like
from tests.load.plan import Item
from tests.load.process import ready
from tests.load.report import Report
from tests.load.retry import Answered, post
from tests.load.session import CONCURRENCY, throughput

NODES = 2
STORE = 100 * 2**20  # bytes of shared memory for each node; nothing of ours goes through it
PATIENCE = 300.0  # seconds for one request, restarts included
COUNTED = 'cwic_http_requests_total{method="POST",route="/compress",status="200"}'
LOOKS = 40  # at /metrics, each of which any replica answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="one node, then both (%(default)s)")
    parser.add_argument(
        "--requests",
        type=int,
        default=60,
        help="while replicas are drained, and while a node dies (%(default)s)",
    )
    parser.add_argument("--pictures", type=int, default=8, help="drawn ones, of Kodak's size (%(default)s)")
    parser.add_argument("--models", default="cwic", help="CWIC_MODELS (%(default)s)")
    parser.add_argument(
        "--min-ratio",
        type=float,
        default=1.5,
        help="bound for two nodes / one (%(default)s; 1.9 is hoped for)",
    )


def run(args: argparse.Namespace) -> Report:
    """Measure; raises SystemExit where Ray is missing."""
    try:
        import service.jobs.ray  # noqa: F401
    except ImportError as exc:
        raise SystemExit(f"skipped: {exc}") from exc
    report = Report(f"Ray Serve, {NODES} nodes of one core")
    pictures = kodak_like(None, count=args.pictures, seed=1)
    items = [Item(f"picture {n}", "/compress", data, {"quality": "50"}) for n, data in enumerate(pictures)]
    one: list[float] = []
    both: list[float] = []
    with running() as cluster:
        for _ in range(args.rounds):
            for nodes, speeds in ((1, one), (NODES, both)):
                cluster.deploy(replicas=nodes, models=args.models)
                chosen = itertools.cycle(items)
                speeds.append(throughput(cluster.url, chosen, concurrency=CONCURRENCY, seconds=args.seconds))
        shares = cluster.shares()
        models = args.models
        drained = asyncio.run(
            beside(cluster, lambda: cluster.deploy(replicas=1, models=models), items, args.requests)
        )
        cluster.deploy(replicas=NODES, models=models)
        answers = asyncio.run(beside(cluster, cluster.kill, items, args.requests))
    report.add("one node, median", statistics.median(one), "pictures/s")
    report.add("both nodes, median", statistics.median(both), "pictures/s")
    report.add("both / one", statistics.median(both) / statistics.median(one), at_least=args.min_ratio)
    report.add("replicas that answered", len(shares), at_least=NODES)
    report.add("smallest share of the requests", min(shares) / sum(shares), at_least=0.25)
    report.add("requests while replicas are drained and replaced", len(drained))
    report.add(
        "of these lost or not done",
        sum(each.lost > 0 or each.status != httpx.codes.OK for each in drained),
        at_most=0,
    )
    report.add("requests while a node dies", len(answers))
    report.add("of these not done", sum(each.status != httpx.codes.OK for each in answers), at_most=0)
    report.add("lost with the node, sent again", sum(each.lost > 0 for each in answers), at_least=1)
    report.add("told to come again", sum(each.refused > 0 for each in answers))
    report.add("longest, tries included", max(each.seconds for each in answers), "s")
    report.details |= {"one": one, "both": both, "shares": shares, "drained": drained, "answers": answers}
    return report


@dataclass
class RayCluster:
    """A cluster of nodes on this machine, with Serve on it.

    Attributes:
        cluster: Ray's own.
        url: of the proxy.
        nodes: those for replicas.
    """

    cluster: Any
    url: str
    nodes: list[Any] = field(default_factory=list)

    def deploy(self, *, replicas: int, models: str) -> None:
        """Have so many replicas, all of them ready."""
        from ray import serve

        from service.jobs.ray import NAME, RayOptions, application
        from service.settings import Settings

        settings = Settings.model_validate({"models": models, "device": "cpu", "log_level": "warning"})
        serve.run(application(settings, RayOptions(min_replicas=replicas)), name=NAME)
        wait_until(lambda: ready(self.url), pause=0.2)

    def shares(self) -> list[int]:
        """How many pictures each of the replicas has coded, as their metrics tell."""
        counts: dict[str, int] = {}
        for _ in range(LOOKS):
            text = httpx.get(f"{self.url}/metrics", timeout=30).raise_for_status().text
            [born] = re.findall(r"^process_start_time_seconds (\S+)$", text, re.MULTILINE)
            done = [line.split()[-1] for line in text.splitlines() if line.startswith(COUNTED)]
            counts[born] = int(float(done[0])) if done else 0
        return sorted(counts.values())

    def kill(self) -> None:
        """End all processes of one node at once."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@contextmanager
def running() -> Iterator[RayCluster]:
    """A cluster for as long as the block runs."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    cores = sorted(os.sched_getaffinity(0))
    assert len(cores) >= NODES, f"{NODES} nodes need {NODES} cores, this process has {len(cores)}"
    common = {"object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
    try:
        nodes = []
        for core in cores[:NODES]:
            os.sched_setaffinity(0, {core})  # what a node starts inherits it
            nodes.append(cluster.add_node(num_cpus=1, **common))
        os.sched_setaffinity(0, cores)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
        port = free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield RayCluster(cluster, f"http://127.0.0.1:{port}", nodes)
    finally:
        os.sched_setaffinity(0, cores)
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        cluster.shutdown()


async def beside(
    cluster: RayCluster, event: Callable[[], None], items: Sequence[Item], requests: int
) -> list[Answered]:
    """Send requests, and let something happen when a third of them is done; what came of all."""
    answers: list[Answered] = []
    waiting = itertools.islice(itertools.cycle(items), requests)

    async def send(client: httpx.AsyncClient) -> None:
        for item in waiting:
            answers.append(await post(client, item, patience=PATIENCE))  # noqa: PERF401 - read as it grows

    async def happen() -> None:
        start = time.monotonic()
        while len(answers) < requests / 3:
            assert time.monotonic() - start < PATIENCE, "no answers"
            await asyncio.sleep(0.05)
        await asyncio.to_thread(event)

    async with (
        httpx.AsyncClient(base_url=cluster.url, timeout=PATIENCE, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(happen())
        for _ in range(CONCURRENCY):
            group.create_task(send(client))
    return answers
