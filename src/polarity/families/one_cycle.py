"""The one-cycle schedule of ktrain, from any batch on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

KTRAIN = "0.41.4"
MOMENTUM = (0.85, 0.95)


def one_cycle(model: tf.keras.Model, learning_rate: float, *, steps: int, done: int) -> Any:
    """The Keras callback that `Learner.fit_onecycle` makes, for a fit of `steps` batches of which `done` are done.

    `fit_onecycle` itself always begins at the first batch.
    """
    from ktrain.lroptimize.triangular import CyclicLR

    low, high = MOMENTUM
    schedule = CyclicLR(
        base_lr=learning_rate / 10,
        max_lr=learning_rate,
        step_size=math.ceil(steps / 2),
        reduce_on_plateau=0,
        max_momentum=high,
        min_momentum=low,
        verbose=0,
    )
    if done:
        # The ends of the last two batches: the first finds the half of the cycle, the second sets rate and momentum.
        schedule.set_model(model)
        schedule.on_train_begin()
        schedule.clr_iterations = float(max(0, done - 2))
        for _ in range(min(done, 2)):
            schedule.on_batch_end(0)
    return schedule
