"""A Keras network from token ids to logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from polarity.data.tweets import FloatArray
from polarity.models.batches import bucketed_batches, padded

if TYPE_CHECKING:
    import tensorflow as tf

PREDICT_ROWS = 256


class Network:
    """A Keras model whose prediction is traced once, for batches of any shape.

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

    def exact(self, build: Callable[[], tf.keras.Model]) -> Network:
        """The same weights in full precision: in what `build` makes anew, if they were fitted in a mixed one."""
        import tensorflow as tf

        if tf.keras.mixed_precision.global_policy().name == "float32":
            return self
        tf.keras.mixed_precision.set_global_policy("float32")
        network = Network(build())
        network.keras.set_weights(self.keras.get_weights())
        return network

    def logits(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) of texts given as token ids, in their order."""
        logits = np.empty((len(texts), self.keras.output_shape[-1]), dtype=np.float32)
        for rows in bucketed_batches(np.array([len(text) for text in texts]), PREDICT_ROWS):
            logits[rows] = self._run(padded([texts[row] for row in rows])).numpy()
        return logits
