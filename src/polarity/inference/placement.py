"""Where one copy of a model runs, in ONNX Runtime's terms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from polarity.errors import ServiceUnavailable

Kind = Literal["cpu", "gpu"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

# A batch of a graph holds at most so many tokens, padding included: on a CPU as many as keep its caches warm.
_BATCH_TOKENS: dict[Kind, int] = {"cpu": 512, "gpu": 32768}


@dataclass(frozen=True)
class Placement:
    """The device of one copy of a model.

    Attributes
    ----------
    kind : {'cpu', 'gpu'}
    threads : int or None
        Threads inside one call, on a CPU. Default: the cores that this process may use.
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
        """Most tokens in one call of the graph."""
        return _BATCH_TOKENS[self.kind]

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """Execution providers, the preferred one first."""
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
        """Refuse a session that did not get the provider it was promised.

        Raises
        ------
        ServiceUnavailable
            If this is a placement on a GPU, and CUDA is not the first of a session's `providers`.
        """
        if self.kind == "gpu" and providers[:1] != [CUDA]:
            raise ServiceUnavailable(
                f"POLARITY_DEVICE promises a GPU, but ONNX Runtime runs on {', '.join(providers) or 'nothing'}. "
                "It needs a machine with an NVIDIA driver that shows its GPUs to this process, and the packages of "
                "bentos/requirements-gpu.lock; or set POLARITY_DEVICE=cpu."
            )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))
