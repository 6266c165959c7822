"""The BentoML services: the gateway behind the door of the contract, and the runner where it has one."""

from __future__ import annotations

import gc
import logging
import os
from functools import partial
from typing import Any

import bentoml

from bentos.api import api, attach
from bentos.bentoml_service import behind
from bentos.door import Door
from bentos.runner import Runner
from bentos.topology import manifest, options, topology, traits
from polarity.errors import ArtifactError
from polarity.serving.local import LocalModel
from polarity.serving.runner_client import RemoteModel, RunnerClient

door = Door(api, keys=options.api_keys, body_timeout_s=options.body_timeout_s)


@bentoml.service(
    name="sentiment",
    service_class=behind(door, without=() if topology.runners else ("runner",)),
    # Without a distribution BentoML adds no compiler, which every package of the lock does without: 0.5 GB.
    image=bentoml.images.Image(base_image="python:3.11-slim", distro="none"),
    workers=topology.gateways,
    traffic={"timeout": options.deadline_s + 30},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(api, path="/")
class Sentiment:
    """Tells the sentiment of tweets, over HTTP."""

    bento_service: bentoml.Service[Any]
    runner = bentoml.depends(Runner)

    def __init__(self) -> None:
        # uvicorn's own access log would name the clients, and cost a tenth of a request.
        logging.getLogger("uvicorn.access").propagate = False
        if topology.runners:
            # Whatever this process may load one day, the GPUs are the runners'.
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        elif self.runner.trouble:
            raise ArtifactError(self.runner.trouble)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Open the door: the model is warm, or its runner is watched."""
        from polarity.record.log_store import open_store
        from polarity.record.prediction_log import PredictionLog
        from polarity.serving import metrics
        from polarity.serving.batcher import Batcher
        from polarity.serving.contract import Contract, Served

        bento = self.bento_service.bento
        version = str(manifest.card.get("version") or (bento.tag.version if bento else "unpackaged"))
        served = Served(manifest, version, str(bento.tag) if bento else "none")
        tell = partial(metrics.serving, **served.identity)
        self.model: LocalModel | RemoteModel
        if topology.runners:
            url: str = Runner.url  # type: ignore[attr-defined]  # the decorator makes a service of the class
            self.client = RunnerClient(url, timeout_s=options.deadline_s + 30)
            self.model = RemoteModel(
                url, self.client, changed=lambda state: None if state.trouble else tell(precision=state.precision)
            )
        else:
            self.model = LocalModel(self.runner.predictor, inline=traits.execution.inline)
            tell(precision=self.runner.predictor.precision)
        batcher = partial(
            Batcher,
            max_batch=topology.max_batch,
            room=topology.queue_room,
            max_wait_s=options.max_wait_s,
            max_queue=options.max_queue,
            deadline_s=options.deadline_s,
            lanes=topology.lanes,
        )
        self.batcher = batcher(self.model.run, watch=metrics.BatchMetrics())
        self.explainer = batcher(self.model.explain) if traits.additive else None
        log_url = options.prediction_log_url
        self.log = PredictionLog(partial(open_store, log_url), tell=metrics.logged) if log_url else None
        contract = Contract(served, self.batcher, self.log, explainer=self.explainer, keep_texts=options.log_texts)
        attach(contract)
        # What stays for good is not looked through again: with a model's n-grams that took 80 ms every few seconds.
        gc.collect()
        gc.freeze()
        door.open(contract, trouble=lambda: self.model.trouble)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Finish what was taken, and write the rest of the log."""
        await self.batcher.close()
        if self.explainer is not None:
            await self.explainer.close()
        await self.model.close()
        if topology.runners:
            await self.client.close()
        if self.log is not None:
            self.log.close()
