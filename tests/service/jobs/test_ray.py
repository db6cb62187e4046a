"""The deployment on Ray Serve: what it says without Ray and what it tells Ray.

On a real cluster: `python -m tests.load ray`.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

ROOT = Path(__file__).parents[3]
RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install 'cwic[ray]'")


def imported(*, without_ray: bool) -> subprocess.CompletedProcess[str]:
    """Import the module in a process of its own."""
    hide = "import sys; sys.modules['ray'] = None; " if without_ray else ""
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", f"{hide}import service.jobs.ray"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_ray_the_module_says_what_to_install() -> None:
    done = imported(without_ray=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: service.jobs.ray needs Ray Serve (")
    assert last.endswith("): pip install 'cwic[ray]'")


def test_nothing_else_imports_ray() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        if path != ROOT / "service/jobs/ray.py":
            text = path.read_text()
            assert "import ray" not in text, path
            assert "from ray" not in text, path
            assert "jobs.ray" not in text, path


@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code, where it is imported
def test_more_replicas_at_most_than_at_least_turn_autoscaling_on() -> None:
    from service.jobs.ray import RayOptions

    assert RayOptions().replicas == {"num_replicas": 1}
    assert RayOptions.model_validate({"min_replicas": "2", "max_replicas": "2"}).replicas == {
        "num_replicas": 2
    }
    [(name, scaling)] = RayOptions(min_replicas=1, max_replicas=4).replicas.items()
    assert name == "autoscaling_config"
    assert scaling == {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 2}
    with pytest.raises(ValidationError):
        RayOptions.model_validate({"replicas": 3})


@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code, where it is imported
def test_ray_is_told_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.jobs.ray import RayOptions, app

    monkeypatch.setenv("CWIC_QUEUE_SIZE", "10")
    monkeypatch.setenv("CWIC_SHUTDOWN_TIMEOUT", "7")
    deployment = app(RayOptions(num_gpus=0.5, num_cpus=2))._bound_deployment
    assert deployment.name == "cwic"
    assert deployment.max_ongoing_requests == 26
    assert deployment.max_queued_requests == 10
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment._deployment_config.graceful_shutdown_timeout_s == 7
    monkeypatch.setenv("CWIC_QUEUE_SIZ", "10")
    with pytest.raises(ValidationError, match="CWIC_QUEUE_SIZ is no setting"):
        app(RayOptions())
