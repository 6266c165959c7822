"""The learning curve of a network, and the weights of its best epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polarity.errors import ConfigurationError
from polarity.families.calibration import loss_and_accuracy
from polarity.families.network import Network
from polarity.families.progress import REPORT_EVERY_S, Progress
from polarity.text.tweets import FloatArray, IntArray

if TYPE_CHECKING:
    import tensorflow as tf

# Fraction of the whole fit that is done when the last epoch ends.
DONE = 0.97
# In nats; guessing has ln(n_labels). A loss may rise this high and fall again, but not in the best of all epochs.
DIVERGED_LOSS = 100.0


class LearningCurve:
    """Evaluates a network on validation after each epoch, and keeps the weights of the epoch with the lowest loss.

    Parameters
    ----------
    network : Network
        The network that is being fitted.
    texts, labels : sequence of token ids, int array of shape (n,)
        The validation tweets.
    progress : Progress
        Called about every second, and after each epoch.
    epochs, steps : int
        Maximum number of epochs, and batches per epoch.
    start : float
        Fraction of the whole fit that is done when the first epoch begins.
    diverged : str
        The remedy if the loss is NaN or infinite, a sentence that names the option to change.
    patience : int or None
        Stop after this many epochs without a lower loss; None disables early stopping.
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
        diverged: str,
        patience: int | None = None,
    ) -> None:
        self.epochs: list[dict[str, float]] = []
        self.best = 0
        self._network, self._texts, self._labels, self._progress = network, texts, labels, progress
        self._max_epochs, self._steps, self._start, self._patience = epochs, steps, start, patience
        self._diverged = diverged
        self._reported = time.monotonic()
        self._best_weights: list[Any] = []
        self._best_logits: FloatArray

    def callback(self) -> tf.keras.callbacks.Callback:
        """The Keras callback for the end of each batch and epoch.

        It raises `ConfigurationError` as soon as a loss is NaN or infinite: the weights do not recover from that, and
        another try would end the same way.
        """
        import tensorflow as tf

        return tf.keras.callbacks.LambdaCallback(on_batch_end=self._on_batch_end, on_epoch_end=self._on_epoch_end)

    def restore_best(self, build: Callable[[], tf.keras.Model]) -> tuple[Network, FloatArray]:
        """Return the network with the weights of its best epoch, in full precision.

        Parameters
        ----------
        build : callable
            Builds a new Keras model.

        Returns
        -------
        Network, float32 array of shape (n, n_labels)
            The network and its logits on the validation tweets.

        Raises
        ------
        ConfigurationError
            If the loss is absurdly high even in the best epoch: such weights overflow in the packaged graph.
        """
        lowest = self.epochs[self.best]["validation_loss"]
        if lowest > DIVERGED_LOSS:
            raise ConfigurationError(
                f"The lowest validation loss of any epoch is {lowest:.3g}: the fit diverged. {self._diverged}"
            )
        self._network.keras.set_weights(self._best_weights)
        full = self._network.in_full_precision(build)
        return full, self._best_logits if full is self._network else full.logits(self._texts)

    def _on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._require_finite(logs["loss"], "training", f"epoch {len(self.epochs) + 1}, batch {batch + 1}")
        if time.monotonic() - self._reported < REPORT_EVERY_S:
            return
        self._reported = time.monotonic()
        epoch = len(self.epochs) + 1
        done = ((epoch - 1) * self._steps + batch + 1) / (self._max_epochs * self._steps)
        self._progress(
            self._start + (DONE - self._start) * done,
            f"epoch {epoch} of {self._max_epochs}, batch {batch + 1} of {self._steps}",
            epoch=epoch,
            loss=logs["loss"],
            accuracy=logs["accuracy"],
        )

    def _on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        done = self._start + (DONE - self._start) * (epoch + 1) / self._max_epochs
        self._progress(done, f"epoch {epoch + 1} of {self._max_epochs}, validating", epoch=epoch + 1)
        logits = self._network.logits(self._texts)
        self.epochs.append(
            {"epoch": epoch + 1.0, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"])}
            | loss_and_accuracy(logits, self._labels, prefix="validation_")
        )
        self._require_finite(self.epochs[epoch]["validation_loss"], "validation", f"epoch {epoch + 1}")
        if self.epochs[epoch]["validation_loss"] <= self.epochs[self.best]["validation_loss"]:
            self.best, self._best_logits = epoch, logits
            self._best_weights = self._network.keras.get_weights()
        if self._patience is not None and epoch - self.best >= self._patience:
            self._network.keras.stop_training = True
        self._progress(done, f"epoch {epoch + 1} of {self._max_epochs} done", **self.epochs[epoch])

    def _require_finite(self, loss: float, what: str, where: str) -> None:
        if not math.isfinite(loss):
            raise ConfigurationError(f"The {what} loss is {loss} in {where}: the fit diverged. {self._diverged}")
