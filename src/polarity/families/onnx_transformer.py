"""A BERT-like classifier as an ONNX graph, built directly from its weights.

The operators are those that ONNX Runtime's transformer optimiser would produce
(`com.microsoft`: EmbedLayerNormalization, Attention, SkipLayerNormalization,
BiasGelu); each is a single kernel on a CPU and on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import FloatArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET = 17


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
        Embeddings of the positions of the tokens, from the first on, with the first token type's vector added where
        the layout has token types.
    norm : Norm
        Normalisation of the summed embeddings.
    layers : sequence of Layer
        Layers from the input to the output.
    heads : int
        Number of attention heads per layer.
    head : Dense
        First layer of the classification head, which reads the first token's state.
    head_activation : {'Relu', 'Tanh'}
        Activation after `head`: Relu for DistilBERT, Tanh for BERT and RoBERTa.
    output : Dense
        Output layer, which computes the logits.
    epsilon : float
        Added to the variance by every layer normalisation.
    """

    words: FloatArray
    positions: FloatArray
    norm: Norm
    layers: Sequence[Layer]
    heads: int
    head: Dense
    head_activation: Literal["Relu", "Tanh"]
    output: Dense
    epsilon: float = 1e-12


def write_transformer(weights: TransformerWeights, path: Path) -> None:
    """Write a graph from `ids` (batch, tokens) and `lengths` (batch,), both int32, to `logits` (batch, n_labels)."""
    from onnx import save

    save(_Writer(weights.epsilon).model(weights, embed=_Writer.embed), path)


def write_quantised(weights: TransformerWeights, path: Path) -> None:
    """Write the same graph with int8 weights, with one scale per kernel column and per embedding row.

    ONNX Runtime quantises activations dynamically, with one scale per tensor, so
    a probability may depend slightly on the rest of its batch.
    """
    from onnx import TensorProto, save
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        save(_Writer(weights.epsilon).model(weights, embed=_Writer.embed_quantised), draft)
        quantize_dynamic(
            draft,
            path,
            op_types_to_quantize=["MatMul", "Attention"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},  # no shape inference after com.microsoft operators
        )


class _Writer:
    """Collects the nodes and constants of one graph."""

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}

    def model(self, weights: TransformerWeights, *, embed: Callable[[_Writer, TransformerWeights], str]) -> ModelProto:
        from onnx import TensorProto, helper, numpy_helper

        state = embed(self, weights)
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

    def embed(self, weights: TransformerWeights) -> str:
        words, positions = self._constant("words", weights.words), self._constant("positions", weights.positions)
        norm = self._norm("embeddings", weights.norm)
        return self._node(
            "EmbedLayerNormalization", ["ids", "", words, positions, "", *norm], n_outputs=2, epsilon=self._epsilon
        )

    def embed_quantised(self, weights: TransformerWeights) -> str:
        scales = np.abs(weights.words).max(axis=1, keepdims=True) / 127
        rows = np.round(weights.words / np.where(scales, scales, 1)).astype(np.int8)
        gathered = self._node("Gather", [self._constant("words", rows), "ids"], domain="")
        numbers = self._node("Cast", [gathered], domain="", to=1)
        scale = self._node("Gather", [self._constant("scales", scales.astype(np.float32)), "ids"], domain="")
        words = self._node("Mul", [numbers, scale], domain="")
        # as many positions as there are tokens
        shape = self._node("Shape", ["ids"], domain="", start=1, end=2)
        start, axes = self._constant("start", np.array([0])), self._constant("axes", np.array([0]))
        positions = self._node("Slice", [self._constant("positions", weights.positions), start, shape, axes], domain="")
        summed = self._node("Add", [words, positions], domain="")
        return self._node(
            "LayerNormalization", [summed, *self._norm("embeddings", weights.norm)], domain="", epsilon=self._epsilon
        )

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
            # only the first token is needed from here on, which saves a tenth of the total work
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
            epsilon=self._epsilon,
        )

    def _norm(self, name: str, norm: Norm) -> list[str]:
        return [self._constant(f"{name}.scale", norm.scale), self._constant(f"{name}.shift", norm.shift)]

    def _matmul(self, value: str, name: str, dense: Dense) -> str:
        return self._node("MatMul", [value, self._constant(f"{name}.kernel", dense.kernel)], domain="")

    def _gemm(self, value: str, name: str, dense: Dense, result: str | None = None) -> str:
        constants = [self._constant(f"{name}.kernel", dense.kernel), self._constant(f"{name}.bias", dense.bias)]
        return self._node("Gemm", [value, *constants], domain="", result=result)

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
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
