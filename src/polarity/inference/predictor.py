"""Prediction with a packaged model, without loading any training framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from polarity.errors import ArtifactError, PolarityError
from polarity.inference.package import ModelManifest
from polarity.inference.scorers import Additive, Scorer
from polarity.inference.softmax import softmax
from polarity.text.cleaning import repair
from polarity.text.tweets import FloatArray

Predict = Callable[[Sequence[str]], FloatArray]
"""Any callable that returns the probabilities of texts, of shape (n_texts, n_labels)."""


class Predictor:
    """A packaged model that turns texts into probabilities. No text makes a sound one raise.

    Calls are thread-safe, because nothing changes after loading. `polarity.families.packaging.load_predictor` loads
    one from its folder.

    Parameters
    ----------
    manifest : ModelManifest
        The package's manifest.
    scorer : Scorer
        The scorer of the manifest's family.
    precision : str, optional
        The precision that it computes with. Default: the manifest's.

    Examples
    --------
    >>> predictor = load_predictor(Path("model"))             # doctest: +SKIP
    >>> predictor(["what a lovely day"]).round(2)             # doctest: +SKIP
    array([[0.03, 0.97]], dtype=float32)
    """

    def __init__(self, manifest: ModelManifest, scorer: Scorer, *, precision: str | None = None) -> None:
        self.manifest = manifest
        self.precision = precision or manifest.precision
        self._scorer = scorer

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probability columns."""
        return self.manifest.labels

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1.

        Raises
        ------
        ArtifactError
            If one of them is not a number.
        """
        if not len(texts):
            return np.empty((0, len(self.labels)), dtype=np.float32)
        logits = self._scorer.logits([repair(text) for text in texts])
        probabilities = softmax(logits, temperature=self.manifest.temperature)
        if not np.isfinite(probabilities).all():
            raise ArtifactError(f"The model '{self.manifest.name}' gives probabilities that are not numbers.")
        return probabilities

    def explain(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Each word's exact contribution to the logits, if the family supports it.

        Returns
        -------
        list of list of float, or None
            One flat list per text. For each label in turn, it holds the contribution of no word, then that of each
            white-space-separated word of the repaired text, all divided by the temperature. None if the family's
            scorer is not additive.
        """
        if not isinstance(self._scorer, Additive):
            return None
        temperature = self.manifest.temperature
        return [(self._scorer.shares(repair(text)) / temperature).ravel().tolist() for text in texts]

    def warm_up(self) -> None:
        """Run once on a single text and once on a batch, so that the first request is not slow, and check the answers.

        Raises
        ------
        ArtifactError
            If there are none, or they are not one number per label and, for an additive scorer, word.
        """
        try:
            self(["warm up"])
            found = self(["a few words to warm up with, and some more"] * 64)
            explained = self.explain(["warm up"]) or 0
        except PolarityError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"The model '{self.manifest.name}' cannot answer ({type(error).__name__}: {error}). Package it again."
            ) from error
        if found.shape != (64, len(self.labels)):
            raise ArtifactError(
                f"The model '{self.manifest.name}' gives {found.shape[1]} probabilities per text, but has "
                f"{len(self.labels)} labels ({', '.join(self.labels)}). Package it again."
            )
        if not np.isfinite(explained).all():
            raise ArtifactError(f"The model '{self.manifest.name}' explains with shares that are not numbers.")
