"""Search hyper-parameters: `python -m flows.tune --models bilstm --data.path FILE`, or the deployment `tune`."""

import csv
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.futures import PrefectFuture, as_completed
from rich.console import Console
from rich.text import Text

from flows.adapter import polarity_task, translate_errors
from flows.lease import one_training
from flows.progress import FitProgress, noted
from flows.runners import Workers, workers
from flows.steps import Run, begin, prepare_tweets, recorded
from flows.terminal import print_table, run_from_shell
from polarity.config.settings import settings
from polarity.data.splits import Splits
from polarity.errors import ServiceUnavailable
from polarity.families.protocol import section_name
from polarity.families.registry import family_of
from polarity.pipeline.config import TuneConfig
from polarity.pipeline.graph import Fit, Prepare, Validate
from polarity.pipeline.remote_store import open_store
from polarity.pipeline.step import perform
from polarity.registry.tracking import Tracker
from polarity.selection.search import Search, Trial

BEST_FILE = "best.json"
TRIALS_FILE = "trials.csv"


@dataclass(frozen=True)
class Tuning:
    """Result of a search: the trials of each model, best first, and the file with the best options."""

    run_id: str
    trials: dict[str, list[Trial]]
    best: Path

    def table(self, *, most: int | None = None) -> list[dict[str, str]]:
        """Return one row per trial, or the `most` best of each model, formatted for display."""
        return [
            {
                "model": model,
                "trial": str(trial.number),
                "validation log-loss": "pruned" if trial.log_loss is None else f"{trial.log_loss:.4f}",
                "options": ", ".join(f"{name} {_format(value)}" for name, value in trial.options.items()),
            }
            for model, trials in self.trials.items()
            for trial in trials[:most]
        ]


@flow(
    name="tune",
    flow_run_name="tune-{config.profile}",
    description="Search hyper-parameters, and write the best ones to a file that a training run can read.",
)
@translate_errors
def tune(config: TuneConfig = TuneConfig(profile="demo")) -> Tuning:  # noqa: B008  # frozen
    """Search on train and validation; an interrupted search of the same space is resumed, without repeating trials.

    Parameters
    ----------
    config : TuneConfig
        The data, the models and the search options.
    """
    with one_training():
        steps = begin(config)
        run = steps.run
        snapshot, _, splits = prepare_tweets(steps)
        with recorded(run, snapshot) as tracker:
            trials = {model: search(run, splits, model, tracker) for model in config.models}
            return publish.submit(run, trials, tracker).result()


def search(run: Run, splits: Splits, model: str, tracker: Tracker) -> list[Trial]:
    """Run the trials of one model, several at a time.

    Raises
    ------
    ServiceUnavailable
        If no trial finished.
    """
    config, log = run.config, get_run_logger()
    key = Fit(config, {Prepare.name: splits}, model).fingerprint().key
    folder, present = settings().home / "searches", config.section(model)
    with Search.open(model, present, config.search, folder, seed=config.seed, key=key) as study:
        remaining = study.remaining(config.search.trials)
        log.info("%s: %d trials done, %d to run", model, len(study.trials()), remaining)
        with workers(config) as heavy:
            for trial in _run_trials(run, splits, study, tracker, heavy, trials=remaining):
                study.tell(trial)
        found = study.trials()
    if not found or found[0].log_loss is None:
        raise ServiceUnavailable(f"No trial of {model} finished; see the log for the reasons.")
    return found


def _run_trials(
    run: Run, splits: Splits, study: Search, tracker: Tracker, heavy: Workers, *, trials: int
) -> Iterator[Trial]:
    """Yield trials as they end; the next one is drawn only after the caller has recorded the last."""
    task = run_trial.with_options(retries=run.config.faults.retries, tags=["trial", study.model])
    gpu = family_of(study.model).traits.gpu
    started: dict[PrefectFuture[Trial], Trial] = {}
    for _ in range(trials):
        if len(started) == run.config.search.workers:
            yield _next_ended(started)
        asked = study.ask()
        started[heavy.submit(task, run, splits, study, asked, tracker, gpu=gpu)] = asked
    while started:
        yield _next_ended(started)


def _next_ended(started: dict[PrefectFuture[Trial], Trial]) -> Trial:
    """Wait for the next trial to end. A trial that failed for good has no loss; the others continue."""
    future = next(iter(as_completed(list(started))))
    asked = started.pop(future)
    result: Any = future.result(raise_on_failure=False)
    if isinstance(result, Trial):
        return result
    get_run_logger().warning("Trial %d failed permanently: %s", asked.number, result)
    return asked


class _TrialPruned(Exception):
    """The study has pruned the trial."""


class _TrialProgress:
    """Reports the progress of a trial, and stops the trial when the study prunes it."""

    def __init__(self, study: Search, trial: Trial) -> None:
        self._study, self._trial = study, trial
        self._progress = FitProgress(f"{study.model}-trial-{trial.number}")

    def __call__(self, fraction: float, message: str, metrics: Mapping[str, float]) -> None:
        self._progress(fraction, message, metrics)
        loss = metrics.get("validation_loss")
        if loss is not None and fraction < 1 and self._study.should_prune(self._trial, int(metrics["epoch"]), loss):
            raise _TrialPruned


@polarity_task("trial", task_run_name="trial-{study.model}-{trial.number}", limited=False)
def run_trial(run: Run, splits: Splits, study: Search, trial: Trial, tracker: Tracker) -> Trial:
    """Fit with the options of a trial, and evaluate the packaged model on validation."""
    model, log = study.model, get_run_logger()
    config = run.config.with_options(model, trial.options)
    run_id = tracker.start_candidate(
        f"{model}-trial-{trial.number}",
        family=family_of(model).name,
        params=config.section(model).model_dump(mode="json"),
        tags={"trial": str(trial.number)},
    )
    store, given = open_store(), {Prepare.name: splits}
    try:
        step = Fit(config, given, model, _TrialProgress(study, trial), noted(log, f"{model}, trial {trial.number}"))
        fitted = perform(step, store)
        measured = perform(Validate(run.config, given | {Fit.name: fitted.result}, model), store)
        figures = measured.result.metrics["validation"]
    except _TrialPruned:
        store.discard_checkpoints(step.fingerprint())
        tracker.finish(run_id, "KILLED", message="Pruned: its validation loss was above the median.")
        log.info("%s, trial %d: pruned (%s)", model, trial.number, _format(trial.options))
        return replace(trial, pruned=True)
    except BaseException as error:
        tracker.finish(run_id, "FAILED", message=str(error))
        raise
    tracker.log_metrics(run_id, {"validation": figures})
    tracker.finish(run_id)
    log.info(
        "%s, trial %d: validation log-loss %.4f, accuracy %.4f (%s)",
        model, trial.number, figures.log_loss, figures.accuracy, _format(trial.options),
    )  # fmt: skip
    return replace(trial, log_loss=figures.log_loss)


@polarity_task("publish")
def publish(run: Run, trials: dict[str, list[Trial]], tracker: Tracker) -> Tuning:
    """Write `best.json` and `trials.csv`, publish them in the Prefect UI, and log them to MLflow."""
    best = {section_name(model): found[0].options for model, found in trials.items()}
    tuning = Tuning(run.run_id, trials, run.folder / BEST_FILE)
    tuning.best.write_text(json.dumps(best, indent=1) + "\n")
    table = tuning.table()
    with (run.folder / TRIALS_FILE).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    for name in (BEST_FILE, TRIALS_FILE):
        tracker.log_artifacts(tracker.run_id, run.folder / name)
    create_table_artifact(key="trials", table=table, description="All trials, best first")
    create_markdown_artifact(
        key="best-options",
        markdown=f"```json\n{json.dumps(best, indent=1)}\n```\n\nTo train with them: `{_train_command(tuning)}`",
        description="The best options",
    )
    return tuning


def show_tuning(console: Console, tuning: Tuning) -> None:
    """Print the best trials, and the command that trains with the best options."""
    print_table(console, f"Search {tuning.run_id}", tuning.table(most=5))
    hint = f"The best options are in {tuning.best}. To train with them:\n  {_train_command(tuning)}"
    console.print(Text(hint), soft_wrap=True)


def _train_command(tuning: Tuning) -> str:
    return f"python -m flows.train --tuned {shlex.quote(str(tuning.best))} ..."


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(part)}" for name, part in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_from_shell(tune, TuneConfig, prog="python -m flows.tune", show=show_tuning)
