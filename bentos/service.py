"""The BentoML services: the gateway behind the door, and the runner if there is one."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from functools import partial
from typing import Any

import bentoml

from bentos.api import api, attach
from bentos.bentoml_service import service_behind
from bentos.door import MIB, Door
from bentos.limits import ConnectionLimits
from bentos.preflight import package_problem
from bentos.runner import Runner
from bentos.topology import MODEL, manifest, options, receiver_options, record_options, topology, traits
from polarity.errors import ArtifactError
from polarity.serving.local import LocalModel
from polarity.serving.runner_client import RemoteModel, RunnerClient

door = Door(
    api,
    keys=options.api_keys,
    body_timeout_s=options.body_timeout_s,
    max_buffered_bytes=options.max_buffered_mib * MIB,
)
limits = ConnectionLimits(
    head_timeout_s=options.head_timeout_s,
    body_timeout_s=options.body_timeout_s,
    send_timeout_s=options.send_timeout_s,
    max_connections=options.max_connections,
    max_connections_per_client=options.max_connections_per_client,
)


@bentoml.service(
    name="sentiment",
    service_class=service_behind(door, limits=limits, exclude=() if topology.runners else ("runner",)),
    # Without a distribution, BentoML adds no compilers (0.5 GB), which no package of the lock needs.
    image=bentoml.images.Image(base_image="python:3.11-slim", distro="none"),
    workers=topology.gateways,
    traffic={"timeout": options.deadline_s + 30},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(api, path="/")
class Sentiment:
    """Classifies the sentiment of tweets over HTTP."""

    bento_service: bentoml.Service[Any]
    runner = bentoml.depends(Runner)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_package() -> None:
        """End `bentoml serve` with the reason, before it starts (and would restart for ever) what cannot serve."""
        if not topology.runners and (problem := package_problem()):
            raise SystemExit(f"The server cannot start: {problem}")

    def __init__(self) -> None:
        # uvicorn's access log would record the clients' addresses and cost a tenth of a request.
        logging.getLogger("uvicorn.access").propagate = False
        if topology.runners:
            # The GPUs are reserved for the runners, whatever this process may load.
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        elif self.runner.problem:
            raise ArtifactError(self.runner.problem)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Open the door once the model is warm or its runner is being watched."""
        from polarity.inference.package import KNOWN_WORDS
        from polarity.record import answer
        from polarity.record.prediction_log import PredictionLog
        from polarity.record.traffic import TrafficCounter
        from polarity.serving import metrics
        from polarity.serving.batcher import Batcher
        from polarity.serving.contract import Contract, Served

        bento = self.bento_service.bento
        version = str(manifest.card.get("version") or (bento.tag.version if bento else "unpackaged"))
        served = Served(manifest, version, str(bento.tag) if bento else "none")
        report = partial(metrics.serving, **served.identity)
        self.model: LocalModel | RemoteModel
        if topology.runners:
            url: str = Runner.url  # type: ignore[attr-defined]  # the decorator makes a service of the class
            self.client = RunnerClient(url, timeout_s=options.deadline_s + 30)
            self.model = RemoteModel(
                url, self.client, changed=lambda state: None if state.problem else report(precision=state.precision)
            )
        else:
            self.model = LocalModel(self.runner.predictor, inline=traits.execution.inline)
            report(precision=self.runner.predictor.precision)
        batcher = partial(
            Batcher,
            max_batch=topology.max_batch,
            queue_room=topology.queue_room,
            max_wait_s=options.max_wait_s,
            max_queue=options.max_queue,
            deadline_s=options.deadline_s,
            lanes=topology.lanes,
        )
        self.batcher = batcher(self.model.run, watch=metrics.BatchMetrics())
        self.explainer = batcher(self.model.explain) if traits.additive else None
        self.log: PredictionLog | None = None
        self.traffic: TrafficCounter | None = None
        if record_options.enabled:
            words = str(MODEL / KNOWN_WORDS) if KNOWN_WORDS in manifest.files else None
            self.log = PredictionLog(
                record_options, answer.Served(**served.identity, known_words=words), report=metrics.logged
            )
            await self.log.start()
            self.traffic = TrafficCounter(self.log.add_traffic)
            self.traffic.start()
        self.telemetry: Telemetry | None = None
        if receiver_options.enabled:
            from polarity.serving.telemetry import Telemetry

            self.telemetry = Telemetry(
                receiver_options,
                served.identity,
                sample=options.telemetry_sample,
                label=options.telemetry_label,
                texts=record_options.log_texts,
                remote_model=bool(topology.runners),
            )
        contract = Contract(
            served,
            self.batcher,
            self.log,
            explainer=self.explainer,
            review_share=record_options.log_review_share,
            private=bool(options.api_keys),
            watch=self.telemetry,
        )
        attach(contract)
        # Exclude permanent objects from garbage collection: with a model's n-grams it took 80 ms every few seconds.
        gc.collect()
        gc.freeze()
        count = self.traffic.count if self.traffic is not None else None
        door.open(contract, problem=self._problem, count=count, telemetry=self.telemetry)

    def _problem(self) -> str | None:
        """Why no answer can be given at the moment, or `None`."""
        return self.model.problem or (self.log.problem if self.log is not None else None)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Complete the accepted requests, write the rest of the log, and send the rest of the telemetry."""
        await self.batcher.close()
        if self.explainer is not None:
            await self.explainer.close()
        await self.model.close()
        if topology.runners:
            await self.client.close()
        if self.log is not None and self.traffic is not None:
            self.traffic.stop()
            await self.log.close()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)
