"""The graph against a plain NumPy encoder, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf, softmax

from polarity.families.onnx_transformer import (
    Dense,
    Layer,
    Norm,
    TransformerWeights,
    write_quantised,
    write_transformer,
)
from polarity.inference.placement import Placement
from polarity.inference.session import Session

WORDS, POSITIONS, WIDTH, INNER, HEADS, LABELS = 50, 16, 8, 12, 2, 3


@pytest.fixture(params=["Relu", "Tanh"])
def weights(request: pytest.FixtureRequest) -> TransformerWeights:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, 0.4, shape).astype(np.float32)

    def dense(n_in: int, n_out: int) -> Dense:
        return Dense(normal(n_in, n_out), normal(n_out))

    def norm() -> Norm:
        return Norm(1 + normal(WIDTH), normal(WIDTH))

    def layer() -> Layer:
        square = [dense(WIDTH, WIDTH) for _ in range(4)]
        return Layer(*square, norm(), dense(WIDTH, INNER), dense(INNER, WIDTH), norm())

    return TransformerWeights(
        words=normal(WORDS, WIDTH),
        positions=normal(POSITIONS, WIDTH),
        norm=norm(),
        layers=[layer(), layer()],
        heads=HEADS,
        head=dense(WIDTH, WIDTH),
        head_activation=request.param,
        output=dense(WIDTH, LABELS),
    )


def apply(dense: Dense, value: np.ndarray) -> np.ndarray:
    return value @ dense.kernel + dense.bias


def normalise(norm: Norm, value: np.ndarray) -> np.ndarray:
    centred = value - value.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12) * norm.scale + norm.shift


def split_heads(value: np.ndarray) -> np.ndarray:
    return value.reshape(len(value), HEADS, WIDTH // HEADS).transpose(1, 0, 2)


def expected_logits(weights: TransformerWeights, ids: list[int]) -> np.ndarray:
    state = normalise(weights.norm, weights.words[ids] + weights.positions[: len(ids)])
    for layer in weights.layers:
        query, key, value = (split_heads(apply(part, state)) for part in (layer.query, layer.key, layer.value))
        shares = softmax(query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH // HEADS), axis=-1)
        attended = (shares @ value).transpose(1, 0, 2).reshape(len(ids), WIDTH)
        state = normalise(layer.attended_norm, state + apply(layer.attended, attended))
        inner = apply(layer.inner, state)
        gelu = inner * (1 + erf(inner / np.sqrt(2))) / 2
        state = normalise(layer.outer_norm, state + apply(layer.outer, gelu))
    hidden = apply(weights.head, state[0])
    return apply(weights.output, np.maximum(hidden, 0) if weights.head_activation == "Relu" else np.tanh(hidden))


def some_texts() -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(1, WORDS, length).tolist() for length in (2, 5, 16, 9, 2, 5)]


def test_the_graph_computes_the_encoder_whatever_is_in_the_batch(weights: TransformerWeights, tmp_path: Path) -> None:
    write_transformer(weights, tmp_path / "model.onnx")
    logits = Session(tmp_path / "model.onnx", placement=Placement(threads=1)).logits(some_texts())
    np.testing.assert_allclose(logits, [expected_logits(weights, ids) for ids in some_texts()], atol=1e-4)


def test_int8_weights_are_smaller_and_nearly_the_same(weights: TransformerWeights, tmp_path: Path) -> None:
    write_transformer(weights, tmp_path / "fp32.onnx")
    write_quantised(weights, tmp_path / "int8.onnx")
    exact, rough = (
        Session(tmp_path / f"{name}.onnx", placement=Placement(threads=1)).logits(some_texts())
        for name in ("fp32", "int8")
    )
    assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
