"""TensorFlow, set up for a fit in a process of its own."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from polarity.models.base import Progress

if TYPE_CHECKING:
    import tensorflow as tf


def start_tensorflow(*, seed: int) -> None:
    """Import TensorFlow with the Keras that ktrain needs, seed it, and leave room for others on the device.

    Mixed precision is used where there is a GPU, and only there. The random
    state is the process's own: call it in the process that fits, before anything else.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # decides for the whole process, at the first import
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    tf.keras.utils.set_random_seed(seed)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.keras.mixed_precision.set_global_policy("mixed_float16" if gpus else "float32")


def progress_callback(
    progress: Progress, *, epochs: int, steps: int, start: float
) -> tuple[tf.keras.callbacks.Callback, list[dict[str, float]]]:
    """A Keras callback that reports every second and after each epoch, and the learning curve that it fills.

    Parameters
    ----------
    progress : Progress
        Where to report.
    epochs, steps : int
        Epochs of the fit, and batches in each.
    start : float
        Share of the whole work that is done when the first epoch begins; 0.97 is done when the last ends.
    """
    import tensorflow as tf

    curve: list[dict[str, float]] = []
    last = time.monotonic()

    def share(batches: float) -> float:
        return start + (0.97 - start) * min(1.0, batches / (epochs * steps))

    def on_batch_end(batch: int, logs: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            done = len(curve) * steps + batch + 1
            metrics = {"epoch": len(curve) + 1, "loss": logs["loss"], "accuracy": logs["accuracy"]}
            progress(share(done), f"epoch {len(curve) + 1} of {epochs}, batch {batch + 1} of {steps}", **metrics)

    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        curve.append(
            {"epoch": epoch + 1.0} | {name.replace("val_", "validation_"): float(value) for name, value in logs.items()}
        )
        progress(share(len(curve) * steps), f"epoch {epoch + 1} of {epochs} done", **curve[-1])

    def on_test_batch_end(batch: int, logs: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            progress(
                share((len(curve) + 1) * steps), f"epoch {len(curve) + 1} of {epochs}, validation batch {batch + 1}"
            )

    callback = tf.keras.callbacks.LambdaCallback(
        on_batch_end=on_batch_end, on_epoch_end=on_epoch_end, on_test_batch_end=on_test_batch_end
    )
    return callback, curve
