"""Whether a window of answers differs from held-out tweets of the model's own data: four kinds of tests, one decision.

Each test compares the window with a reference that is packed with the model. Their thresholds are calibrated together
when the model is packaged: windows are drawn at random from the held-out tweets, and each is compared with the rest.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from polarity.record.descriptors import Descriptors, describe
from polarity.record.history import RecordedAnswer
from polarity.record.windows import WindowAnswer
from polarity.text.words import KnownWords, words_of
from polarity.watch.estimates import Floats
from polarity.watch.expected_accuracy import ConfidenceCalibration

TESTS = ("scores", "descriptors", "words", "labels", "labels by word")
DESCRIPTORS = ("characters", "words", "unknown_share", "links", "mentions", "hashtags", "emoji", "other script")
"""What the largest distance is taken of."""

BUCKETS = 2048
MIN_LABELS = 50
"""With fewer labels in a window, they are not compared with the predictions."""
_BINS = 128
_DRAWS, _DRAWS_AT_ONCE = 10_000, 250
# Held-out tweets that are kept as they are, to be reweighted (`polarity.watch.density_ratio`).
_KEPT = 5_000
# Variance added to that of a bucket, so that a word which the reference hardly has does not decide alone.
_RARE = 0.002
_FEW_LABELS = 2.0
_SURPRISING = 5.0
_ARRAYS = ("edges", "cumulative", "scales", "shares")
_NUMBERS = ("window", "rows", "rate", "script", "labels", "thresholds", "surprise")


@dataclass(frozen=True)
class AnsweredTweets:
    """What the tests read of n answered tweets.

    Parameters
    ----------
    scores : float array of shape (n, n_labels)
        The model's probabilities.
    descriptors : float array of shape (n, 7)
        The first seven of `DESCRIPTORS`; NaN: not known.
    scripts : sequence of str or None, length n
    words : sparse bool matrix of shape (n, BUCKETS), optional
        Hashed words of the texts (`hashed_words`). Default: texts are not kept.
    expected : float array of shape (n,), optional
        Calibrated probability that the answer is correct.
    correct : float array of shape (n,), optional
        1 if the answer is the true label, 0 if not, NaN if that is not known.
    """

    scores: Floats
    descriptors: Floats
    scripts: Sequence[str | None]
    words: sparse.csr_matrix | None = None
    expected: Floats | None = None
    correct: Floats | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        probabilities: npt.ArrayLike,
        *,
        labels: npt.ArrayLike | None = None,
        calibration: ConfidenceCalibration | None = None,
        known: KnownWords | None = None,
    ) -> AnsweredTweets:
        """Describe tweets as the recorder does.

        Parameters
        ----------
        texts : sequence of str, length n
        probabilities : float array of shape (n, n_labels)
        labels : int array of shape (n,), optional
            Indices of the true labels.
        calibration : ConfidenceCalibration, optional
            What the model's confidence is worth.
        known : KnownWords, optional
            The words of the training tweets.
        """
        scores = np.asarray(probabilities, dtype=np.float64)
        described = [describe(text, known) for text in texts]
        return cls(
            scores,
            np.array([descriptor_values(found) for found in described], dtype=np.float64).reshape(-1, 7),
            [found.script for found in described],
            hashed_words(texts),
            None if calibration is None else calibration(scores.max(axis=1)),
            None if labels is None else (scores.argmax(axis=1) == np.asarray(labels)).astype(np.float64),
        )

    @classmethod
    def recorded(
        cls,
        answers: Sequence[WindowAnswer] | Sequence[RecordedAnswer],
        scores: Floats,
        *,
        expected: Floats | None = None,
        correct: Floats | None = None,
    ) -> AnsweredTweets:
        """Read recorded answers; there are words only if every text is kept."""
        texts = [answer.text for answer in answers if answer.text is not None]
        described = [
            (
                answer.characters,
                answer.words,
                answer.unknown_share,
                answer.links,
                answer.mentions,
                answer.hashtags,
                answer.emoji,
            )
            for answer in answers
        ]
        words = hashed_words(texts) if len(texts) == len(answers) else None
        values = np.array(described, dtype=np.float64).reshape(-1, 7)
        return cls(scores, values, [answer.script for answer in answers], words, expected, correct)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> AnsweredTweets:
        """The tweets of these rows."""
        return AnsweredTweets(
            self.scores[rows],
            self.descriptors[rows],
            [self.scripts[row] for row in rows],
            None if self.words is None else self.words[rows],
            None if self.expected is None else self.expected[rows],
            None if self.correct is None else self.correct[rows],
        )

    @property
    def labelled(self) -> bool:
        """Whether enough answers have a label to be compared with the predictions."""
        known = 0 if self.correct is None or self.expected is None else int(np.isfinite(self.correct).sum())
        return known >= MIN_LABELS

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests that are possible."""
        with_words, labelled = self.words is not None, self.labelled
        possible = (True, True, with_words, labelled, labelled and with_words)
        return tuple(test for test, holds in zip(TESTS, possible, strict=True) if holds)


@dataclass(frozen=True)
class DriftResult:
    """What the tests found in a window.

    Parameters
    ----------
    effects : dict
        By test, its statistic as a multiple of its threshold: above 1, it alarms.
    moved : str
        Name of the descriptor with the largest distance.
    distances : dict
        Largest difference of the cumulative shares (Kolmogorov and Smirnov), by score and descriptor.
    """

    effects: dict[str, float]
    moved: str
    distances: dict[str, float]

    @property
    def largest(self) -> float:
        """The largest effect."""
        return max(self.effects.values())

    @property
    def drifted(self) -> bool:
        """Whether any test alarms."""
        return self.largest > 1

    def in_words(self) -> str:
        """Return the tests that alarm, the strongest first.

        Examples
        --------
        >>> DriftResult({"scores": 2.0, "words": 0.5}, "links", {"negative": 0.2, "links": 0.01}).in_words()
        'scores (2.0 times the threshold)'
        """
        found = sorted(self.effects.items(), key=lambda item: -item[1])
        named = [f"{test}{f': {self.moved}' if test == 'descriptors' else ''}" for test, _ in found]
        alarming = [f"{name} ({of:.1f} times the threshold)" for name, (_, of) in zip(named, found) if of > 1]
        return ", ".join(alarming) or "no test alarms"


@dataclass(frozen=True)
class DriftReference:
    """Held-out tweets in a compact form, and the thresholds that follow from them.

    Parameters
    ----------
    window, rows : int
        Number of answers in a window, and of held-out tweets.
    rate : float
        The share of windows without drift that may alarm, all tests together.
    labels : tuple of str
        Whose probabilities are compared: for two classes, the first.
    script : str
        The most frequent one.
    edges, cumulative : float arrays of shape (n_features, n_bins)
        Upper edges of each feature's bins, padded with infinity, and the share of tweets up to each.
    scales : float array of shape (n_features,)
        Distances that one window in a hundred exceeds.
    shares : float array of shape (BUCKETS,)
        Share of the tweets that have a word of each bucket.
    thresholds : dict
        By the possible tests, joined by `+`: the threshold of each.
    sample : AnsweredTweets
        Some of the held-out tweets, drawn at random, with all scores, words, and whether the answer is correct.
    surprise : float
        Share of the held-out answers that were expected to be correct, less the share that are.
    """

    window: int
    rows: int
    rate: float
    labels: tuple[str, ...]
    script: str
    edges: Floats
    cumulative: Floats
    scales: Floats
    shares: Floats
    thresholds: Mapping[str, Sequence[float]]
    sample: AnsweredTweets
    surprise: float = 0.0

    @classmethod
    def build(
        cls, held_out: AnsweredTweets, label_names: Sequence[str], *, window: int, rate: float, seed: int = 0
    ) -> DriftReference | None:
        """Calibrate on tweets that the model was not fitted on; None if there are fewer than two windows of them.

        Windows are drawn without replacement and compared with the rest of the held-out tweets. The thresholds are
        those quantiles, of the same level for all tests, that together are exceeded in a share of the windows which is
        below `rate` by 1.6 standard errors, so that chance in the simulation does not make the rate too high
        (Westfall and Young 1993, Resampling-Based Multiple Testing: the minimum of the p-values).
        """
        rows = len(held_out)
        if rows < 2 * window:
            return None
        scripts = [script for script in held_out.scripts if script]
        script = max(sorted(set(scripts)), key=scripts.count) if scripts else ""
        names = tuple(label_names[:1]) if len(label_names) == 2 else tuple(label_names)
        values = _features(held_out, len(names), script)
        bins = [_edges(column) for column in values.T]
        edges = np.full((len(bins), max(map(len, bins))), np.inf)
        for place, found in enumerate(bins):
            edges[place, : len(found)] = found
        cumulative = np.stack([(column[:, None] <= of).mean(axis=0) for column, of in zip(values.T, edges)])
        words = held_out.words
        shares = np.zeros(BUCKETS) if words is None else np.asarray(words.mean(axis=0), dtype=np.float64).ravel()
        ones = np.ones(len(bins))
        random = np.random.default_rng(seed)
        sample = held_out[np.sort(random.permutation(rows)[:_KEPT])]
        surprise = 0.0
        if held_out.labelled:
            assert held_out.expected is not None
            assert held_out.correct is not None
            surprise = float(np.nanmean(held_out.expected - held_out.correct))
        draft = cls(window, rows, rate, names, script, edges, cumulative, ones, shares, {}, sample, surprise)
        parts = []
        for _ in range(_DRAWS // _DRAWS_AT_ONCE):
            drawn = np.stack([random.choice(rows, window, replace=False) for _ in range(_DRAWS_AT_ONCE)])
            parts.append(draft._compare(held_out, drawn, rows / (rows - window)))
        distances = np.concatenate([part[0] for part in parts])
        scales = np.maximum(np.quantile(distances, 0.99, axis=0), 0.01 * np.sqrt(window))
        draft = replace(draft, scales=scales)
        statistics = np.concatenate([draft._statistics(of, others) for of, others in parts])
        sets = {AnsweredTweets(held_out.scores, held_out.descriptors, held_out.scripts).tests}
        sets |= {AnsweredTweets(held_out.scores, held_out.descriptors, held_out.scripts, words).tests}
        sets |= {tuple(test for test in held_out.tests if "word" not in test), held_out.tests}
        thresholds = {
            "+".join(tests): _joint_thresholds(statistics[:, [TESTS.index(test) for test in tests]], rate)
            for tests in sets
        }
        return replace(draft, thresholds=thresholds)

    def judge(self, window: AnsweredTweets) -> DriftResult:
        """Compare a window with the reference.

        Raises
        ------
        ValueError
            If the window is empty, or has other scores than the reference.
        """
        if not len(window) or window.scores.shape[1] < len(self.labels):
            raise ValueError(f"Got scores of shape {window.scores.shape}; {len(self.labels)} columns are needed.")
        distances, others = self._compare(window, np.arange(len(window))[None], 1.0)
        words, unknown = (window.descriptors[:, DESCRIPTORS.index(name)] for name in ("words", "unknown_share"))
        if (np.isnan(unknown) & (words > 0)).any():
            # Answers of a challenger: the server does not know the words of its training.
            distances[:, len(self.labels) + DESCRIPTORS.index("unknown_share")] = 0.0
        statistics = self._statistics(distances, others)[0]
        tests = window.tests
        while "+".join(tests) not in self.thresholds:
            tests = tests[:-1]  # the held-out tweets had no labels or no texts
        effects = {
            test: float(statistics[TESTS.index(test)] / limit)
            for test, limit in zip(tests, self.thresholds["+".join(tests)], strict=True)
        }
        names = (*self.labels, *DESCRIPTORS)
        moved = int((distances[0] / self.scales)[len(self.labels) :].argmax())
        found = distances[0] / np.sqrt(len(window))
        return DriftResult(effects, DESCRIPTORS[moved], dict(zip(names, map(float, found), strict=True)))

    def more_frequent(self, texts: Sequence[str], most: int = 8) -> list[tuple[str, float, float]]:
        """The words that more tweets have than in the reference, the most surprising first.

        Returns
        -------
        list of (str, float, float)
            The word, and the shares of the tweets that have it in the window and in the reference. That in the
            reference is of all words with the same hash, so it is too large rather than too small.
        """
        counts = Counter(word for text in texts for word in set(words_of(text)))
        found = []
        for word, count in counts.items():
            share, before = count / len(texts), float(self.shares[bucket_of(word)])
            surprise = (share - before) / np.sqrt((before * (1 - before) + _RARE) / len(texts))
            if surprise > _SURPRISING:
                found.append((surprise, word, share, before))
        return [(word, share, before) for _, word, share, before in sorted(found, reverse=True)[:most]]

    def _compare(self, tweets: AnsweredTweets, drawn: npt.NDArray[np.int64], factor: float) -> tuple[Floats, Floats]:
        """Distances of the features, and the statistics of words and labels, of several windows of the same size.

        `factor` turns a difference from all held-out tweets into that from those outside the window.
        """
        windows, size = drawn.shape
        values = _features(tweets, len(self.labels), self.script)
        n_bins = self.edges.shape[1]
        distances = np.empty((windows, len(self.edges)))
        of_window = np.repeat(np.arange(windows), size) * (n_bins + 1)
        for place, edges in enumerate(self.edges):
            codes = np.searchsorted(edges, values[:, place])  # of the first edge that is not below the value
            counts = np.bincount(of_window + codes[drawn].ravel(), minlength=windows * (n_bins + 1))
            shares = counts.reshape(windows, n_bins + 1)[:, :-1].cumsum(axis=1) / size
            distances[:, place] = np.abs(shares - self.cumulative[place]).max(axis=1) * factor * np.sqrt(size)
        others = np.zeros((windows, 3))
        chosen = sparse.csr_matrix(
            (np.ones(drawn.size), drawn.ravel(), np.arange(0, drawn.size + 1, size)), (windows, len(tweets))
        )
        if tweets.words is not None:
            apart = (np.asarray((chosen @ tweets.words).todense()) / size - self.shares) * factor
            # Of the others, too: a rare word of the window would make its own variance larger.
            shares = self.shares - apart * (1 - 1 / factor)
            others[:, 0] = (apart**2 / (shares * (1 - shares) + _RARE)).sum(axis=1) * size / BUCKETS
        if tweets.labelled:
            assert tweets.correct is not None and tweets.expected is not None
            known = np.isfinite(tweets.correct)
            surprise = np.where(known, tweets.expected - np.nan_to_num(tweets.correct), 0.0)
            variance = np.where(known, tweets.expected * (1 - tweets.expected), 0.0)
            excess = (chosen @ surprise - self.surprise * (chosen @ known.astype(np.float64))) * factor
            others[:, 1] = np.maximum(excess / np.sqrt(chosen @ variance + 1e-9), 0.0)
            if tweets.words is not None:
                sums = np.asarray((chosen @ tweets.words.multiply(surprise[:, None]).tocsr()).todense())
                spread = np.asarray((chosen @ tweets.words.multiply(variance[:, None]).tocsr()).todense())
                others[:, 2] = np.maximum(sums / np.sqrt(spread + _FEW_LABELS), 0.0).max(axis=1)
        return distances, others

    def _statistics(self, distances: Floats, others: Floats) -> Floats:
        """One column for each of `TESTS`."""
        n_scores = len(self.labels)
        largest = (distances / self.scales)[:, n_scores:].max(axis=1)
        return np.column_stack([distances[:, :n_scores].max(axis=1), largest, others])

    def to_bytes(self) -> bytes:
        """What is packed with the model: a compressed NumPy archive."""
        arrays = {name: getattr(self, name).astype(np.float32) for name in _ARRAYS}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        sample = self.sample
        if sample.words is not None:
            words = sample.words.tocsr()
            arrays["word_columns"], arrays["word_ends"] = (
                words.indices.astype(np.uint16),
                words.indptr.astype(np.uint32),
            )
        if sample.correct is not None:
            arrays["correct"] = sample.correct.astype(np.float32)
        packed = io.BytesIO()
        np.savez_compressed(
            packed,
            **arrays,
            numbers=np.array(json.dumps(numbers)),
            scores=sample.scores.astype(np.float32),
            descriptors=sample.descriptors.astype(np.float32),
            scripts=np.array([script or "" for script in sample.scripts]),
        )
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> DriftReference:
        """Read what `to_bytes` returned.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                found = dict(archive)
            numbers = json.loads(str(found["numbers"]))
            scores = found["scores"].astype(np.float64)
            words = None
            if "word_ends" in found:
                columns, ends = found["word_columns"].astype(np.int32), found["word_ends"].astype(np.int32)
                words = sparse.csr_matrix((np.ones(len(columns)), columns, ends), (len(scores), BUCKETS))
            sample = AnsweredTweets(
                scores,
                found["descriptors"].astype(np.float64),
                [script or None for script in found["scripts"].tolist()],
                words,
                correct=found["correct"].astype(np.float64) if "correct" in found else None,
            )
            arrays = {name: found[name].astype(np.float64) for name in _ARRAYS}
            return cls(**{**numbers, "labels": tuple(numbers["labels"])}, **arrays, sample=sample)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"This is no reference that drift can be judged by: {error}.") from error


def descriptor_values(found: Descriptors) -> tuple[float, ...]:
    """The numbers of a row of `AnsweredTweets.descriptors`."""
    unknown = np.nan if found.unknown_share is None else found.unknown_share
    return (found.characters, found.words, unknown, found.links, found.mentions, found.hashtags, found.emoji)


def bucket_of(word: str) -> int:
    """The column of `hashed_words` in which a lower-case word is counted."""
    return zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS


def hashed_words(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return which buckets of words each text has, of shape (n_texts, BUCKETS); masking a text changes none of them."""
    rows = [sorted({bucket_of(word) for word in words_of(text)}) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([column for row in rows for column in row], dtype=np.int32)
    return sparse.csr_matrix((np.ones(len(columns)), columns, ends), (len(texts), BUCKETS))


def _features(tweets: AnsweredTweets, n_scores: int, script: str) -> Floats:
    other = np.array([found is not None and found != script for found in tweets.scripts], dtype=np.float64)
    # float32, as the reference is kept: a value must fall into the same bin on both sides
    columns = np.column_stack([tweets.scores[:, :n_scores], np.nan_to_num(tweets.descriptors), other])
    return columns.astype(np.float32).astype(np.float64)


def _edges(values: Floats) -> Floats:
    """Upper edges of at most `_BINS` bins; every value is one if there are few."""
    distinct = np.unique(values)
    if len(distinct) <= _BINS:
        return distinct
    edges: Floats = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:], method="higher"))
    return edges


def _joint_thresholds(statistics: Floats, rate: float) -> list[float]:
    """One threshold for each column, exceeded by the same number of rows each, together by fewer than `rate`."""
    n = len(statistics)
    allowed = n * rate - 1.645 * np.sqrt(n * rate * (1 - rate))
    ranks = (-statistics).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").min(axis=1)  # 0: the largest
    together = np.bincount(ranks, minlength=n).cumsum()  # windows in which a test has a rank up to this
    place = max(int(np.searchsorted(together, allowed, side="right")), 1)
    return [float(column[-place - 1]) for column in np.sort(statistics, axis=0).T]
