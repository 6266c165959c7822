"""What a server runs on, decided from its options, the model and the machine.

`decide` is a pure function; the process that serves HTTP, the one that owns
the model and BentoML's supervisor each call it, and come to the same plan.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.serving.options import ServingOptions
from polarity.serving.package import HALF_GRAPH, ModelManifest

Kind = Literal["cpu", "gpu"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# Families of ONNX graphs; the others are no work for a GPU.
NEURAL = frozenset({"bilstm", "distilbert", "bert"})

# A batch of a graph holds at most so many tokens, padding included: on a CPU as many as keep its caches warm.
_BATCH_TOKENS: dict[Kind, int] = {"cpu": 512, "gpu": 32768}
_GPU_MAX_BATCH = 512
# Bunches on their way to one runner: one that it works on, and one that waits there when it is done.
_BUNCHES = 2
_MOST_GATEWAYS = 4
_CORES_A_GATEWAY = 4


@dataclass(frozen=True)
class Place:
    """Where one copy of a model runs, in ONNX Runtime's terms.

    Attributes
    ----------
    index : int
        Which of the GPUs that the process sees.
    memory_bytes : int
        Most memory that ONNX Runtime's arena takes on the GPU.
    """

    kind: Kind = "cpu"
    threads: int | None = None
    index: int = 0
    memory_bytes: int = 0

    @property
    def batch_tokens(self) -> int:
        """Most tokens of one call of the graph."""
        return _BATCH_TOKENS[self.kind]

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """Execution providers, the wanted one first."""
        if self.kind == "cpu":
            return [CPU]
        cuda = {
            "device_id": str(self.index),
            "gpu_mem_limit": str(self.memory_bytes),
            # As much as a batch needs: by default the arena doubles, and overshoots its limit.
            "arena_extend_strategy": "kSameAsRequested",
        }
        return [(CUDA, cuda), CPU]

    def require(self, providers: list[str]) -> None:
        """Refuse a session that did not get what it was promised.

        Raises
        ------
        ServiceUnavailable
            If this is a place on a GPU, and CUDA is not the first of a session's `providers`.
        """
        if self.kind == "gpu" and providers[:1] != [CUDA]:
            raise ServiceUnavailable(
                f"POLARITY_DEVICE promises a GPU, but ONNX Runtime runs on {', '.join(providers) or 'nothing'}. "
                "Right would be a machine with an NVIDIA driver that shows its GPUs to this process, and the packages "
                "of bentos/requirements-gpu.lock; or POLARITY_DEVICE=cpu."
            )


@dataclass(frozen=True)
class Plan:
    """Which processes serve, and what each does.

    Attributes
    ----------
    runners : int
        Processes that own a copy of the model each, one for each GPU; 0: the gateways do.
    gateways : int
        Processes that speak HTTP.
    threads : int
        Of one copy of the model on the CPU.
    max_batch : int or None
        Most texts in one call of the model; none: by family.
    memory_bytes : int
        Most memory of one copy on a GPU.
    """

    kind: Kind
    runners: int
    gateways: int
    threads: int
    max_batch: int | None
    memory_bytes: int

    @property
    def lanes(self) -> int:
        """Batches under way at the same time in each gateway."""
        return max(1, _BUNCHES * self.runners)

    @property
    def resources(self) -> dict[str, int]:
        """What BentoML is asked to set aside for the runners, all together."""
        return {"gpu": self.runners} if self.kind == "gpu" else {}

    def place(self, worker: int = 0) -> Place:
        """Where the model of a worker runs; workers count from 0."""
        index = worker % max(1, self.runners)
        return Place(self.kind, self.threads, index, self.memory_bytes)


def decide(options: ServingOptions, manifest: ModelManifest, *, cores: int, gpus: int) -> Plan:
    """The plan for a model on a machine.

    Parameters
    ----------
    cores, gpus : int
        What the machine has, and this process may use.

    Raises
    ------
    ConfigurationError
        If the options ask for what the model cannot do: a GPU for a family or a precision that has no use for one.
    """
    neural = manifest.family in NEURAL
    kind: Kind = "gpu" if options.device == "gpu" or (options.device == "auto" and gpus and _fits(manifest)) else "cpu"
    if kind == "gpu" and not _fits(manifest):
        raise ConfigurationError(
            f"Got POLARITY_DEVICE=gpu for '{manifest.name}' of family '{manifest.family}' in {manifest.precision}; "
            + ("a package in fp32 (quantise: false) is right." if neural else "cpu or auto is right for this family.")
        )
    if kind == "gpu":
        runners = max(1, gpus)
        gateways = options.workers or min(_MOST_GATEWAYS, max(1, cores // _CORES_A_GATEWAY))
    else:
        runners = 1 if options.runner == "process" else 0
        gateways = options.workers or 1
    copies = runners or gateways
    return Plan(
        kind=kind,
        runners=runners,
        gateways=gateways,
        threads=options.model_threads or max(1, cores // copies),
        max_batch=options.max_batch or (_GPU_MAX_BATCH if kind == "gpu" else None),
        memory_bytes=options.gpu_memory_mib * 2**20,
    )


def _fits(manifest: ModelManifest) -> bool:
    """Whether a GPU is of use: int8 graphs are made for CPUs, and fall back to them operator by operator."""
    return manifest.family in NEURAL and (manifest.precision != "int8" or HALF_GRAPH in manifest.files)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def gpus(environment: Mapping[str, str] = os.environ) -> int:
    """NVIDIA GPUs that a process with this environment may use, without touching CUDA."""
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
