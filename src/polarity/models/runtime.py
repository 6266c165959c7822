"""TensorFlow, set up for a fit in a process of its own."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# From this compute capability on (Ampere), a GPU multiplies bfloat16 faster than float32.
BFLOAT16_FROM = (8, 0)


def start_tensorflow(*, seed: int) -> None:
    """Import TensorFlow with the Keras that ktrain needs, seed it, and leave room for others on the device.

    The random state is the process's own: call it in the process that fits, before anything else.
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
    tf.keras.mixed_precision.set_global_policy(_precision(gpus))


def _precision(gpus: list[tf.config.PhysicalDevice]) -> str:
    """Mixed precision where every GPU is made for it; never float16, which the -1e30 of DistilBERT's mask overflows."""
    import tensorflow as tf

    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return "mixed_bfloat16" if gpus and min(capabilities) >= BFLOAT16_FROM else "float32"
