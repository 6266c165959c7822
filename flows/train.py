"""Train, compare, select and package: `python -m flows.train --profile demo`, or the deployment `train`."""

from dataclasses import replace

from prefect import flow
from prefect.states import Completed

from flows import champion, tasks
from flows.adapter import translate_errors
from flows.dossier import dossier_of
from flows.lease import one_training
from flows.publishing import publish
from flows.reproduction import show_reproduction, show_restoration
from flows.retraining import reason_not_to_train, reason_to_wait
from flows.runners import workers
from flows.seeds import repeat_fits
from flows.steps import begin, prepare_tweets, recorded
from flows.terminal import run_from_shell, show_graph, show_plan, show_summary
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Evaluate, Examine, Fit, Mistakes, Test, Time


@flow(
    name="train",
    flow_run_name="train-{config.profile}",
    description="Train, compare, select and package tweet classifiers.",
)
@translate_errors
def train(config: TrainConfig = TrainConfig(profile="demo")) -> RunSummary:  # noqa: B008  # frozen
    """Train classifiers on labelled tweets, and package the best one as a Bento.

    Parameters
    ----------
    config : TrainConfig
        The options; see `polarity.pipeline.config`.
    """
    if reason := reason_not_to_train(config):
        return _skipped(reason)
    with one_training():
        # Another run may have found that it pays, too, and trained while this one waited.
        if reason := reason_to_wait(config):
            return _skipped(reason)
        return run_training(config)


def _skipped(reason: str) -> RunSummary:
    return Completed(name="Skipped", message=reason, data=reason)  # type: ignore[return-value]  # Prefect takes states


def run_training(config: TrainConfig) -> RunSummary:
    """Run the steps of a training run (`polarity.pipeline.graph`), in parallel where possible."""
    steps = begin(config)
    snapshot, accepted, splits = prepare_tweets(steps)
    objection = champion.check_origin.submit(steps.run, splits).result()

    with recorded(steps.run, snapshot) as tracker:
        with workers(config) as heavy:
            steps.side_by_side(Fit, Evaluate, Examine, tracker=tracker, workers=heavy)
        steps.one_by_one(Time)  # nothing else may run while latency is measured
        choice = tasks.choose(steps)

        steps.side_by_side(Test, Mistakes)  # the test split is first read here
        repeat_fits(steps)
        measured = [tasks.ModelRun.of(steps, model) for model in config.models]
        models = [tasks.record.submit(steps.run, snapshot, splits, model, tracker).result() for model in measured]
        verdict = champion.compare_with_champion.submit(steps.run, splits, choice, models, objection).result()
        origin = tasks.provenance_of(steps.run, snapshot, verdict, models)
        if origin is not None:
            origin = replace(origin, dossier=dossier_of(steps, verdict, models))
        bento = steps.package(verdict.selected, origin) if verdict.selected and origin else None
        promoted = champion.promote.submit(steps.run, verdict, models, bento, origin).result()
        return publish.submit(
            steps.run, snapshot, accepted, splits, models, verdict, promoted, tracker, origin
        ).result()


if __name__ == "__main__":
    run_from_shell(
        train,
        TrainConfig,
        prog="python -m flows.train",
        show=show_summary,
        actions={
            "plan": ("Print what would run and why, without running anything.", show_plan),
            "graph": ("Print the graph of the steps as Mermaid text, without running anything.", show_graph),
        },
        run_actions={
            "reproduce": (
                "Repeat the past run with this id, its code on its data, and compare the results.",
                show_reproduction,
            ),
            "restore": (
                "Like --reproduce, but also register the model, and promote it if the policy allows it.",
                show_restoration,
            ),
        },
    )
