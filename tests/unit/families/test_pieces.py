"""The small pieces that fits are made of."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from pydantic import ValidationError

from polarity.errors import ConfigurationError
from polarity.families import progress as progress_module
from polarity.families.batches import PAD_TO, bucketed_batches, padded
from polarity.families.bilstm import BilstmClassifier, BilstmConfig, _initial_vectors
from polarity.families.calibration import fit_temperature, loss_and_accuracy
from polarity.families.progress import Heartbeat
from polarity.families.sampling import class_weights, stratified_subsample
from polarity.inference.scorers import GRAPH
from polarity.inference.softmax import softmax
from polarity.text.embeddings import Vectors
from polarity.text.tokens import tokenize
from polarity.text.tweets import Tweets
from polarity.text.vocabulary import Vocabulary
from polarity.text.word2vec import train_word2vec
from tests.unit.families.conftest import make_tweets, silent


@pytest.mark.parametrize("rows", [1, 7, 100, 299])
def test_a_subsample_keeps_the_shares_of_the_classes(rows: int) -> None:
    labels = np.repeat([0, 1, 2], [200, 75, 25])
    tweets = Tweets([f"tweet {n}" for n in range(300)], labels, ("a", "b", "c"))
    sample = stratified_subsample(tweets, rows, seed=4)
    assert len(sample) == rows
    assert len(set(sample.texts)) == rows
    np.testing.assert_allclose(np.bincount(sample.labels, minlength=3), np.array([200, 75, 25]) * rows / 300, atol=1)
    assert list(sample.texts) == list(stratified_subsample(tweets, rows, seed=4).texts)


def test_another_seed_draws_others_and_no_limit_draws_none() -> None:
    tweets = make_tweets(300, seed=1)
    assert list(stratified_subsample(tweets, 50, seed=1).texts) != list(stratified_subsample(tweets, 50, seed=2).texts)
    assert stratified_subsample(tweets, None, seed=1) is tweets
    assert stratified_subsample(tweets, 300, seed=1) is tweets


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 32), st.booleans())
def test_batches_hold_every_text_once_and_neighbours_by_length(lengths: list[int], size: int, shuffle: bool) -> None:
    random = np.random.default_rng(0) if shuffle else None
    batches = bucketed_batches(np.array(lengths), size, random=random)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert sum(spread) <= max(lengths) - min(lengths) + (4 * len(batches) if shuffle else 0)


def test_padding_reaches_the_longest_and_little_further() -> None:
    ids = padded([[5, 6], [7, 8, 9, 10, 11], []])
    assert ids.shape == (3, 2 * PAD_TO)
    assert ids[1].tolist() == [7, 8, 9, 10, 11, 0, 0, 0]
    assert not ids[2].any()


def test_the_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(0, 2, (20_000, 3))
    # the label of the largest of logits with Gumbel noise is drawn with the softmax's probabilities
    labels = (truth + random.gumbel(size=truth.shape)).argmax(axis=1)
    assert fit_temperature(truth, labels) == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * truth, labels) == pytest.approx(3, abs=0.15)
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=np.int64)) == 1


def test_a_temperature_changes_no_answer_and_the_loss_for_the_better() -> None:
    logits = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    labels = np.array([0, 1, 1])
    temperature = fit_temperature(logits, labels)
    before, after = loss_and_accuracy(logits, labels), loss_and_accuracy(logits / temperature, labels)
    assert after["loss"] < before["loss"]
    assert after["accuracy"] == before["accuracy"] == pytest.approx(2 / 3)


def test_softmax_of_extreme_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax([[1e5, -1e5], [-1e30, 0]]), [[1, 0], [0, 1]])


def test_class_weights_even_out_the_classes() -> None:
    tweets = Tweets(["x"] * 10, np.array([0] * 8 + [1] * 2), ("a", "b"))
    weights = class_weights(tweets)
    assert weights[0] * 8 == pytest.approx(weights[1] * 2)
    assert (weights[0] * 8 + weights[1] * 2) / 10 == pytest.approx(1)


def test_the_vocabulary_keeps_frequent_words_and_known_ones() -> None:
    counts = Counter({"good": 9, "bad": 5, "rare": 1, "known": 1, "also": 2})
    vocabulary = Vocabulary.of(counts, known={"known"}, size=4)
    assert vocabulary.words == ("good", "bad", "also", "known")
    assert vocabulary.ids(["bad", "rare", "good", "known"], limit=3) == [3, 1, 2]
    assert vocabulary.ids([], limit=3) == [1]


def test_a_vocabulary_survives_its_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("good", "caf\u00e9", "\U0001f602", "\ufffd"))
    vocabulary.write(tmp_path / "vocabulary.json")
    assert Vocabulary.read(tmp_path / "vocabulary.json") == vocabulary


def test_words_start_from_their_vectors_and_others_from_chance() -> None:
    vectors = Vectors({"good": 0}, np.array([[1.0, 2.0, 3.0]], dtype=np.float32))
    more = Vectors({"good": 0, "new": 1}, np.array([[7.0], [8.0]], dtype=np.float32))
    rows = _initial_vectors(Vocabulary(("new", "good")), [vectors, more], size=99, seed=1)
    assert rows.shape == (4, 4)
    np.testing.assert_array_equal(rows[3], [1, 2, 3, 7])
    np.testing.assert_array_equal(rows[0], 0)
    assert rows[2].all() and rows[2, 3] == 8
    assert _initial_vectors(Vocabulary(("new", "good")), [], size=99, seed=1).shape == (4, 99)


def test_word2vec_is_the_same_twice_and_puts_like_words_together() -> None:
    random = np.random.default_rng(0)
    sentences = [list(random.permutation(group)) for group in (["hot", "sun", "warm"], ["cold", "snow", "ice"]) * 150]
    first, second = (train_word2vec(sentences, size=8, epochs=40, min_count=2, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)

    def likeness(a: str, b: str) -> float:
        x, y = (first.matrix[first.words[word]] for word in (a, b))
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert likeness("hot", "sun") > likeness("hot", "snow")


def test_a_bilstm_reads_its_vectors_from_the_configured_source(tmp_path: Path) -> None:
    tokens = [["good", "day"], ["bad", "day"]] * 10
    (tmp_path / "glove.txt").write_text("good 1 2 3 4\nunused 0 0 0 0\n")

    def found(**options: Any) -> list[list[str]]:
        classifier = BilstmClassifier(BilstmConfig(**options), name="bilstm", seed=1)
        return [sorted(vectors.words) for vectors in classifier._vectors(tokens, silent)]

    path, trained = tmp_path / "glove.txt", ["bad", "day", "good"]
    assert found(vectors=path, word2vec_size=5) == [["good"], trained]
    assert found(vectors=path, word2vec_size=0) == [["good"]]
    assert found(vectors="word2vec", word2vec_size=5) == [trained]
    assert found() == []
    with pytest.raises(ValidationError, match="word2vec_size=0"):
        BilstmConfig(vectors="word2vec", word2vec_size=0)


@pytest.mark.parametrize("rate", [pytest.param(0.0, marks=pytest.mark.soak), 0.5])
def test_given_vectors_learn_at_their_own_rate_and_are_packed_as_they_became(rate: float, tmp_path: Path) -> None:
    tweets = make_tweets(200, seed=1)
    words = sorted({word for text in tweets.texts for word in tokenize(text)})
    lines = [f"{word} {n % 3 - 1} {n % 5 - 2} {n % 7 - 3}" for n, word in enumerate(words)]
    (tmp_path / "glove.txt").write_text("\n".join(lines) + "\n")
    config = BilstmConfig(vectors=tmp_path / "glove.txt", word2vec_size=0, vectors_rate=rate, units=4, epochs=1)
    fitted = BilstmClassifier(config, name="bilstm", seed=1).fit(tweets, tweets, silent)
    fitted.export(tmp_path / "packaged")  # which holds the package against the network
    graph = onnx.load(tmp_path / "packaged" / GRAPH).graph
    packed = next(numpy_helper.to_array(one) for one in graph.initializer if one.name == "words")
    moved = np.abs(packed - fitted.network.keras.get_layer("given").get_weights()[0])
    assert not moved[0].any(), "padding stays nothing"
    assert moved.any() == bool(rate)


def test_missing_vectors_stop_the_fit_before_tensorflow_starts(tmp_path: Path) -> None:
    config = BilstmConfig(vectors=tmp_path / "absent.txt")
    tweets = make_tweets(20, seed=1)
    messages: list[str] = []
    with pytest.raises(ConfigurationError, match="do not exist"):
        BilstmClassifier(config, name="bilstm", seed=1).fit(
            tweets, tweets, lambda fraction, message, **metrics: messages.append(message)
        )
    assert not any("TensorFlow" in message for message in messages)


def test_the_heartbeat_repeats_the_report_of_a_silent_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(progress_module, "BEAT_S", 0.02)
    beaten = threading.Event()
    reports: list[tuple[float, str]] = []

    def progress(fraction: float, message: str, **metrics: float) -> None:
        reports.append((fraction, message))
        if len(reports) == 3:
            beaten.set()

    with Heartbeat(progress) as report:
        report(0.4, "tracing")
        assert beaten.wait(20)
    assert reports[0] == (0.4, "tracing")
    assert reports[1][0] == 0.4
    assert reports[1][1].startswith("tracing, ")


HEAVY = ("tensorflow", "tf_keras", "keras", "ktrain", "transformers", "torch", "gensim", "mlflow", "prefect")


@pytest.mark.parametrize(
    ("modules", "also"),
    [
        (
            "polarity.families.registry, polarity.families.logistic, polarity.families.bilstm, "
            "polarity.families.transformer, polarity.pipeline.graph, "
            "polarity.text.embeddings, polarity.families.encoders, polarity.text.word2vec, polarity.families.parity",
            (),
        ),
        ("polarity.inference.predictor, polarity.text.tokens", ("pandas", "sklearn", "scipy", "matplotlib")),
    ],
)
def test_nothing_heavy_is_loaded_by_importing(modules: str, also: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print(*(name for name in {HEAVY + also!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
