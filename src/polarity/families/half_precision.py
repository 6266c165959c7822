"""Half precision for GPUs: a second graph in the package, kept only where it answers as the first does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.families.parity import MAX_ACCURACY_LOSS
from polarity.families.registry import family_named
from polarity.inference.package import HALF_GRAPH, ModelManifest
from polarity.inference.scorers import GRAPH


def with_half(packaged: Path, folder: Path, texts: Sequence[str]) -> ModelManifest:
    """Copy a package, with its graph in half precision beside it if that agrees on the label of enough texts.

    A text on whose label both agree counts the same for the accuracy of both,
    so the share of the others bounds the loss of accuracy, whatever the truth.

    Parameters
    ----------
    packaged : Path
        A neural model in full precision.
    folder : Path
        Where the copy goes; must not exist.
    texts : sequence of str
        Tweets to compare on.

    Returns
    -------
    ModelManifest
        Of the copy; `card["half"]` says how the two compare, and `files` whether the second is there.

    Raises
    ------
    ArtifactError
        If the package is not in full precision, or there is no text.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    manifest = ModelManifest.read(packaged)
    if not family_named(manifest.family).traits.gpu or manifest.precision != "fp32" or not texts:
        raise ArtifactError(
            f"Got '{manifest.name}' of family '{manifest.family}' in {manifest.precision}, and {len(texts)} texts; "
            "it takes a neural model packaged in fp32 (quantise: false), and some texts."
        )
    shutil.copytree(packaged, folder)
    full = load_predictor(packaged)(texts)
    half = convert_float_to_float16(onnx.load(packaged / GRAPH), keep_io_types=True)
    # The CPU computes the same graph with its numbers rounded alike, only slowly.
    onnx.save(half, folder / GRAPH)
    trial = _described(manifest, folder, (GRAPH, *(name for name in manifest.files if name != GRAPH)))
    trial.write(folder)
    rounded = load_predictor(folder)(texts)
    (folder / GRAPH).rename(folder / HALF_GRAPH)
    shutil.copy2(packaged / GRAPH, folder / GRAPH)
    disagree = float((full.argmax(axis=1) != rounded.argmax(axis=1)).mean())
    kept = disagree <= MAX_ACCURACY_LOSS
    if not kept:
        (folder / HALF_GRAPH).unlink()
    names = (*manifest.files, HALF_GRAPH) if kept else tuple(manifest.files)
    figures = {
        "kept": kept,
        "label_disagreement": disagree,
        "max_difference": float(np.abs(full - rounded).max()),
        "rows": len(texts),
    }
    found = _described(manifest, folder, names).with_card({"half": figures})
    found.write(folder)
    return found


def _described(manifest: ModelManifest, folder: Path, files: Sequence[str]) -> ModelManifest:
    described = ModelManifest.describe(
        folder,
        files,
        family=manifest.family,
        name=manifest.name,
        labels=manifest.labels,
        precision=manifest.precision,
        temperature=manifest.temperature,
        max_tokens=manifest.max_tokens,
        card=manifest.card,
    )
    return msgspec.structs.replace(manifest, files=described.files)
