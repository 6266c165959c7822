"""What a Keras model needs to continue its fit: weights, optimizer, and random states.

Keras keeps the random states of its layers out of checkpoints, so they are taken from inside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from polarity.families.checkpoints import Checkpoint

if TYPE_CHECKING:
    import tensorflow as tf

KERAS = "2.21.0"


def create_optimizer_variables(model: tf.keras.Model) -> None:
    """Create the optimizer's variables for all weights, in their order; otherwise the first batch creates some."""
    import tensorflow as tf

    # a step without gradients: it leaves the weights as they are
    model.optimizer.apply_gradients([(tf.zeros_like(weights), weights) for weights in model.trainable_variables])
    model.optimizer.iterations.assign(0)


def read_training_state(model: tf.keras.Model) -> dict[str, npt.NDArray[Any]]:
    """The state of a compiled model, after `create_optimizer_variables`, as arrays by name."""
    return {f"{group}/{place}": variable.numpy() for group, place, variable in _variables(model)}


def restore_training_state(model: tf.keras.Model, checkpoint: Checkpoint) -> None:
    """Give a compiled model, after `create_optimizer_variables`, the state in a checkpoint.

    Raises
    ------
    KeyError, ValueError
        If the checkpoint is that of a different network.
    """
    for group, place, variable in _variables(model):
        variable.assign(checkpoint.arrays[f"{group}/{place}"])


def _variables(model: tf.keras.Model) -> Iterator[tuple[str, int, tf.Variable]]:
    groups = {"weights": model.weights, "optimizer": model.optimizer.variables(), "random": _random_states(model)}
    for group, variables in groups.items():
        for place, variable in enumerate(variables):
            yield group, place, variable


def _random_states(model: tf.keras.Model) -> Iterator[tf.Variable]:
    for layer in model.submodules:
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            yield generator.state
