"""The topology decision, tested without a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.families.registry import family_named
from polarity.inference.package import HALF_GRAPH, FileDigest, ModelManifest
from polarity.inference.placement import CPU, CUDA, Placement
from polarity.inference.scorers import GRAPH, graph_of
from polarity.serving.options import ServingOptions
from polarity.serving.topology import Topology, decide_topology, gpus


def manifest(family: str = "distilbert", precision: Any = "fp32", *files: str) -> ModelManifest:
    return ModelManifest(
        family=family,
        name=family,
        labels=("negative", "positive"),
        precision=precision,
        temperature=1.0,
        max_tokens=None,
        files={name: FileDigest("0" * 64, 1) for name in (GRAPH, *files)},
        created="2026-01-01T00:00:00+00:00",
    )


def topology(model: ModelManifest, *, cores: int = 8, gpus: int = 0, **variables: str) -> Topology:
    environment = {f"POLARITY_{name.upper()}": value for name, value in variables.items()}
    traits = family_named(model.family).traits
    return decide_topology(ServingOptions.read(environment), model, traits, cores=cores, gpus=gpus)


@pytest.mark.parametrize(
    ("device", "present", "model", "kind"),
    [
        ("auto", 0, manifest(), "cpu"),
        ("auto", 1, manifest(), "gpu"),
        ("auto", 1, manifest("bilstm"), "gpu"),
        ("auto", 4, manifest("logistic"), "cpu"),
        ("auto", 1, manifest("distilbert", "int8"), "cpu"),
        ("auto", 1, manifest("distilbert", "int8", HALF_GRAPH), "gpu"),
        ("cpu", 2, manifest(), "cpu"),
        ("gpu", 1, manifest(), "gpu"),
        ("gpu", 0, manifest(), "gpu"),
    ],
)
def test_device_follows_the_option_the_machine_and_the_model(
    device: str, present: int, model: ModelManifest, kind: str
) -> None:
    assert topology(model, gpus=present, device=device).kind == kind


@pytest.mark.parametrize(
    ("model", "right"), [(manifest("logistic"), "cpu or auto"), (manifest("bert", "int8"), "fp32")]
)
def test_gpu_for_a_model_that_cannot_use_one_is_refused(model: ModelManifest, right: str) -> None:
    with pytest.raises(ConfigurationError, match=f"POLARITY_DEVICE=gpu.*{right}"):
        topology(model, gpus=1, device="gpu")


def test_gateway_owns_the_model_on_a_cpu_by_default() -> None:
    alone = topology(manifest(), cores=6)
    assert (alone.runners, alone.gateways, alone.threads, alone.max_batch, alone.lanes) == (0, 1, 6, 256, 1)
    apart = topology(manifest(), cores=6, runner="process", workers="2")
    assert (apart.runners, apart.gateways, apart.threads, apart.resources) == (1, 2, 6, {})
    assert apart.lanes == 2
    assert topology(manifest(), cores=6, workers="3").threads == 2
    assert topology(manifest(), cores=6, model_threads="4").threads == 4
    assert topology(manifest("logistic"), cores=6).max_batch == 32


def test_each_gpu_has_one_runner() -> None:
    two = topology(manifest(), cores=16, gpus=2)
    assert (two.runners, two.resources, two.gateways, two.lanes) == (2, {"gpu": 2}, 4, 4)
    assert [two.placement(worker).index for worker in range(2)] == [0, 1]
    assert topology(manifest(), cores=2, gpus=1).gateways == 1
    assert two.max_batch > topology(manifest()).max_batch
    assert topology(manifest(), gpus=1, max_batch="7", workers="1").max_batch == 7
    promised = topology(manifest(), gpus=0, device="gpu")
    assert (promised.runners, promised.resources) == (1, {"gpu": 1})


def test_memory_on_the_gpu_is_bounded() -> None:
    (name, cuda), fallback = topology(manifest(), gpus=1, gpu_memory_mib="512").placement().providers
    assert name == CUDA and fallback == CPU
    assert cuda == {  # type: ignore[comparison-overlap]  # the first of the pair is a pair itself
        "device_id": "0",
        "gpu_mem_limit": str(512 * 2**20),
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert Placement().providers == [CPU]


def test_missing_required_gpu_is_reported() -> None:
    Placement("gpu").require([CUDA, CPU])
    Placement("cpu").require([CPU])
    for providers in ([CPU], []):
        with pytest.raises(ServiceUnavailable, match=r"requirements-gpu\.lock.*POLARITY_DEVICE=cpu"):
            Placement("gpu").require(providers)


def test_half_precision_is_used_on_gpus_if_the_package_has_it() -> None:
    both = manifest("distilbert", "fp32", HALF_GRAPH)
    assert graph_of(both, Placement("gpu")) == HALF_GRAPH
    assert graph_of(both, Placement("cpu")) == GRAPH
    assert graph_of(manifest(), Placement("gpu")) == GRAPH


@pytest.mark.parametrize("visible", ["-1", "", "-1,0"])
def test_hidden_gpus_do_not_count(visible: str) -> None:
    assert gpus({"CUDA_VISIBLE_DEVICES": visible}) == 0
