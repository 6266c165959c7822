"""What a network has learnt after each epoch, and the best of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polarity.families.calibration import loss_and_accuracy
from polarity.families.network import Network
from polarity.families.progress import REPORT_EVERY_S, Progress
from polarity.text.tweets import FloatArray, IntArray

if TYPE_CHECKING:
    import tensorflow as tf

# Share of the whole work that is done when the last epoch ends.
DONE = 0.97


class LearningCurve:
    """Measures a network on validation after each epoch, and keeps its weights of the epoch with the smallest loss.

    Parameters
    ----------
    network : Network
        What is being fitted.
    texts, labels : sequence of token ids, int array of shape (n,)
        The validation tweets.
    progress : Progress
        Told about every second, and after each epoch.
    epochs, steps : int
        Most epochs of the fit, and batches in each.
    start : float
        Share of the whole work that is done when the first epoch begins.
    patience : int or None
        Stop after so many epochs without a smaller loss; none: never.
    """

    def __init__(
        self,
        network: Network,
        texts: Sequence[Sequence[int]],
        labels: IntArray,
        progress: Progress,
        *,
        epochs: int,
        steps: int,
        start: float,
        patience: int | None = None,
    ) -> None:
        self.epochs: list[dict[str, float]] = []
        self.best = 0
        self._network, self._texts, self._labels, self._progress = network, texts, labels, progress
        self._most, self._steps, self._start, self._patience = epochs, steps, start, patience
        self._reported = time.monotonic()
        self._best_weights: list[Any] = []
        self._best_logits: FloatArray

    def callback(self) -> tf.keras.callbacks.Callback:
        """What Keras calls after each batch and each epoch."""
        import tensorflow as tf

        return tf.keras.callbacks.LambdaCallback(on_batch_end=self._on_batch_end, on_epoch_end=self._on_epoch_end)

    def restore_best(self, build: Callable[[], tf.keras.Model]) -> tuple[Network, FloatArray]:
        """The network with the weights of its best epoch, in full precision.

        Parameters
        ----------
        build : callable
            Makes the Keras model anew.

        Returns
        -------
        Network, float32 array of shape (n, n_labels)
            And its logits on the validation tweets.
        """
        self._network.keras.set_weights(self._best_weights)
        exact = self._network.exact(build)
        return exact, self._best_logits if exact is self._network else exact.logits(self._texts)

    def _on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if time.monotonic() - self._reported < REPORT_EVERY_S:
            return
        self._reported = time.monotonic()
        epoch = len(self.epochs) + 1
        done = ((epoch - 1) * self._steps + batch + 1) / (self._most * self._steps)
        self._progress(
            self._start + (DONE - self._start) * done,
            f"epoch {epoch} of {self._most}, batch {batch + 1} of {self._steps}",
            epoch=epoch,
            loss=logs["loss"],
            accuracy=logs["accuracy"],
        )

    def _on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        done = self._start + (DONE - self._start) * (epoch + 1) / self._most
        self._progress(done, f"epoch {epoch + 1} of {self._most}, validating", epoch=epoch + 1)
        logits = self._network.logits(self._texts)
        self.epochs.append(
            {"epoch": epoch + 1.0, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"])}
            | loss_and_accuracy(logits, self._labels, prefix="validation_")
        )
        if self.epochs[epoch]["validation_loss"] <= self.epochs[self.best]["validation_loss"]:
            self.best, self._best_logits = epoch, logits
            self._best_weights = self._network.keras.get_weights()
        if self._patience is not None and epoch - self.best >= self._patience:
            self._network.keras.stop_training = True
        self._progress(done, f"epoch {epoch + 1} of {self._most} done", **self.epochs[epoch])
