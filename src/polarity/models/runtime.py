"""TensorFlow, set up for a fit in a process of its own."""

from __future__ import annotations

import logging
import os


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
