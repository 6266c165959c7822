"""The BentoML service: a packaged model behind the door of the contract."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import bentoml

from bentos.api import api, attach
from bentos.door import App, Door
from polarity.errors import ArtifactError
from polarity.serving.options import ServingOptions
from polarity.serving.package import MANIFEST

MODEL = Path(os.environ.get("POLARITY_MODEL") or Path(__file__).resolve().parents[1] / "model")
if not (MODEL / MANIFEST).is_file():
    raise ArtifactError(
        f"'{MODEL}' holds no packaged model. `make demo` builds a Bento with one; to serve or build from these "
        "sources, put one there or name its folder with POLARITY_MODEL."
    )

options = ServingOptions.read()
door = Door(api, keys=options.api_keys, body_timeout_s=options.body_timeout_s)


class BehindTheDoor(bentoml.Service[Any]):  # type: ignore[misc]  # untyped where bentoml loads it lazily
    """A service whose application has the door in front of all that BentoML puts around it."""

    def to_asgi(self, is_main: bool = True) -> App:
        return door.before(super().to_asgi(is_main))


@bentoml.service(
    name="sentiment",
    service_class=BehindTheDoor,
    workers=options.workers,
    traffic={"timeout": options.deadline_s + 30},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(api, path="/")
class Sentiment:
    """Tells the sentiment of tweets, over HTTP."""

    bento_service: BehindTheDoor

    def __init__(self) -> None:
        from polarity.serving.predictor import Predictor

        # uvicorn's own access log would name the clients, and cost a tenth of a request.
        logging.getLogger("uvicorn.access").propagate = False
        threads = options.model_threads or max(1, len(os.sched_getaffinity(0)) // options.workers)
        self.predictor = Predictor.load(MODEL, threads=threads)
        self.predictor.warm_up()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Open the door: the model is warm."""
        from polarity.serving import metrics
        from polarity.serving.batcher import Batcher
        from polarity.serving.contract import Contract, Served
        from polarity.serving.local import LocalModel
        from polarity.serving.log_store import open_store
        from polarity.serving.prediction_log import PredictionLog

        bento = self.bento_service.bento
        manifest = self.predictor.manifest
        version = str(manifest.card.get("version") or (bento.tag.version if bento else "unpackaged"))
        served = Served(manifest, version, str(bento.tag) if bento else "none")
        self.model = LocalModel(self.predictor)
        self.batcher = Batcher(
            self.model.run,
            max_batch=options.max_batch or self.model.form.max_batch,
            max_wait_s=options.max_wait_s,
            max_queue=options.max_queue,
            deadline_s=options.deadline_s,
            watch=metrics.BatchMetrics(),
        )
        url = options.prediction_log_url
        self.log = PredictionLog(partial(open_store, url), tell=metrics.logged) if url else None
        metrics.serving(**served.identity, precision=manifest.precision)
        contract = Contract(served, self.batcher, self.log, keep_texts=options.log_texts)
        attach(contract)
        door.open(contract)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Finish what was taken, and write the rest of the log."""
        await self.batcher.close()
        self.model.close()
        if self.log is not None:
            self.log.close()
