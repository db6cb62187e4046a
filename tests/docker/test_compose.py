"""The compose file: valid, and what it promises of limits, signals and secrets."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "docker-compose.yml", ROOT / "docker/compose.secrets.yml", ROOT / "docker/compose.keys.yml"]
SERVICES = ("cwic-cpu", "cwic-gpu")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load(FILES[0].read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_valid(path: Path) -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    command: list[str | Path] = [check, "--builtin-schema", "vendor.compose-spec", path]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own tool
    assert found.returncode == 0, found.stdout


def test_one_of_two_services_runs_on_the_same_port(compose: dict[str, Any]) -> None:
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()
    cpu, gpu = (compose["services"][name] for name in SERVICES)
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    assert cpu["ports"] == gpu["ports"] == ["${BIND:-127.0.0.1:8000}:8000"]
    assert cpu["networks"] == gpu["networks"]
    others = {name for name, each in compose["services"].items() if "profiles" not in each}
    assert others == {"prometheus", "grafana"}
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


@pytest.mark.parametrize("name", SERVICES)
def test_the_service_is_confined_and_given_time_to_finish(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["shutdown_timeout"].default
    [size] = re.findall(r"^/tmp:size=(\d+)m,", service["tmpfs"][0])
    assert int(size) << 20 >= Settings.model_fields["max_body_bytes"].default
    assert service["pull_policy"] == "build"  # or a checkout that has moved on would run its old image


def test_everything_has_limits_and_starts_again(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["restart"] == "unless-stopped"
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
        assert service["logging"]["options"]["max-size"]


def test_images_of_others_are_pinned_and_only_the_loopback_is_published(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert all(re.match(r"127\.0\.0\.1:|\$\{BIND:-127\.0\.0\.1:", port) for port in service["ports"])
        if name not in SERVICES:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_files_that_are_mounted_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_dir()
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_no_one_can_log_in_without_the_secrets_file(compose: dict[str, Any]) -> None:
    default = compose["services"]["grafana"]["environment"]
    changed = yaml.safe_load(FILES[1].read_text())
    override = changed["services"]["grafana"]["environment"]
    assert default["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert override["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "false"
    [secret] = changed["services"]["grafana"]["secrets"]
    assert override["GF_SECURITY_ADMIN_PASSWORD"] == f"$$__file{{/run/secrets/{secret}}}"
    assert "PASSWORD" not in str(default)


def test_keys_are_mounted_as_a_secret_where_the_service_and_prometheus_look(compose: dict[str, Any]) -> None:
    changed = yaml.safe_load(FILES[2].read_text())
    for name in SERVICES:
        [secret] = changed["services"][name]["secrets"]
        assert changed["services"][name]["environment"] == {"CWIC_API_KEYS_FILE": f"/run/secrets/{secret}"}
        assert secret in changed["secrets"]
    prometheus = changed["services"]["prometheus"]
    [mounted] = prometheus["volumes"]
    source, target, _ = mounted.split(":")
    [folder] = [
        each.split(":") for each in compose["services"]["prometheus"]["volumes"] if each.startswith(".")
    ]
    assert Path(target) == Path(folder[1]) / "prometheus.yml"
    [scrape] = yaml.safe_load((ROOT / source).read_text())["scrape_configs"]
    assert scrape["authorization"] == {"credentials_file": f"/run/secrets/{prometheus['secrets'][0]}"}


def test_prometheus_does_the_same_with_a_key_and_without() -> None:
    plain, keyed = (
        yaml.safe_load((ROOT / "docker/prometheus" / name).read_text())
        for name in ("prometheus.yml", "prometheus.keys.yml")
    )
    del keyed["scrape_configs"][0]["authorization"]
    assert keyed == plain
