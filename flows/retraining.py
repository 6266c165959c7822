"""Whether a training starts: if it pays, within its cool-down and budget, and if a person agrees."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, pause_flow_run
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput

from flows.adapter import polarity_task
from polarity.config.settings import settings
from polarity.pipeline.config import TrainConfig
from polarity.record.options import RecordOptions
from polarity.record.store import opened_record
from polarity.watch.production import Champion
from polarity.watch.worth import Worth, within_budget, worth_training

_STARTED = "%Y%m%d-%H%M%S"


class Approval(RunInput):
    """The answer to whether to train."""

    train: bool = True
    reason: str = ""


def reason_not_to_train(config: TrainConfig) -> str | None:
    """Why no training is to start; None if one is.

    A question to a person pauses the flow run here, before it takes its turn among the trainings.
    """
    retrain = config.retrain
    why = "Nobody asked whether it pays (retrain.if_it_pays)."
    if retrain.if_it_pays:
        worth = weigh.submit(config).result()
        if not worth.train:
            return worth.reason
        why = worth.reason
    return _ask(config, why) if retrain.ask else None


def reason_to_wait(config: TrainConfig) -> str | None:
    """Why the cool-down or the budget of trainings that a rule starts forbids one now; None if they do not."""
    worth = _affordable(config)
    return worth.reason if config.retrain.if_it_pays and not worth.train else None


@polarity_task("weigh")
def weigh(config: TrainConfig) -> Worth:
    """Weigh the avoidable wrong answers against the price, and keep the decision in words."""
    worth = _affordable(config)
    if worth.train:
        champion = Champion.find()
        if champion is None:
            worth = Worth(True, "There is no champion yet.")
        else:
            with opened_record(RecordOptions.read_enabled()) as store:
                worth = worth_training(store, champion.version, champion.test_accuracy, config.retrain)
    get_run_logger().info(worth.reason)
    verdict = "Train" if worth.train else "Do not train"
    create_markdown_artifact(key="retraining", markdown=f"**{verdict}.** {worth.reason}", description="Does it pay?")
    return worth


def _affordable(config: TrainConfig) -> Worth:
    return within_budget(_started(settings().runs_folder, config.task_name), config.retrain, time.time())


def _ask(config: TrainConfig, why: str) -> str | None:
    form = Approval.with_initial_data(description=f"Train on what came in? {why}", train=True, reason="")
    get_run_logger().info("Waiting for a person's approval")
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=round(config.retrain.ask_timeout_h * 3600))
    except FlowPauseTimeout:
        return f"Nobody approved of the training within {config.retrain.ask_timeout_h:g} h (retrain.ask_timeout_h)."
    if answer.train:
        get_run_logger().info("A person approved: %s", answer.reason or "no reason given")
        return None
    return f"A person declined the training: {answer.reason or 'no reason given'}."


def _started(runs: Path, task: str) -> list[float]:
    """When the trainings of a task that a rule started began, by their folders; those that it declined have none."""
    started = []
    for path in runs.glob("*/config.json"):
        try:
            given = json.loads(path.read_text())
            at = datetime.strptime(path.parent.name[:15], _STARTED).replace(tzinfo=UTC).timestamp()
        except (OSError, ValueError):
            continue
        if given.get("retrain", {}).get("if_it_pays") and TrainConfig.model_validate(given).task_name == task:
            started.append(at)
    return started
