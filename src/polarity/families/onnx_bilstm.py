"""The BiLSTM as an ONNX graph, built directly from its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import FloatArray

OPSET = 17


@dataclass(frozen=True)
class BilstmWeights:
    """Weights in Keras order.

    Parameters
    ----------
    words : array of shape (n_words, size)
        Row 0 is padding.
    forward, backward : sequences of three arrays
        Kernel (size, 4 * units), recurrent kernel (units, 4 * units) and bias
        (4 * units,), with the gates in the order input, forget, cell, output.
    output_kernel, output_bias : arrays of shape (4 * units, n_labels) and (n_labels,)
        Weights of the output layer, which reads the max-pooled, then the mean-pooled states.
    """

    words: FloatArray
    forward: Sequence[FloatArray]
    backward: Sequence[FloatArray]
    output_kernel: FloatArray
    output_bias: FloatArray


def write_bilstm(weights: BilstmWeights, path: Path) -> None:
    """Write a graph from `ids` (batch, tokens) and `lengths` (batch,), both int32, to `logits` (batch, n_labels).

    The ONNX LSTM operator reads only the first `lengths` tokens of each text, in both
    directions, and outputs zeros after them.
    """
    from onnx import TensorProto, checker, helper, numpy_helper, save

    units = weights.forward[1].shape[0]
    directions = (weights.forward, weights.backward)
    constants = {
        "words": weights.words,
        "W": np.stack([_gates(kernel).T for kernel, _, _ in directions]),
        "R": np.stack([_gates(recurrent).T for _, recurrent, _ in directions]),
        # ONNX adds a second bias after the recurrent product; Keras has one
        "B": np.stack([np.concatenate([_gates(bias), 0 * bias]) for _, _, bias in directions]),
        "output_kernel": weights.output_kernel,
        "output_bias": weights.output_bias,
        "padding": np.array(0, np.int32),
        "lowest": np.array(np.finfo(np.float32).min, np.float32),
        "last_axis": np.array([2], np.int64),
        "token_axis": np.array([1], np.int64),
        "joined": np.array([0, 0, 2 * units], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "ids"], ["vectors"]),
        node("Transpose", ["vectors"], ["by_token"], perm=[1, 0, 2]),
        node(
            "LSTM",
            ["by_token", "W", "R", "B", "lengths"],
            ["by_direction"],
            hidden_size=units,
            direction="bidirectional",
        ),
        node("Transpose", ["by_direction"], ["by_text"], perm=[2, 0, 1, 3]),
        node("Reshape", ["by_text", "joined"], ["states"]),
        node("Equal", ["ids", "padding"], ["outside"]),
        node("Unsqueeze", ["outside", "last_axis"], ["outside_states"]),
        node("Where", ["outside_states", "lowest", "states"], ["inside"]),
        node("ReduceMax", ["inside"], ["peak"], axes=[1], keepdims=0),
        node("ReduceSum", ["states", "token_axis"], ["total"], keepdims=0),
        node("Cast", ["lengths"], ["counts"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["counts", "token_axis"], ["divisor"]),
        node("Div", ["total", "divisor"], ["mean"]),
        node("Concat", ["peak", "mean"], ["pooled"], axis=1),
        node("Gemm", ["pooled", "output_kernel", "output_bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bilstm",
        inputs=[
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "tokens"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
        ],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(weights.output_bias)])],
        initializer=[numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    save(model, path)


def _gates(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Reorder the gates from Keras (input, forget, cell, output) to ONNX (input, output, forget, cell)."""
    gate_input, forget, cell, output = np.split(array, 4, axis=-1)
    return np.concatenate([gate_input, output, forget, cell], axis=-1)
