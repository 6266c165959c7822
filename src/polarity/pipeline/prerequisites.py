"""External prerequisites of a training run, checked before anything is trained."""

from __future__ import annotations

from polarity.families.registry import family_of
from polarity.pipeline.config import LearningConfig


def check_prerequisites(config: LearningConfig) -> list[str]:
    """Check that everything the models need (word vectors, encoders) is available.

    Returns
    -------
    list of str
        Remarks for the user, e.g. about a fallback that is used.

    Raises
    ------
    ConfigurationError
        If something is missing; the message names it and the remedy.
    """
    return [remark for model in config.models for remark in family_of(model).check(model, config.section(model))]
