"""Texts in, probabilities out, with nothing of the training frameworks loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from polarity.inference.package import ModelManifest
from polarity.inference.scorers import Additive, Scorer
from polarity.inference.softmax import softmax
from polarity.text.cleaning import repair
from polarity.text.tweets import FloatArray

Predict = Callable[[Sequence[str]], FloatArray]
"""Anything that answers texts with probabilities of shape (n_texts, n_labels)."""


class Predictor:
    """A packaged model: texts in, probabilities out. Never raises for a text.

    Calls are thread-safe: nothing changes after loading. `polarity.families.packaging.load_predictor` reads one from
    its folder.

    Parameters
    ----------
    manifest : ModelManifest
        What the package says about itself.
    scorer : Scorer
        Of the manifest's family.
    precision : str, optional
        What it computes with. Default: the manifest's.

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
        """The class set, in the order of the probability columns."""
        return self.manifest.labels

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        if not len(texts):
            return np.empty((0, len(self.labels)), dtype=np.float32)
        logits = self._scorer.logits([repair(text) for text in texts])
        return softmax(logits, temperature=self.manifest.temperature)

    def explain(self, texts: Sequence[str]) -> list[list[float]] | None:
        """What each word of each text adds to the logits, if the family can tell exactly.

        Returns
        -------
        list of list of float, or None
            For each text, for each label one after another: what no word adds, then what each part between the
            white space of the repaired text adds, all divided by the temperature. None: this family cannot tell.
        """
        if not isinstance(self._scorer, Additive):
            return None
        temperature = self.manifest.temperature
        return [(self._scorer.shares(repair(text)) / temperature).ravel().tolist() for text in texts]

    def warm_up(self) -> None:
        """Run once on a single text and once on a batch, so that the first request is not the slow one."""
        self(["warm up"])
        self(["a few words to warm up with, and some more"] * 64)
