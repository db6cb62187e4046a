"""The Kubernetes manifests: valid for the API, alike to the compose file, and selecting their own pods."""

import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.docker.tools import tool

K8S = Path(__file__).parents[2] / "docker/k8s"
VERSIONS = ("1.32", "1.37")  # the oldest and the newest that the manifests are meant for
LABELS = {"app.kubernetes.io/name": "cwic"}


def manifests() -> dict[str, Any]:
    """The base's objects by kind, as they are written."""
    listed = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["resources"]
    assert {path.name for path in (K8S / "base").glob("*.yaml")} == {*listed, "kustomization.yaml"}
    objects = [yaml.safe_load((K8S / "base" / name).read_text()) for name in listed]
    return {each["kind"]: each for each in objects}


def built(overlay: str | Path) -> dict[str, Any]:
    """The objects that kustomize makes of a folder, by kind."""
    kubectl = tool("kubectl", "Kubernetes' own packages")
    made = subprocess.run([kubectl, "kustomize", K8S / overlay], capture_output=True, text=True, check=True)  # noqa: S603
    return {each["kind"]: each for each in yaml.safe_load_all(made.stdout)}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_is_valid(version: str) -> None:
    found = manifests()
    assert set(found) == {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    for each in found.values():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("overlay", "image", "gpus"), [("base", "cwic:cpu", None), ("gpu", "cwic:cuda", "1")]
)
def test_what_kustomize_makes_is_valid(version: str, overlay: str, image: str, gpus: str | None) -> None:
    found = built(overlay)
    for each in found.values():
        kubernetes_validate.validate(each, version, strict=True)
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
    assert ("HorizontalPodAutoscaler" in found) == (overlay == "base")


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_come_from_a_secret_with_everything_else_as_it_was(tmp_path: Path, version: str) -> None:
    folder = os.path.relpath(K8S, tmp_path)
    overlay = f"resources: [{folder}/base]\ncomponents: [{folder}/keys]\n"
    (tmp_path / "kustomization.yaml").write_text(overlay)
    deployment = built(tmp_path)["Deployment"]
    kubernetes_validate.validate(deployment, version, strict=True)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [variable] = container.pop("env")
    mount = next(each for each in container["volumeMounts"] if each["name"] == "api-keys")
    volume = next(each for each in pod["volumes"] if each["name"] == "api-keys")
    assert variable == {"name": "CWIC_API_KEYS_FILE", "value": f"{mount['mountPath']}/keys"}
    assert mount["readOnly"]
    assert "subPath" not in mount
    assert volume["secret"] == {"secretName": "cwic-api-keys"}
    container["volumeMounts"].remove(mount)
    pod["volumes"].remove(volume)
    assert deployment == built("base")["Deployment"]


def test_every_selector_names_the_pods() -> None:
    found = manifests()
    specs = {kind: each["spec"] for kind, each in found.items()}
    assert specs["Deployment"]["template"]["metadata"]["labels"] == LABELS
    assert specs["Service"]["selector"] == LABELS
    assert specs["NetworkPolicy"]["podSelector"]["matchLabels"] == LABELS
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert specs[kind]["selector"]["matchLabels"] == LABELS
    target = specs["HorizontalPodAutoscaler"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])


def test_a_pod_is_confined_and_given_time_to_finish() -> None:
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > wait + Settings.model_fields["shutdown_timeout"].default


def test_probes_ask_what_they_are_for() -> None:
    [container] = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {name: each["httpGet"]["path"] for name, each in container.items() if name.endswith("Probe")} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
