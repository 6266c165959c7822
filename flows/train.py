"""Train, compare, choose and package: `python -m flows.train --profile demo`, or the deployment `train`."""

from prefect import flow

from flows import tasks
from flows.preparation import prepare_tweets
from flows.publishing import publish
from flows.reproduction import show_reproduction, show_restoration
from flows.runners import workers
from flows.seeds import repeat_fits
from flows.step import in_words, results
from flows.terminal import run_from_shell, show_plan, show_summary
from flows.turns import one_training
from polarity.config import TrainConfig
from polarity.summary import RunSummary


@flow(
    name="train",
    flow_run_name="train-{config.profile}",
    description="Train, compare, choose and package the tweet classifiers.",
)
@in_words
def train(config: TrainConfig = TrainConfig(profile="demo")) -> RunSummary:  # noqa: B008  # it is frozen
    """Turn labelled tweets into the champion's Bento.

    Parameters
    ----------
    config : TrainConfig
        What to do; see `polarity.config`.
    """
    with one_training():
        return run_training(config)


def run_training(config: TrainConfig) -> RunSummary:
    """The steps of a training, one after another where they must be and side by side where they can."""
    run, snapshot, accepted, splits = prepare_tweets(config)

    with tasks.recorded(run, snapshot) as tracker:
        with workers(config) as heavy:
            fits = [tasks.fit(run, splits, model, tracker, heavy) for model in config.models]  # side by side
            scored = [tasks.evaluate.submit(run, splits, fitted) for fitted in fits]
            examined = [tasks.examine.submit(run, splits, candidate) for candidate in scored]
            fitted = results(fits, scored, examined)  # what is timed next wants the machine for itself
        candidates = [tasks.measure_latency.submit(run, splits, candidate).result() for candidate in fitted]
        choice = tasks.select.submit(run, candidates).result()

        # only now is the test split read
        tested = [tasks.test.submit(run, splits, candidate) for candidate in candidates]
        studied = results(tested, [tasks.find_mistakes.submit(splits, candidate) for candidate in tested])
        repeat_fits(run, splits)
        recorded = [tasks.record.submit(run, snapshot, candidate, tracker).result() for candidate in studied]
        verdict = tasks.compare_with_champion.submit(run, splits, choice, recorded).result()
        bento = tasks.package.submit(run, snapshot, verdict, recorded).result()
        promoted = tasks.promote.submit(verdict, recorded, bento).result()
        return publish.submit(run, snapshot, accepted, splits, recorded, verdict, promoted, tracker).result()


if __name__ == "__main__":
    run_from_shell(
        train,
        TrainConfig,
        prog="python -m flows.train",
        show=show_summary,
        instead={"plan": ("Say what would run and why, and run nothing.", show_plan)},
        again={
            "reproduce": ("Id of a past run: run its code on its data again, and compare.", show_reproduction),
            "restore": ("As --reproduce; then register it, and promote it if the policy says so.", show_restoration),
        },
    )
