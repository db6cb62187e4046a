"""The same app on Ray Serve, for more than one machine: `serve run service.jobs.ray:app max_replicas=4`.

Replicas, their placement, autoscaling, restarts and draining are Ray's; what one replica does is the app's.
Needs the extra `cwic[ray]`; nothing else of cwic imports this module.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.replica import Replica
from service.settings import Settings

try:
    from ray import serve
    from ray.serve import Application
    from ray.serve.config import BackpressureConfig
except ImportError as exc:
    raise ImportError(f"service.jobs.ray needs Ray Serve ({exc}): pip install 'cwic[ray]'") from exc

NAME = "cwic"

# Requests that a replica holds beyond its places: refusals, probes and bodies that arrive need to come in too.
_MARGIN = 16
# Seconds after which a request that found no room in any replica may come again.
_RETRY_AFTER = 1.0


class RayOptions(BaseModel):
    """What Ray is told; the service's own settings come from `CWIC_*` as everywhere.

    Attributes:
        min_replicas: kept running.
        max_replicas: at most; more than `min_replicas` turns autoscaling on.
        target_requests: requests in work for each replica that the autoscaler aims at.
        num_cpus: CPUs that each replica takes from its node; as many workers it has, unless CWIC_WORKERS says.
        num_gpus: GPUs that each replica takes, 0.5 for two replicas on one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int | None = Field(default=None, ge=1)
    target_requests: float = Field(default=2, gt=0)
    num_cpus: float = Field(default=1, gt=0)
    num_gpus: float = Field(default=0, ge=0)

    @property
    def replicas(self) -> dict[str, Any]:
        """Ray's words for how many replicas there are."""
        most = self.max_replicas or self.min_replicas
        if most <= self.min_replicas:
            return {"num_replicas": self.min_replicas}
        scaling = {
            "min_replicas": self.min_replicas,
            "max_replicas": most,
            "target_ongoing_requests": self.target_requests,
        }
        return {"autoscaling_config": scaling}


class Watched:
    """The part of a replica's class that is ours: its health is the app's."""

    app: Replica  # Ray's half of the class has it

    async def check_health(self) -> None:
        """Called by Ray every few seconds; a replica that raises three times is replaced."""
        await self.app.check_health()


def app(options: RayOptions) -> Application:
    """The application, with settings from the environment of the process that builds it.

    They are read and validated here, once, and go to every replica as they are, API keys among them; a file of keys
    is read by each replica on its own node.

    Raises pydantic's ValidationError for wrong settings or options.
    """
    return application(Settings(), options)


def application(settings: Settings, options: RayOptions) -> Application:
    """The application with these settings."""

    cpus = max(1, int(options.num_cpus))
    workers = settings.workers or cpus
    own = settings.model_copy(update={"workers": workers})
    # Of each worker; Ray would give each one all of the replica's CPUs.
    threads = str(max(1, cpus // workers))

    def build() -> Replica:
        return Replica(own)

    deployment = serve.deployment(
        serve.ingress(build)(Watched),
        name=NAME,
        # The app's own admission decides, so Ray passes on all that a replica has places for.
        max_ongoing_requests=settings.queue_size + _MARGIN,
        max_queued_requests=settings.queue_size,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=_RETRY_AFTER),
        graceful_shutdown_timeout_s=settings.shutdown_timeout,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={
            "num_cpus": options.num_cpus,
            "num_gpus": options.num_gpus,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}},
        },
        **options.replicas,
    )
    return deployment.bind()
