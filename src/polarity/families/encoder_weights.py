"""The weights of a pretrained encoder, read from a file of PyTorch or TensorFlow under PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from polarity.families.layouts import BERT, DISTILBERT, LAYOUTS, EncoderShape, Layout, pytorch_name

Weights = dict[str, npt.NDArray[np.float32]]

SAFETENSORS, HDF5 = "model.safetensors", "tf_model.h5"
WEIGHT_FILES = (SAFETENSORS, HDF5)
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
_PARTS = ("embeddings.", "encoder.", "transformer.", "pooler.")


def read_weights(path: Path) -> Weights:
    """The encoder's weights by their PyTorch names, without a prefix; those of other heads are left out."""
    with _opened(path) as tensors:
        return {name: read().astype(np.float32) for name, (_, read) in tensors.items() if name.startswith(_PARTS)}


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights in a file, by their PyTorch names, without reading them.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with _opened(path) as tensors:
        return {name: shape for name, (shape, _) in tensors.items()}


def expected_shapes(shape: EncoderShape, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights that an encoder must have, by their PyTorch names."""
    width, inner = shape.width, shape.inner_width
    expected: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.vocabulary, width),
        POSITIONS: (shape.positions, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    if layout is not DISTILBERT:
        expected[TOKEN_TYPES] = (shape.token_types, width)
    for layer in range(shape.layers):
        for field, part in layout.parts.items():
            rows, columns = {"inner": (inner, width), "outer": (width, inner)}.get(field, (width, width))
            prefix = layout.layer.format(layer) + part
            expected[f"{prefix}.weight"] = (width,) if field.endswith("_norm") else (rows, columns)
            expected[f"{prefix}.bias"] = (rows,)
    return expected


def as_distilbert(weights: Mapping[str, npt.NDArray[np.float32]]) -> Weights:
    """Convert BERT weights to DistilBERT's layout: Sanh et al., "DistilBERT", 2019, section 3.

    DistilBERT has no token types and no pooler: the first type is added to every position.
    """
    renamed = {
        _distilbert_name(name): weight
        for name, weight in weights.items()
        if name != TOKEN_TYPES and not name.startswith("pooler.") and "position_ids" not in name
    }
    renamed[POSITIONS] = weights[POSITIONS] + weights[TOKEN_TYPES][0]
    return renamed


def _distilbert_name(name: str) -> str:
    if not name.startswith("encoder.layer."):
        return name
    number, _, part = name.removeprefix("encoder.layer.").partition(".")
    part, _, leaf = part.rpartition(".")
    field = next(field for field, bert in BERT.parts.items() if bert == part)
    return f"{DISTILBERT.layer.format(number)}{DISTILBERT.parts[field]}.{leaf}"


_Tensors = dict[str, tuple[tuple[int, ...], Callable[[], npt.NDArray[Any]]]]


@contextmanager
def _opened(path: Path) -> Iterator[_Tensors]:
    """Shape and reader of each tensor in a file that stays open within the context."""
    if path.name == HDF5:
        import h5py

        with h5py.File(path) as file:
            yield _plain(_datasets(file))
        return
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            yield _plain(
                {name: (tuple(file.get_slice(name).get_shape()), partial(file.get_tensor, name)) for name in names}
            )
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _datasets(file: Any) -> _Tensors:
    found: _Tensors = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found[name] = (tuple(item.shape), lambda: np.asarray(item))

    file.visititems(visit)
    return found


def _plain(tensors: _Tensors) -> _Tensors:
    """Name tensors as PyTorch does, without the model's prefix and with TensorFlow 1's terms replaced."""
    plain: _Tensors = {}
    for name, (shape, read) in tensors.items():
        if "/" in name:
            translated, transposed = pytorch_name(name)
        else:
            translated, transposed = name, False
        for layout in LAYOUTS.values():
            translated = translated.removeprefix(f"{layout.prefix}.")
        translated = translated.replace(".gamma", ".weight").replace(".beta", ".bias")
        plain[translated] = (shape[::-1], _transposed(read)) if transposed else (shape, read)
    return plain


def _transposed(read: Callable[[], npt.NDArray[Any]]) -> Callable[[], npt.NDArray[Any]]:
    return lambda: read().T
