"""Train, compare, choose and package: `python -m flows.train --profile demo`, or the deployment `train`."""

from prefect import flow

from flows import tasks
from flows.adapter import translate_errors
from flows.lease import one_training
from flows.publishing import publish
from flows.reproduction import show_reproduction, show_restoration
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
    description="Train, compare, choose and package the tweet classifiers.",
)
@translate_errors
def train(config: TrainConfig = TrainConfig(profile="demo")) -> RunSummary:  # noqa: B008  # it is frozen
    """Turn labelled tweets into the champion's Bento.

    Parameters
    ----------
    config : TrainConfig
        What to do; see `polarity.pipeline.config`.
    """
    with one_training():
        return run_training(config)


def run_training(config: TrainConfig) -> RunSummary:
    """The steps of a training (`polarity.pipeline.graph`), side by side where they can be."""
    steps = begin(config)
    snapshot, accepted, splits = prepare_tweets(steps)

    with recorded(steps.run, snapshot) as tracker:
        with workers(config) as heavy:
            steps.side_by_side(Fit, Evaluate, Examine, tracker=tracker, workers=heavy)
        steps.one_by_one(Time)  # a latency is measured while nothing else runs
        choice = tasks.choose(steps)

        steps.side_by_side(Test, Mistakes)  # only now is the test split read
        repeat_fits(steps)
        measured = [tasks.ModelRun.of(steps, model) for model in config.models]
        models = [tasks.record.submit(steps.run, snapshot, model, tracker).result() for model in measured]
        verdict = tasks.compare_with_champion.submit(steps.run, splits, choice, models).result()
        bento = tasks.package(steps, snapshot, verdict, models)
        promoted = tasks.promote.submit(verdict, models, bento).result()
        return publish.submit(steps.run, snapshot, accepted, splits, models, verdict, promoted, tracker).result()


if __name__ == "__main__":
    run_from_shell(
        train,
        TrainConfig,
        prog="python -m flows.train",
        show=show_summary,
        instead={
            "plan": ("Say what would run and why, and run nothing.", show_plan),
            "graph": ("Print the graph of the steps as Mermaid text, and run nothing.", show_graph),
        },
        again={
            "reproduce": ("Id of a past run: run its code on its data again, and compare.", show_reproduction),
            "restore": ("As --reproduce; then register it, and promote it if the policy says so.", show_restoration),
        },
    )
