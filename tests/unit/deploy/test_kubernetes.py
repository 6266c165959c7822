"""The manifests for Kubernetes: what kustomize makes of them is valid, and every pod is as careful as the others."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from polarity.config.settings import PROJECT

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="needs kubectl, which has kustomize")

FOLDER = PROJECT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "canary")
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest version of Kubernetes whose schemas are tried."""

Resource = dict[str, Any]


@cache
def made(overlay: str) -> tuple[Resource, ...]:
    command = [str(KUBECTL), "kustomize", str(FOLDER / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "deprecated" not in done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def kinds(overlay: str, *names: str) -> list[Resource]:
    return [one for one in made(overlay) if one["kind"] in names]


def workloads(overlay: str) -> list[Resource]:
    return kinds(overlay, "Deployment", "StatefulSet")


def pod(workload: Resource) -> Resource:
    spec: Resource = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Resource) -> list[Resource]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_have_the_schemas_of_the_api(overlay: str, version: str) -> None:
    for resource in made(overlay):
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_wrong_manifest_would_be_found() -> None:
    (service,) = kinds("canary", "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "prots": []}}, VERSIONS[0], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_no_rights(overlay: str) -> None:
    for workload in workloads(overlay):
        spec, name = pod(workload), workload["metadata"]["name"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] >= 999 and context["fsGroup"] >= 999, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["serviceAccountName"] == "polarity" and spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all({"hostPath", "secret"}.isdisjoint(volume) for volume in spec.get("volumes", [])), name
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_are_sized_and_watched(overlay: str) -> None:
    for workload in workloads(overlay):
        for container in containers(workload):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]) and resources["limits"]["memory"], container["name"]
            assert re.search(r":[\w.-]+$", container["image"]) and not container["image"].endswith(":latest")
        for container in pod(workload)["containers"]:
            ports = {port["name"] for port in container["ports"]}
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                if http := container.get(probe, {}).get("httpGet"):
                    assert http["port"] in ports
            assert "readinessProbe" in container and "livenessProbe" in container, container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_refers_to_something_finds_it(overlay: str) -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads(overlay)]
    for workload in workloads(overlay):
        wanted = workload["spec"]["selector"]["matchLabels"]
        assert sum(wanted.items() <= found.items() for found in labels) == 1
        for container in containers(workload):
            volumes = {volume["name"] for volume in pod(workload).get("volumes", [])}
            volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    for service in kinds(overlay, "Service"):
        (found,) = [one for one in workloads(overlay) if service["spec"]["selector"].items()
                    <= one["spec"]["template"]["metadata"]["labels"].items()]  # fmt: skip
        ports = {port["name"] for container in containers(found) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    names = {one["metadata"]["name"] for one in kinds(overlay, "Service")}
    for workload in workloads(overlay) if overlay != "canary" else ():
        for container in containers(workload):
            for variable in container.get("env", []):
                if host := re.fullmatch(r"http://([a-z-]+)(?::\d+)?(?:/api)?", variable.get("value", "")):
                    assert host[1] in {"localhost", *names}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_a_file(overlay: str) -> None:
    assert not kinds(overlay, "Secret")
    values = [str(variable.get("value", "")) for workload in workloads(overlay) for container in containers(workload)
              for variable in container.get("env", [])]  # fmt: skip
    assert not [value for value in values if re.search("://[^/]*@|password|key", value, re.IGNORECASE)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_ends_after_its_longest_request(overlay: str) -> None:
    found = 0
    for workload in workloads(overlay):
        container = pod(workload)["containers"][0]
        if "preStop" in container.get("lifecycle", {}):
            pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
            values = {variable["name"]: variable.get("value") for variable in container["env"]}
            assert (
                pod(workload)["terminationGracePeriodSeconds"] >= pause + int(values.get("POLARITY_GRACE_S") or 30) + 10
            )
            found += 1
    assert found == {"cpu": 1, "gpu": 2, "canary": 1}[overlay]


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_service_is_scaled_and_kept_available(overlay: str) -> None:
    (scaler,) = kinds(overlay, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "sentiment"
    budgets = {budget["metadata"]["name"] for budget in kinds(overlay, "PodDisruptionBudget")}
    assert budgets == ({"sentiment"} if overlay == "cpu" else {"sentiment", "runner"})
    (metric,) = scaler["spec"]["metrics"]
    (rule,) = yaml.safe_load((FOLDER / "queue_wait.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert '"polarity_queue_seconds"' in (PROJECT / "src" / "polarity" / "serving" / "metrics.py").read_text()
    assert set(re.findall(r"polarity_\w+", rule["metricsQuery"])) == {
        "polarity_queue_seconds_sum", "polarity_queue_seconds_count"
    }  # fmt: skip


def test_runner_and_service_are_apart_where_there_are_gpus() -> None:
    found = {one["metadata"]["name"]: containers(one)[0] for one in workloads("gpu")}
    assert found["runner"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in found["sentiment"]["resources"]["limits"]
    assert found["runner"]["image"] == found["sentiment"]["image"]
    assert found["runner"]["args"][-2:] == ["--service-name", "runner"]
    (address,) = [word for word in found["sentiment"]["args"] if word.startswith("runner=")]
    (service,) = [one for one in kinds("gpu", "Service") if one["metadata"]["name"] == "runner"]
    assert address == f"runner=http://runner:{service['spec']['ports'][0]['port']}"


def test_the_canary_has_no_client_of_the_service() -> None:
    (canary,) = workloads("canary")
    assert canary["metadata"]["name"] == "sentiment-canary" and canary["spec"]["replicas"] == 0
    (service,) = [one for one in kinds("cpu", "Service") if one["metadata"]["name"] == "sentiment"]
    assert service["spec"]["selector"] == {"app": "sentiment"}
    assert canary["spec"]["template"]["metadata"]["labels"]["app"] == "sentiment-canary"
    assert not kinds("canary", "HorizontalPodAutoscaler", "PodDisruptionBudget")
