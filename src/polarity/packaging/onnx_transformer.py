"""A BERT-like classifier as an ONNX graph, written straight from its weights.

The operators are those that ONNX Runtime's own transformer optimiser would
arrive at (`com.microsoft`: EmbedLayerNormalization, Attention,
SkipLayerNormalization, BiasGelu); on a CPU and on CUDA each is one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polarity.data.tweets import FloatArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET = 17
EPSILON = 1e-12


@dataclass(frozen=True)
class Dense:
    """A kernel of shape (n_in, n_out) and a bias of shape (n_out,)."""

    kernel: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class Norm:
    """Scale and shift of a layer normalisation, each of shape (width,)."""

    scale: FloatArray
    shift: FloatArray


@dataclass(frozen=True)
class Layer:
    """One layer of the encoder."""

    query: Dense
    key: Dense
    value: Dense
    attended: Dense
    attended_norm: Norm
    inner: Dense
    outer: Dense
    outer_norm: Norm


@dataclass(frozen=True)
class TransformerWeights:
    """An encoder and its classification head.

    Parameters
    ----------
    words : array of shape (vocabulary, width)
        Word embeddings.
    positions : array of shape (positions, width)
        Position embeddings, with the first token type's vector added where the layout has token types.
    norm : Norm
        Of their sum.
    layers : sequence of Layer
        From the input to the output.
    heads : int
        Attention heads of each layer.
    head : Dense
        Reads the first token's state.
    head_activation : {'Relu', 'Tanh'}
        After `head`: DistilBERT has the first, BERT the second.
    output : Dense
        To the logits.
    """

    words: FloatArray
    positions: FloatArray
    norm: Norm
    layers: Sequence[Layer]
    heads: int
    head: Dense
    head_activation: Literal["Relu", "Tanh"]
    output: Dense


def write_transformer(weights: TransformerWeights, path: Path) -> None:
    """Write a graph from `ids` (batch, tokens) and `lengths` (batch,), both int32, to `logits` (batch, n_labels)."""
    from onnx import save

    save(_Writer().model(weights), path)


class _Writer:
    """Collects the nodes and constants of one graph."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, FloatArray] = {}

    def model(self, weights: TransformerWeights) -> ModelProto:
        from onnx import TensorProto, helper, numpy_helper

        embedded = self._node(
            "EmbedLayerNormalization",
            [
                "ids",
                "",
                self._constant("words", weights.words),
                self._constant("positions", weights.positions),
                "",
                *self._norm("embeddings", weights.norm),
            ],
            n_outputs=2,
            epsilon=EPSILON,
        )
        state = embedded
        for number, layer in enumerate(weights.layers):
            state = self._layer(state, layer, f"layer{number}", weights.heads, last=number == len(weights.layers) - 1)
        hidden = self._node(weights.head_activation, [self._gemm(state, "head", weights.head)], domain="")
        self._gemm(hidden, "output", weights.output, result="logits")
        graph = helper.make_graph(
            self._nodes,
            "transformer",
            inputs=[
                helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "tokens"]),
                helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
            ],
            outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(weights.output.bias)])],
            initializer=[
                numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in self._constants.items()
            ],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _layer(self, state: str, layer: Layer, name: str, heads: int, *, last: bool) -> str:
        three = (layer.query, layer.key, layer.value)
        attended = self._node(
            "Attention",
            [
                state,
                self._constant(f"{name}.qkv.kernel", np.concatenate([dense.kernel for dense in three], axis=1)),
                self._constant(f"{name}.qkv.bias", np.concatenate([dense.bias for dense in three])),
                "lengths",
            ],
            num_heads=heads,
        )
        if last:
            # only the first token is read from here on: a tenth of the whole work is saved
            first = self._constant("first", np.array(0, np.int64))
            attended = self._node("Gather", [attended, first], domain="", axis=1)
            state = self._node("Gather", [state, first], domain="", axis=1)
        state = self._add_norm(
            self._matmul(attended, f"{name}.attended", layer.attended),
            state,
            f"{name}.attended",
            layer.attended,
            layer.attended_norm,
        )
        inner = self._node(
            "BiasGelu",
            [self._matmul(state, f"{name}.inner", layer.inner), self._constant(f"{name}.inner.bias", layer.inner.bias)],
        )
        return self._add_norm(
            self._matmul(inner, f"{name}.outer", layer.outer), state, f"{name}.outer", layer.outer, layer.outer_norm
        )

    def _add_norm(self, value: str, skip: str, name: str, dense: Dense, norm: Norm) -> str:
        return self._node(
            "SkipLayerNormalization",
            [value, skip, *self._norm(name, norm), self._constant(f"{name}.bias", dense.bias)],
            epsilon=EPSILON,
        )

    def _norm(self, name: str, norm: Norm) -> list[str]:
        return [self._constant(f"{name}.scale", norm.scale), self._constant(f"{name}.shift", norm.shift)]

    def _matmul(self, value: str, name: str, dense: Dense) -> str:
        return self._node("MatMul", [value, self._constant(f"{name}.kernel", dense.kernel)], domain="")

    def _gemm(self, value: str, name: str, dense: Dense, result: str | None = None) -> str:
        constants = [self._constant(f"{name}.kernel", dense.kernel), self._constant(f"{name}.bias", dense.bias)]
        return self._node("Gemm", [value, *constants], domain="", result=result)

    def _constant(self, name: str, value: FloatArray) -> str:
        self._constants[name] = value
        return name

    def _node(
        self,
        operator: str,
        inputs: list[str],
        *,
        domain: str = "com.microsoft",
        n_outputs: int = 1,
        result: str | None = None,
        **attributes: Any,
    ) -> str:
        from onnx import helper

        names = [result or f"value{len(self._nodes)}.{output}" for output in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names[0]
