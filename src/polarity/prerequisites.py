"""What a training run needs from outside, asked for before anything is trained."""

from __future__ import annotations

from pathlib import Path

from polarity.config import LearningConfig
from polarity.sections import FAMILY_OF, BilstmConfig, TransformerConfig
from polarity.text.embeddings import check_vectors
from polarity.text.encoders import check_encoder


def check_prerequisites(config: LearningConfig) -> list[str]:
    """See that the word vectors and the encoders of the models to train can be had.

    Returns
    -------
    list of str
        What whoever started the run should know: what is done for want of something better.

    Raises
    ------
    ConfigurationError
        If one cannot be; the message says which, and what would be right.
    """
    remarks = []
    for model in config.models:
        section = config.section(model)
        if isinstance(section, BilstmConfig) and isinstance(section.vectors, Path):
            check_vectors(section.vectors)
        elif isinstance(section, BilstmConfig) and section.vectors is None:
            remarks.append(f"{model} has no word vectors (--{model}.vectors), so it learns its own.")
        elif isinstance(section, TransformerConfig):
            check_encoder(section.encoder, "bert" if FAMILY_OF[model] == "bert" else "distilbert")
    return remarks
