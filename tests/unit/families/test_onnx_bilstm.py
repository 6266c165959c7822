"""The graph against a plain NumPy LSTM, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polarity.families.onnx_bilstm import BilstmWeights, write_bilstm
from polarity.inference.placement import Placement
from polarity.inference.session import Session

WORDS, SIZE, UNITS, LABELS = 20, 5, 4, 3


@pytest.fixture
def weights() -> BilstmWeights:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, 0.7, shape).astype(np.float32)

    def direction() -> tuple[np.ndarray, ...]:
        return normal(SIZE, 4 * UNITS), normal(UNITS, 4 * UNITS), normal(4 * UNITS)

    return BilstmWeights(normal(WORDS, SIZE), direction(), direction(), normal(4 * UNITS, LABELS), normal(LABELS))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def run_lstm(vectors: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    state, cell, states = np.zeros(UNITS), np.zeros(UNITS), []
    for vector in vectors:
        gate, forget, candidate, output = np.split(vector @ kernel + state @ recurrent + bias, 4)
        cell = sigmoid(forget) * cell + sigmoid(gate) * np.tanh(candidate)
        state = sigmoid(output) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def expected_logits(weights: BilstmWeights, ids: list[int]) -> np.ndarray:
    vectors = weights.words[ids]
    backward = run_lstm(vectors[::-1], *weights.backward)[::-1]
    states = np.concatenate([run_lstm(vectors, *weights.forward), backward], axis=1)
    return np.concatenate([states.max(axis=0), states.mean(axis=0)]) @ weights.output_kernel + weights.output_bias


def test_the_graph_computes_the_bilstm_whatever_is_in_the_batch(weights: BilstmWeights, tmp_path: Path) -> None:
    write_bilstm(weights, tmp_path / "model.onnx")
    random = np.random.default_rng(1)
    texts = [random.integers(1, WORDS, length).tolist() for length in (1, 3, 7, 12, 2, 7)]
    logits = Session(tmp_path / "model.onnx", placement=Placement(threads=1)).logits(texts)
    np.testing.assert_allclose(logits, [expected_logits(weights, ids) for ids in texts], atol=1e-5)
