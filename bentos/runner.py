"""The owner of the model: one process per GPU, one separate process on a CPU, or an object in the gateway."""

from __future__ import annotations

import logging
from typing import Any

import bentoml
import numpy as np

from bentos.bentoml_service import ServiceWithDeadline
from bentos.topology import MODEL, options, topology
from polarity.errors import PolarityError
from polarity.families.packaging import load_predictor
from polarity.inference.predictor import Predictor

_logger = logging.getLogger("bentoml.polarity")


@bentoml.service(
    name="runner",
    service_class=ServiceWithDeadline,
    workers=topology.runners or 1,
    resources=topology.resources,
    traffic={"timeout": options.deadline_s + 30},
    logging={"access": {"enabled": False}},
)
class Runner:
    """Runs the model on batches of texts."""

    def __init__(self) -> None:
        logging.getLogger("uvicorn.access").propagate = False
        self.placement = topology.placement((bentoml.server_context.worker_index or 1) - 1)
        self.predictor: Predictor | None = None
        self.problem: str | None = None
        try:
            self.predictor = load_predictor(MODEL, placement=self.placement)
            self.predictor.warm_up()
        except PolarityError as error:
            # A process that exits would be restarted forever, and the reason would scroll out of the log.
            self.problem = str(error)
            _logger.error("The runner cannot become ready: %s", error)

    def __is_ready__(self) -> bool:
        return self.predictor is not None

    @bentoml.api(batchable=True, max_batch_size=4096, max_latency_ms=int(1000 * (options.deadline_s + 30)))  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]  # BentoML reads it at run time
        """Probabilities of shape (n_texts, n_labels)."""
        if self.predictor is None:
            raise bentoml.exceptions.ServiceUnavailable(self.problem or "The runner has no model.")
        return self.predictor(texts)

    @bentoml.api  # type: ignore[untyped-decorator]
    def explain(self, texts: list[str]) -> list[list[float]]:
        """Each word's contribution to the logits; empty unless the family's scorer is additive."""
        return (self.predictor.explain(texts) if self.predictor else None) or []

    @bentoml.api  # type: ignore[untyped-decorator]
    async def state(self) -> dict[str, Any]:
        """The runner's state, for the gateways that watch it."""
        device = (
            f"{self.placement.kind} {self.placement.index}" if self.placement.kind == "gpu" else self.placement.kind
        )
        precision = self.predictor.precision if self.predictor else ""
        return {"trouble": self.problem, "precision": precision, "device": device}
