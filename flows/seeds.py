"""The same fit with several seeds: how much the metrics vary by chance alone."""

from __future__ import annotations

import json
from typing import Any

from prefect import get_run_logger

from flows.adapter import as_cached, polarity_task
from flows.progress import FitProgress, noted
from flows.runners import workers
from flows.steps import Run, Steps
from polarity.data.splits import Splits
from polarity.evaluation.evidence import SEEDS
from polarity.families.registry import family_of
from polarity.pipeline.graph import Fit, Prepare, Test
from polarity.pipeline.remote_store import open_store
from polarity.pipeline.step import perform


def repeat_fits(steps: Steps) -> None:
    """Fit each seed-dependent model with several seeds, on fewer tweets, and record the test metrics."""
    run, splits = steps.run, steps.result(Prepare)
    seeded = [model for model in run.config.models if not family_of(model).traits.exact]
    seeds = range(run.config.seed, run.config.seed + run.config.evaluation.seeds)
    if not seeds or not seeded:
        return
    figures: dict[str, list[dict[str, Any]]] = {model: [] for model in seeded}
    with workers(run.config) as heavy:
        for seed in seeds:
            started = [
                heavy.submit(repeat, run, splits, model, seed, gpu=family_of(model).traits.gpu) for model in seeded
            ]
            for model, repeated in zip(seeded, started, strict=True):
                figures[model].append(repeated.result())
    (run.folder / SEEDS).write_text(json.dumps(figures, indent=1) + "\n")


@polarity_task("repeat", task_run_name="repeat-{model}-seed-{seed}", limited=False, tags=["seeds"])
def repeat(run: Run, splits: Splits, model: str, seed: int) -> dict[str, Any]:
    """Fit on a subset of the training tweets with the given seed, and evaluate the packaged model on test."""
    most = run.config.section(model).train_rows
    rows = run.config.evaluation.seed_rows
    config = run.config.with_options(model, {"train_rows": min(rows, most or rows)}).model_copy(update={"seed": seed})
    store, given = open_store(), {Prepare.name: splits}
    name = f"{model}-seed-{seed}"
    fitted = perform(Fit(config, given, model, FitProgress(name), noted(get_run_logger(), name)), store)
    tested = perform(Test(run.config, given | {Fit.name: fitted.result}, model), store)
    return as_cached(tested.result.metrics["test"].to_dict(), cached=tested.stored.cached)
