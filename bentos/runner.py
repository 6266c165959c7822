"""What owns the model: a process for each GPU, one beside the gateways on a CPU, or an object in the gateway itself."""

from __future__ import annotations

import logging
from typing import Any

import bentoml
import numpy as np

from bentos.topology import MODEL, options, topology
from polarity.errors import PolarityError
from polarity.families.packaging import load_predictor
from polarity.inference.predictor import Predictor

_logger = logging.getLogger("bentoml.polarity")


@bentoml.service(
    name="runner",
    workers=topology.runners or 1,
    resources=topology.resources,
    traffic={"timeout": options.deadline_s + 30},
    logging={"access": {"enabled": False}},
)
class Runner:
    """Texts in, probabilities out, many at a time."""

    def __init__(self) -> None:
        logging.getLogger("uvicorn.access").propagate = False
        self.placement = topology.placement((bentoml.server_context.worker_index or 1) - 1)
        self.predictor: Predictor | None = None
        self.trouble: str | None = None
        try:
            self.predictor = load_predictor(MODEL, placement=self.placement)
            self.predictor.warm_up()
        except PolarityError as error:
            # A process that ends would be started again, for ever, and its reason scroll away.
            self.trouble = str(error)
            _logger.error("The runner does not become ready: %s", error)

    def __is_ready__(self) -> bool:
        return self.predictor is not None

    @bentoml.api(batchable=True, max_batch_size=4096, max_latency_ms=int(1000 * (options.deadline_s + 30)))  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]  # BentoML reads it at run time
        """Probabilities of shape (n_texts, n_labels)."""
        if self.predictor is None:
            raise bentoml.exceptions.ServiceUnavailable(self.trouble or "no model")
        return self.predictor(texts)

    @bentoml.api  # type: ignore[untyped-decorator]
    def explain(self, texts: list[str]) -> list[list[float]]:
        """What each word adds to the logits, of a family that can tell."""
        return (self.predictor.explain(texts) if self.predictor else None) or []

    @bentoml.api  # type: ignore[untyped-decorator]
    async def state(self) -> dict[str, Any]:
        """How the runner is, for the gateways that watch it."""
        device = (
            f"{self.placement.kind} {self.placement.index}" if self.placement.kind == "gpu" else self.placement.kind
        )
        precision = self.predictor.precision if self.predictor else ""
        return {"trouble": self.trouble, "precision": precision, "device": device}
