"""A Keras network from token ids to logits, and the TensorFlow setup for a fit in a separate process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from polarity.families.batches import bucketed_batches, padded
from polarity.text.tweets import FloatArray

if TYPE_CHECKING:
    import tensorflow as tf

PREDICT_ROWS = 256
# From this compute capability on (Ampere), a GPU multiplies bfloat16 faster than float32.
BFLOAT16_FROM = (8, 0)


def start_tensorflow(*, seed: int) -> None:
    """Import TensorFlow with the Keras version that ktrain needs, seed it, and let GPU memory grow on demand.

    The random state is global to the process: call this in the process that fits, before anything else.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # takes effect for the whole process, at the first import
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    # generators whose state can be saved, rather than that of operations, which cannot
    tf.keras.backend.experimental.enable_tf_random_generator()
    tf.keras.utils.set_random_seed(seed)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.keras.mixed_precision.set_global_policy(_precision(gpus))


def _precision(gpus: list[tf.config.PhysicalDevice]) -> str:
    """Mixed precision if every GPU supports it; never float16, which the -1e30 in DistilBERT's mask overflows."""
    import tensorflow as tf

    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return "mixed_bfloat16" if gpus and min(capabilities) >= BFLOAT16_FROM else "float32"


class Network:
    """A Keras model with a prediction function that is traced once, for batches of any shape.

    Parameters
    ----------
    keras : tf.keras.Model
        From int32 ids (batch, tokens), 0 where there is no token, to float32 logits (batch, n_labels).
    """

    def __init__(self, keras: tf.keras.Model) -> None:
        import tensorflow as tf

        self.keras = keras
        self._run = tf.function(
            lambda ids: keras(ids, training=False), input_signature=[tf.TensorSpec((None, None), tf.int32)]
        )

    def in_full_precision(self, build: Callable[[], tf.keras.Model]) -> Network:
        """The network in full precision; after a mixed-precision fit, a new one from `build` with the same weights."""
        import tensorflow as tf

        if tf.keras.mixed_precision.global_policy().name == "float32":
            return self
        tf.keras.mixed_precision.set_global_policy("float32")
        network = Network(build())
        network.keras.set_weights(self.keras.get_weights())
        return network

    def logits(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for texts given as token ids, in the same order."""
        logits = np.empty((len(texts), self.keras.output_shape[-1]), dtype=np.float32)
        for rows in bucketed_batches(np.array([len(text) for text in texts]), PREDICT_ROWS):
            logits[rows] = self._run(padded([texts[row] for row in rows])).numpy()
        return logits
