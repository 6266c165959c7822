"""Half precision for GPUs: a second graph in the package, kept only if its predictions match the first one's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.families.parity import MAX_ACCURACY_LOSS
from polarity.families.registry import family_named
from polarity.inference.package import HALF_GRAPH, ModelManifest
from polarity.inference.scorers import GRAPH


def add_half_precision(packaged: Path, folder: Path, texts: Sequence[str]) -> ModelManifest:
    """Copy a package and add its graph in half precision, if that predicts the same label for enough texts.

    A text with the same predicted label contributes equally to both accuracies,
    so the share of the other texts bounds the loss of accuracy.

    Parameters
    ----------
    packaged : Path
        A neural model in full precision.
    folder : Path
        Destination of the copy; must not exist.
    texts : sequence of str
        Tweets for the comparison.

    Returns
    -------
    ModelManifest
        Manifest of the copy; `card["half"]` describes the comparison, and `files` lists the second graph if kept.

    Raises
    ------
    ArtifactError
        If the package is not a neural model in full precision, or there are no texts.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    manifest = ModelManifest.read(packaged)
    if not family_named(manifest.family).traits.gpu or manifest.precision != "fp32" or not texts:
        raise ArtifactError(
            f"Got '{manifest.name}' of family '{manifest.family}' in {manifest.precision}, and {len(texts)} texts; "
            "this needs a neural model packaged in fp32 (quantise: false) and at least one text."
        )
    shutil.copytree(packaged, folder)
    full = load_predictor(packaged)(texts)
    half = convert_float_to_float16(onnx.load(packaged / GRAPH), keep_io_types=True)
    # The CPU runs the same graph with the same rounding, only slower.
    onnx.save(half, folder / GRAPH)
    manifest.with_files(folder, GRAPH).write(folder)
    rounded = load_predictor(folder)(texts)
    (folder / GRAPH).rename(folder / HALF_GRAPH)
    shutil.copy2(packaged / GRAPH, folder / GRAPH)
    disagree = float((full.argmax(axis=1) != rounded.argmax(axis=1)).mean())
    kept = disagree <= MAX_ACCURACY_LOSS
    if not kept:
        (folder / HALF_GRAPH).unlink()
    figures = {
        "kept": kept,
        "label_disagreement": disagree,
        "max_difference": float(np.abs(full - rounded).max()),
        "rows": len(texts),
    }
    found = (manifest.with_files(folder, HALF_GRAPH) if kept else manifest).with_card({"half": figures})
    found.write(folder)
    return found
