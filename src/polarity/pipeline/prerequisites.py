"""External prerequisites of a training run, checked before anything is trained."""

from __future__ import annotations

from polarity.errors import ConfigurationError
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
        If something is missing, or is not what it is pinned to; the message names it and the remedy.
    """
    _check_pins(config)
    return [remark for model in config.models for remark in family_of(model).check(model, config.section(model))]


def _check_pins(config: LearningConfig) -> None:
    for model, pins in config.pins.items():
        given = family_of(model).external_inputs(config.section(model))
        for option, pinned in pins.items():
            if option not in given:
                read = ", ".join(given) or "none"
                raise ConfigurationError(
                    f"Got pins for {option!r} of {model}, which reads no such file with these options; it reads: "
                    f"{read}."
                )
            if given[option].digest != pinned:
                raise ConfigurationError(
                    f"The {option} of {model} has the digest {given[option].digest}, but is pinned to {pinned}: it is "
                    "another file. Get the right one, or change pins."
                )
