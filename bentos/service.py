"""The BentoML services: the gateway behind the door, and the runner if there is one."""

from __future__ import annotations

from bentos.integrity import require_signature

# isort: split
import asyncio
import gc
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml

from bentos.api import api, attach, bentoml_routes
from bentos.bentoml_service import followed_pointer, service_behind
from bentos.door import MIB, Door
from bentos.limits import ConnectionLimits
from bentos.preflight import package_problem
from bentos.runner import Runner
from bentos.topology import (
    MODEL,
    manifest,
    options,
    receiver_options,
    record_options,
    topology,
    traits,
    trusted_proxies,
)
from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.families.registry import family_named
from polarity.inference.package import KNOWN_WORDS, ModelManifest
from polarity.inference.placement import cores
from polarity.inference.predictor import Predictor
from polarity.inference.traits import Traits
from polarity.serving.local import LocalModel
from polarity.serving.runner_client import RemoteModel, RunnerClient
from polarity.serving.topology import Topology, decide_topology, gpus

if TYPE_CHECKING:
    from polarity.record.prediction_log import PredictionLog
    from polarity.serving.canary import Canary
    from polarity.serving.contract import Served
    from polarity.serving.follower import NewBento
    from polarity.serving.mirror import Mirror

# A model on the event loop holds up everything else meanwhile: a few milliseconds for so many characters.
_INLINE_CHARACTERS = 4_000

door = Door(
    api,
    keys=options.api_keys,
    body_timeout_s=options.body_timeout_s,
    max_buffered_bytes=options.max_buffered_mib * MIB,
    prefix=options.prefix,
)
limits = ConnectionLimits(
    head_timeout_s=options.head_timeout_s,
    body_timeout_s=options.body_timeout_s,
    send_timeout_s=options.send_timeout_s,
    max_connections=options.max_connections,
    max_connections_per_client=options.max_connections_per_client,
    grace_s=options.grace_s or options.deadline_s,
)


@bentoml.service(
    name="sentiment",
    service_class=service_behind(
        door,
        limits=limits,
        proxies=trusted_proxies,
        exclude=() if topology.runners else ("runner",),
        routes=bentoml_routes,
        origins=options.allowed_origins,
    ),
    # Without a distribution, BentoML adds no compilers (0.5 GB), which no package of the lock needs.
    # The version is that of the base image and of the lock, whichever Python builds the Bento.
    # Any user may write to /data and to an empty volume there, which takes its permissions, and read the rest. BentoML
    # makes the folders of its store unless they are there, which it cannot on a read-only root.
    image=bentoml.images.Image(base_image="python:3.11-slim", distro="none", python_version="3.11").run(
        "mkdir -m 1777 /data && cd /home/bentoml && chmod 755 . && mkdir bentos models envs tmp"
    ),
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
        from polarity.record.prediction_log import PredictionLog
        from polarity.record.traffic import TrafficCounter
        from polarity.serving import metrics
        from polarity.serving.follower import Follower

        bento = self.bento_service.bento
        served = _served(manifest, bento.tag.version if bento else None, str(bento.tag) if bento else "none", MODEL)
        self.log: PredictionLog | None = None
        self.traffic: TrafficCounter | None = None
        self.mirror: Mirror | None = None
        self.canary: Canary | None = None
        if record_options.enabled:
            from polarity.record.answer import Challenge
            from polarity.serving.canary import Canary
            from polarity.serving.mirror import Mirror

            unless_set = Challenge(options.challenger, options.challenger_share)

            def logged(log: PredictionLog) -> None:
                metrics.logged(log)
                challenge = log.challenge or unless_set
                if self.mirror is not None:
                    self.mirror.follow(challenge)
                if self.canary is not None:
                    self.canary.follow(challenge)

            def challenged(seconds: float | None) -> None:
                metrics.challenged(seconds)
                if self.traffic is not None:
                    self.traffic.challenged(seconds)

            self.log = PredictionLog(record_options, served.recorded, report=logged)
            key = options.challenger_key
            self.mirror = Mirror(self.log.add_mirrored, report=metrics.mirrored, key=key)
            self.canary = Canary(report=challenged, deadline_s=options.challenger_deadline_s, key=key)
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
        self.follower: Follower | None = None
        if options.follow and (pointer := followed_pointer(self.bento_service)) is not None:
            self.follower = Follower(pointer, str(bento.tag.version), self._take_over, check=require_signature)
            self.follower.start()
        if topology.runners:
            url: str = Runner.url  # type: ignore[attr-defined]  # the decorator makes a service of the class
            self.client = RunnerClient(url, timeout_s=options.deadline_s + 30)
            report = partial(metrics.serving, **served.identity)
            model: LocalModel | RemoteModel = RemoteModel(
                url, self.client, changed=lambda state: None if state.problem else report(precision=state.precision)
            )
        else:
            model = LocalModel(self.runner.predictor, inline=traits.execution.inline)
            metrics.serving(**served.identity, precision=self.runner.predictor.precision)
        # Exclude permanent objects from garbage collection: with a model's n-grams it took 80 ms every few seconds.
        gc.collect()
        self._serve(served, model, topology, traits)

    def _serve(self, served: Served, model: LocalModel | RemoteModel, topology: Topology, traits: Traits) -> None:
        """Answer with `model` from now on. Requests that have begun keep the contract, and the model, they began with.

        The last of them frees the model before.
        """
        from polarity.serving import metrics
        from polarity.serving.batcher import Batcher
        from polarity.serving.contract import Contract

        batcher = partial(
            Batcher,
            max_batch=topology.max_batch,
            queue_room=topology.queue_room,
            max_wait_s=options.max_wait_s,
            max_queue=options.max_queue,
            deadline_s=options.deadline_s,
            lanes=topology.lanes,
            max_characters=_INLINE_CHARACTERS if traits.execution.inline else None,
        )
        self.model = model
        self.batcher = batcher(model.run, watch=metrics.BatchMetrics())
        self.explainer = batcher(model.explain) if traits.additive else None
        if self.mirror is not None:
            self.mirror.serve(served.manifest.labels)
        if self.canary is not None:
            self.canary.serve(served.manifest.labels, served.version)
        contract = Contract(
            served,
            self.batcher,
            self.log,
            explainer=self.explainer,
            review_share=record_options.log_review_share,
            private=bool(options.api_keys),
            watch=self.telemetry,
            mirror=self.mirror,
            following=self.follower,
            canary=self.canary,
        )
        attach(contract)
        gc.freeze()
        count = self.traffic.count if self.traffic is not None else None
        door.open(contract, problem=self._problem, count=count, telemetry=self.telemetry)

    async def _take_over(self, bento: NewBento) -> None:
        """Serve another Bento with the same code.

        Raises
        ------
        PolarityError
            If its package cannot be served, or needs other processes than there are.
        """
        from polarity.serving import metrics
        from polarity.serving.follower import frequent_switches

        new = ModelManifest.read(bento.model, check=False)
        new_traits = family_named(new.family).traits
        new_topology = decide_topology(options, new, new_traits, cores=cores(), gpus=gpus())
        if topology.runners or (new_topology.runners, new_topology.gateways) != (topology.runners, topology.gateways):
            raise ArtifactError("its model needs other processes, or runs in a runner; restart the server to serve it")

        def load() -> Predictor:
            predictor = load_predictor(bento.model, placement=new_topology.placement(0))
            predictor.warm_up()
            return predictor

        with frequent_switches():
            predictor = await asyncio.to_thread(load)
        served = _served(new, bento.tag.partition(":")[2], bento.tag, bento.model)
        if self.log is not None:
            self.log.served = served.recorded
        if self.telemetry is not None:
            self.telemetry.serve(served.identity)
        self.runner.predictor = predictor
        self._serve(served, LocalModel(predictor, inline=new_traits.execution.inline), new_topology, new_traits)
        metrics.serving(**served.identity, precision=predictor.precision)

    def _problem(self) -> str | None:
        """Why no answer can be given at the moment, or `None`."""
        return self.model.problem or (self.log.problem if self.log is not None else None)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Complete the accepted requests, write the rest of the log, and send the rest of the telemetry."""
        if self.follower is not None:
            await self.follower.close()
        await self.batcher.close()
        if self.explainer is not None:
            await self.explainer.close()
        await self.model.close()
        if topology.runners:
            await self.client.close()
        if self.mirror is not None:
            await self.mirror.close()
        if self.canary is not None:
            await self.canary.close()
        if self.log is not None and self.traffic is not None:
            self.traffic.stop()
            await self.log.close()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)


def _served(manifest: ModelManifest, version: str | None, bento: str, model: Path) -> Served:
    """The identity of a packaged model, with the version of its card or else of its Bento."""
    from polarity.serving.contract import Served

    words = str(model / KNOWN_WORDS) if KNOWN_WORDS in manifest.files else None
    return Served(manifest, str(manifest.card.get("version") or version or "unpackaged"), bento, words, model)
