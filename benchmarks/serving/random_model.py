"""A packaged DistilBERT with the size of distilbert-base-uncased and random weights, timed without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from polarity.families.encoders import resolve_encoder
from polarity.families.onnx_transformer import Dense, Layer, Norm, TransformerWeights, write_quantised
from polarity.inference.package import ModelManifest
from polarity.inference.scorers import GRAPH
from polarity.text.tweets import FloatArray

# from config.json of distilbert-base-uncased, which shares its vocabulary with minilm
WORDS, POSITIONS, WIDTH, INNER, LAYERS, HEADS = 30_522, 512, 768, 3072, 6, 12
MAX_TOKENS = 64


def write_random_distilbert(folder: Path, labels: tuple[str, ...] = ("negative", "positive")) -> Path:
    """Write the package to `folder`, with int8 weights, and return the folder."""
    random = np.random.default_rng(5)

    def weights(*shape: int) -> FloatArray:
        return random.normal(0, 0.02, shape).astype(np.float32)

    def dense(n_in: int, n_out: int) -> Dense:
        return Dense(weights(n_in, n_out), weights(n_out))

    def norm() -> Norm:
        return Norm(1 + weights(WIDTH), weights(WIDTH))

    def layer() -> Layer:
        query, key, value, attended = (dense(WIDTH, WIDTH) for _ in range(4))
        return Layer(query, key, value, attended, norm(), dense(WIDTH, INNER), dense(INNER, WIDTH), norm())

    folder.mkdir(parents=True, exist_ok=True)
    network = TransformerWeights(
        words=weights(WORDS, WIDTH),
        positions=weights(POSITIONS, WIDTH),
        norm=norm(),
        layers=[layer() for _ in range(LAYERS)],
        heads=HEADS,
        head=dense(WIDTH, WIDTH),
        head_activation="Relu",
        output=dense(WIDTH, len(labels)),
    )
    write_quantised(network, folder / GRAPH)
    tokenizer = resolve_encoder("minilm", "distilbert").tokenizer(max_tokens=MAX_TOKENS)
    ModelManifest.describe(
        folder,
        (GRAPH, *tokenizer.write(folder)),
        family="distilbert",
        name="distilbert-base-random",
        labels=labels,
        precision="int8",
        temperature=1.0,
        max_tokens=MAX_TOKENS,
        card={},
    ).write(folder)
    return folder
