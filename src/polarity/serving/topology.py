"""Which processes serve a model, decided from the server's options, the model and the machine.

`decide_topology` is a pure function. The HTTP process, the process that owns the model, and BentoML's supervisor each
call it and get the same result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from polarity.errors import ConfigurationError
from polarity.inference.package import HALF_GRAPH, ModelManifest
from polarity.inference.placement import Kind, Placement
from polarity.inference.traits import Traits
from polarity.serving.options import ServingOptions

_GPU_MAX_BATCH = 512
# Batches in flight to one runner: the one it is running, and the next, so that it never idles between two.
_BATCHES_PER_RUNNER = 2
_MOST_GATEWAYS = 4
_CORES_PER_GATEWAY = 4


@dataclass(frozen=True)
class Topology:
    """The processes of a server and their settings.

    Attributes
    ----------
    runners : int
        Processes that each own a copy of the model, one per GPU; 0 if the gateways own the copies.
    gateways : int
        Processes that serve HTTP.
    threads : int
        Threads per copy of the model on a CPU.
    max_batch : int
        Maximum number of texts per call of the model.
    queue_room : int
        Number of requests that may always wait.
    memory_bytes : int
        Maximum memory per copy on a GPU.
    """

    kind: Kind
    runners: int
    gateways: int
    threads: int
    max_batch: int
    queue_room: int
    memory_bytes: int

    @property
    def lanes(self) -> int:
        """Number of batches that each gateway runs concurrently."""
        return max(1, _BATCHES_PER_RUNNER * self.runners)

    @property
    def resources(self) -> dict[str, int]:
        """The resources that BentoML reserves for all runners together."""
        return {"gpu": self.runners} if self.kind == "gpu" else {}

    def placement(self, worker: int = 0) -> Placement:
        """Where a worker's copy of the model runs; workers are numbered from 0."""
        index = worker % max(1, self.runners)
        return Placement(self.kind, self.threads, index, self.memory_bytes)


def decide_topology(
    options: ServingOptions, manifest: ModelManifest, traits: Traits, *, cores: int, gpus: int
) -> Topology:
    """Decide which processes serve a model on a machine.

    Parameters
    ----------
    options : ServingOptions
    manifest : ModelManifest
        The manifest of the model.
    traits : Traits
        The traits of its family.
    cores, gpus : int
        The cores and GPUs that this process may use.

    Raises
    ------
    ConfigurationError
        If the options request a GPU for a family or a precision that cannot use one.
    """
    fits_gpu = _fits_gpu(manifest, traits)
    kind: Kind = "gpu" if options.device == "gpu" or (options.device == "auto" and gpus and fits_gpu) else "cpu"
    if kind == "gpu" and not fits_gpu:
        raise ConfigurationError(
            f"Got POLARITY_DEVICE=gpu for '{manifest.name}' of family '{manifest.family}' in {manifest.precision}; "
            + ("package it in fp32 (quantise: false)." if traits.gpu else "use cpu or auto for this family.")
        )
    if kind == "gpu":
        runners = max(1, gpus)
        gateways = options.workers or min(_MOST_GATEWAYS, max(1, cores // _CORES_PER_GATEWAY))
    else:
        runners = 1 if options.runner == "process" else 0
        gateways = options.workers or 1
    copies = runners or gateways
    max_batch = options.max_batch or (_GPU_MAX_BATCH if kind == "gpu" else None)
    return Topology(
        kind=kind,
        runners=runners,
        gateways=gateways,
        threads=options.model_threads or max(1, cores // copies),
        max_batch=max_batch or traits.execution.max_batch,
        # a batch size other than the family's needs a queue of the same size
        queue_room=max_batch or traits.execution.queue_room,
        memory_bytes=options.gpu_memory_mib * 2**20,
    )


def _fits_gpu(manifest: ModelManifest, traits: Traits) -> bool:
    """Whether a GPU is useful: int8 graphs are built for CPUs and fall back to them operator by operator."""
    return traits.gpu and (manifest.precision != "int8" or HALF_GRAPH in manifest.files)


def gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Number of NVIDIA GPUs that a process with this environment may use, determined without loading CUDA."""
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        present = int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    # CUDA reads the list up to the first entry that names no device.
    named = [entry.strip() for entry in visible.split(",")]
    stop = next((n for n, entry in enumerate(named) if entry in ("", "-1")), len(named))
    return min(present, stop)
