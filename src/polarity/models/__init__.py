"""The families of tweet classifiers."""

from __future__ import annotations

from polarity.models.base import Classifier
from polarity.sections import FAMILY_OF, BertConfig, BilstmConfig, DistilbertConfig, LogisticConfig, ModelName


def make_classifier(
    name: ModelName,
    section: LogisticConfig | BilstmConfig | DistilbertConfig | BertConfig,
    *,
    seed: int,
) -> Classifier:
    """The classifier of a candidate, not yet fitted.

    Parameters
    ----------
    name : str
        The candidate's name; it decides the family and is written into what `export` leaves.
    section : a section of `TrainConfig`
        The candidate's options, as `TrainConfig.section(name)` gives them.
    seed : int
        Seed of everything that is drawn in the fit.

    Notes
    -----
    Only the module of the family asked for is imported, so that a fit depends on no other family's code.
    """
    match FAMILY_OF[name]:
        case "logistic":
            from polarity.models.logistic import LogisticClassifier

            assert isinstance(section, LogisticConfig)
            return LogisticClassifier(section, name=name, seed=seed)
        case "bilstm":
            from polarity.models.bilstm import BilstmClassifier

            assert isinstance(section, BilstmConfig)
            return BilstmClassifier(section, name=name, seed=seed)
        case "distilbert" | "bert" as family:
            from polarity.models.transformer import BertClassifier, DistilbertClassifier

            assert isinstance(section, DistilbertConfig | BertConfig)
            return (DistilbertClassifier if family == "distilbert" else BertClassifier)(section, name=name, seed=seed)
