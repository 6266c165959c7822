"""The learning curve of a network, the weights of its best epoch, and the checkpoints between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polarity.errors import ConfigurationError
from polarity.families.calibration import loss_and_accuracy
from polarity.families.checkpoints import Checkpoint, Checkpoints
from polarity.families.network import Network
from polarity.families.progress import REPORT_EVERY_S, Progress
from polarity.families.training_state import create_optimizer_variables, read_training_state, restore_training_state
from polarity.text.tweets import FloatArray, IntArray

if TYPE_CHECKING:
    import tensorflow as tf

# Fraction of the whole fit that is done when the last epoch ends.
DONE = 0.97
# In nats; guessing has ln(n_labels). A loss may rise this high and fall again, but not in the best of all epochs.
DIVERGED_LOSS = 100.0


class LearningCurve:
    """Evaluates a network on validation after each epoch, and keeps the weights of the epoch with the lowest loss.

    With checkpoints, the state of the fit is written after each epoch, and within long ones.

    Parameters
    ----------
    network : Network
        The network that is being fitted.
    texts, labels : sequence of token ids, int array of shape (n,)
        The validation tweets.
    progress : Progress
        Called about every second, and after each epoch.
    epochs, rows, batch_size : int
        Maximum number of epochs, training tweets, and tweets per batch.
    start : float
        Fraction of the whole fit that is done when the first epoch begins.
    diverged : str
        The remedy if the loss is NaN or infinite, a sentence that names the option to change.
    patience : int or None
        Stop after this many epochs without a lower loss; None disables early stopping.
    checkpoints : Checkpoints or None
        Where checkpoints are written, and the one to continue from.
    """

    def __init__(
        self,
        network: Network,
        texts: Sequence[Sequence[int]],
        labels: IntArray,
        progress: Progress,
        *,
        epochs: int,
        rows: int,
        batch_size: int,
        start: float,
        diverged: str,
        patience: int | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.epochs: list[dict[str, float]] = []
        self.best = 0
        self._network, self._texts, self._labels, self._progress = network, texts, labels, progress
        self._max_epochs, self._start, self._patience = epochs, start, patience
        self._rows, self._batch_size, self._steps = rows, batch_size, -(-rows // batch_size)
        self._diverged = diverged
        self._checkpoints = checkpoints
        self._before: dict[str, float] = {"batches": 0}  # what an interrupted process did of the current epoch
        self._reported = time.monotonic()
        self._best_weights: list[Any] = []
        self._best_logits: FloatArray

    def fit(self, train: Callable[[int, int, int], object]) -> None:
        """Train to the last epoch, or until early stopping; from the checkpoint, if there is one.

        Parameters
        ----------
        train : callable
            Called with the number of epochs, of batches in each, and of batches that are already done; it fits the
            Keras model with `callback`.
        """
        self._resume()
        while not self._is_finished():
            batch = int(self._before["batches"])
            done = len(self.epochs) * self._steps + batch
            if batch:
                train(1, self._steps - batch, done)
            else:
                train(self._max_epochs - len(self.epochs), self._steps, done)

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
        batch += int(self._before["batches"])
        self._require_finite(logs["loss"], "training", f"epoch {len(self.epochs) + 1}, batch {batch + 1}")
        if self._checkpoints and batch + 1 < self._steps and self._checkpoints.is_due():
            self._write_checkpoint(batch + 1, self._whole_epoch(logs, batch + 1))
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

    def _on_epoch_end(self, _: int, logs: dict[str, float]) -> None:
        epoch, logs = len(self.epochs), self._whole_epoch(logs, self._steps)
        self._before = {"batches": 0}
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
        if self._is_finished():
            self._network.keras.stop_training = True
        if self._checkpoints:
            self._write_checkpoint(0, {})
        self._progress(done, f"epoch {epoch + 1} of {self._max_epochs} done", **self.epochs[epoch])

    def _is_finished(self) -> bool:
        trained = len(self.epochs)
        stopped = self._patience is not None and trained - 1 - self.best >= self._patience
        return trained == self._max_epochs or (trained > 0 and stopped)

    def _whole_epoch(self, logs: Mapping[str, float], batches: int) -> dict[str, float]:
        """Keras' running means over this process's share of an epoch -> those over its first `batches` batches."""
        share = self._before["batches"] * self._batch_size / min(batches * self._batch_size, self._rows)
        return {
            name: share * self._before.get(name, 0.0) + (1 - share) * float(logs[name]) for name in ("loss", "accuracy")
        }

    def _write_checkpoint(self, batch: int, means: Mapping[str, float]) -> None:
        assert self._checkpoints is not None
        state = {"epochs": self.epochs, "best": self.best, "before": {"batches": batch, **means}}
        arrays = read_training_state(self._network.keras)
        if self.epochs:
            arrays["best_logits"] = self._best_logits
        if self.epochs and (batch or self.best < len(self.epochs) - 1):  # otherwise they are the weights themselves
            arrays |= {f"best/{place}": weights for place, weights in enumerate(self._best_weights)}
        self._checkpoints.write(Checkpoint(len(self.epochs) * self._steps + batch, state, arrays))

    def _resume(self) -> None:
        if self._checkpoints is None:
            return
        create_optimizer_variables(self._network.keras)
        checkpoint = self._checkpoints.start()
        if checkpoint is None:
            return
        restore_training_state(self._network.keras, checkpoint)
        self.epochs, self.best = list(checkpoint.state["epochs"]), int(checkpoint.state["best"])
        self._before = dict(checkpoint.state["before"])
        if self.epochs:
            self._best_logits = checkpoint.arrays["best_logits"]
            self._best_weights = list(checkpoint.group("best").values()) or self._network.keras.get_weights()

    def _require_finite(self, loss: float, what: str, where: str) -> None:
        if not math.isfinite(loss):
            raise ConfigurationError(f"The {what} loss is {loss} in {where}: the fit diverged. {self._diverged}")
