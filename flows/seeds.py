"""The same fit under several seeds: how far chance alone moves the figures."""

import json
from typing import Any

from flows.progress import FitProgress
from flows.refit import refit
from flows.runners import workers
from flows.step import outcome, step
from flows.tasks import Run
from polarity.data.splits import Splits
from polarity.evaluation.evidence import SEEDS
from polarity.sections import FAMILY_OF, ModelName


def repeat_fits(run: Run, splits: Splits) -> None:
    """Fit each network of the run anew with several seeds on fewer tweets, and keep the test figures for the report.

    The logistic regression has one optimum, whatever the seed.
    """
    networks = [model for model in run.config.models if FAMILY_OF[model] != "logistic"]
    seeds = range(run.config.seed, run.config.seed + run.config.evaluation.seeds)
    if not seeds or not networks:
        return
    figures: dict[str, list[dict[str, Any]]] = {model: [] for model in networks}
    with workers(run.config) as heavy:
        for seed in seeds:
            started = [heavy.submit(repeat, run, splits, model, seed, gpu=True) for model in networks]
            for model, repeated in zip(networks, started, strict=True):
                figures[model].append(repeated.result())
    (run.folder / SEEDS).write_text(json.dumps(figures, indent=1) + "\n")


@step("repeat", task_run_name="repeat-{model}-seed-{seed}", limited=False, tags=["seeds"])
def repeat(run: Run, splits: Splits, model: ModelName, seed: int) -> dict[str, Any]:
    """Fit on some of the training tweets with another seed, and measure the packaged model on test."""
    most = run.config.section(model).train_rows
    rows = run.config.evaluation.seed_rows
    config = run.config.with_options(model, {"train_rows": min(rows, most or rows)}).model_copy(update={"seed": seed})
    figures, tested = refit(run, splits, config, model, FitProgress(f"{model}-seed-{seed}"), on="test")
    return outcome(figures.to_dict(), tested)
