"""What a training run needs from outside, checked before anything is trained."""

from __future__ import annotations

from polarity.families.registry import family_of
from polarity.pipeline.config import LearningConfig


def check_prerequisites(config: LearningConfig) -> list[str]:
    """See that what the models to train need (word vectors, encoders) can be had.

    Returns
    -------
    list of str
        What the user should know: what is done for want of something better.

    Raises
    ------
    ConfigurationError
        If one cannot be; the message says which, and what would be right.
    """
    return [remark for model in config.models for remark in family_of(model).check(model, config.section(model))]
