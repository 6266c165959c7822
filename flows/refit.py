"""A fit beside the candidates of a run, under other options or another seed, and what it is worth."""

from flows.step import reuse
from flows.tasks import Run
from polarity import steps
from polarity.config import LearningConfig
from polarity.data.splits import SplitName, Splits
from polarity.evaluation.metrics import Metrics
from polarity.evaluation.scorecard import Scorecard
from polarity.isolation import Listener
from polarity.sections import ModelName
from polarity.steps import Fitted
from polarity.store import Stored


def refit(
    run: Run, splits: Splits, config: LearningConfig, model: ModelName, listen: Listener, *, on: SplitName
) -> tuple[Metrics, Stored]:
    """Fit as `config` says, and measure the packaged model on one split: its figures, and where they are stored."""
    fitted = reuse(steps.fit_work(splits, config, model, listen))
    measured = reuse(steps.evaluate_work(Fitted(fitted.folder, fitted.key), splits, run.config, on=(on,)))
    return Scorecard(measured.folder, splits.labels).metrics[on], measured
