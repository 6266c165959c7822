"""What every flow that learns begins with: tweets that have passed the gates, split."""

from flows import tasks
from flows.tasks import Run
from polarity.config import LearningConfig
from polarity.data.acceptance import Acceptance
from polarity.data.snapshot import Snapshot
from polarity.data.splits import Splits


def prepare_tweets(config: LearningConfig) -> tuple[Run, Snapshot, Acceptance, Splits]:
    """Begin a run, and take its tweets from the source to the splits, through both gates."""
    run = tasks.begin.submit(config).result()
    snapshot = tasks.ingest.submit(run).result()
    accepted = tasks.gate_raw_tweets.submit(run, snapshot).result()
    splits = tasks.prepare.submit(run, accepted).result()
    tasks.gate_prepared_tweets.submit(run, splits).result()
    return run, snapshot, accepted, splits
