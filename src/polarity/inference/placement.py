"""The device that one copy of a model runs on, as ONNX Runtime needs it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from polarity.errors import ServiceUnavailable

Kind = Literal["cpu", "gpu"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

# Maximum number of tokens in one call of a graph, padding included; on a CPU, the batch should fit into its caches.
_BATCH_TOKENS: dict[Kind, int] = {"cpu": 512, "gpu": 32768}


@dataclass(frozen=True)
class Placement:
    """The device of one copy of a model.

    Attributes
    ----------
    kind : {'cpu', 'gpu'}
    threads : int or None
        Threads within one call on a CPU. Default: the number of cores that this process may use.
    index : int
        Index of the GPU among those visible to the process.
    memory_bytes : int
        Maximum size of ONNX Runtime's memory arena on the GPU.
    """

    kind: Kind = "cpu"
    threads: int | None = None
    index: int = 0
    memory_bytes: int = 0

    @property
    def batch_tokens(self) -> int:
        """Maximum number of tokens in one call of the graph, padding included."""
        return _BATCH_TOKENS[self.kind]

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """Execution providers in order of preference."""
        if self.kind == "cpu":
            return [CPU]
        cuda = {
            "device_id": str(self.index),
            "gpu_mem_limit": str(self.memory_bytes),
            # Allocate what a batch needs: by default the arena doubles and overshoots its limit.
            "arena_extend_strategy": "kSameAsRequested",
        }
        return [(CUDA, cuda), CPU]

    def require(self, providers: list[str]) -> None:
        """Reject a session that did not get the provider of this placement.

        Raises
        ------
        ServiceUnavailable
            If this is a placement on a GPU and CUDA is not the first of the session's `providers`.
        """
        if self.kind == "gpu" and providers[:1] != [CUDA]:
            raise ServiceUnavailable(
                f"POLARITY_DEVICE requires a GPU, but ONNX Runtime uses {', '.join(providers) or 'no CUDA provider'}. "
                "Use a machine whose NVIDIA driver exposes its GPUs to this process and install the packages of "
                "bentos/requirements-gpu.lock, or set POLARITY_DEVICE=cpu."
            )


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))
