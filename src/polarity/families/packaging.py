"""The packaged model of a fitted classifier: written and held against the classifier, and read back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polarity.errors import ArtifactError
from polarity.families.parity import require_parity
from polarity.families.protocol import Family, PackagedModel
from polarity.families.registry import family_named
from polarity.inference.package import HALF_GRAPH, ModelManifest, Precision
from polarity.inference.placement import Placement
from polarity.inference.predictor import Predictor
from polarity.inference.scorers import graph_of
from polarity.text.tweets import FloatArray, Tweets


def load_predictor(folder: Path, threads: int | None = None, *, placement: Placement | None = None) -> Predictor:
    """Read a packaged model, whatever its family.

    Parameters
    ----------
    folder : Path
        What `FittedClassifier.export` wrote.
    threads : int or None
        Threads inside one call of a neural model. Default: the cores that this process may use.
    placement : Placement, optional
        What the model runs on. Default: the CPU, with `threads`.

    Raises
    ------
    ArtifactError
        If the package is incomplete, altered, of another format, or of a family that is not installed.
    ServiceUnavailable
        If the placement is on a GPU, and there is none.
    """
    manifest = ModelManifest.read(folder)
    try:
        family = family_named(manifest.family)
    except ArtifactError as error:
        raise ArtifactError(f"'{folder}' holds a model of family '{manifest.family}'. {error}") from error
    return _predictor(family, folder, manifest, placement or Placement(threads=threads))


def describe_package(
    family: Family[Any],
    folder: Path,
    files: Iterable[str],
    *,
    name: str,
    labels: tuple[str, ...],
    precision: Precision = "fp32",
    temperature: float = 1.0,
    max_tokens: int | None = None,
) -> tuple[ModelManifest, Predictor]:
    """Write the manifest of the files in `folder`, and load what that makes.

    Parameters
    ----------
    family : Family
        Whose scorer reads the files.
    files : iterable of str
        Names of all that belongs to the package.
    name : str
        The model's.
    labels : tuple of str
        In the order of the logits.
    precision, temperature, max_tokens
        As in `ModelManifest`.
    """
    manifest = ModelManifest.describe(
        folder,
        files,
        family=family.name,
        name=name,
        labels=labels,
        precision=precision,
        temperature=temperature,
        max_tokens=max_tokens,
        card={},
    )
    manifest.write(folder)
    return manifest, _predictor(family, folder, manifest, Placement())


def write_package(
    family: Family[Any],
    folder: Path,
    files: Iterable[str],
    *,
    name: str,
    temperature: float,
    validation: Tweets,
    trained: FloatArray,
    max_tokens: int | None = None,
) -> PackagedModel:
    """Complete a package in full precision around the files in `folder`, and hold it against the trained model.

    Parameters
    ----------
    family, folder, files, name, temperature, max_tokens
        As `describe_package` takes them.
    validation : Tweets
        To compare on.
    trained : float array of shape (n, n_labels)
        Probabilities of the trained model for `validation`.

    Raises
    ------
    ArtifactError
        If the package does not answer as the trained model does.
    """
    manifest, predictor = describe_package(
        family,
        folder,
        files,
        name=name,
        labels=validation.label_names,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    parity = require_parity(trained, predictor(validation.texts), what=f"'{name}' as packaged in '{folder}'")
    manifest.with_card({"parity": parity}).write(folder)
    return PackagedModel(folder, manifest.size_bytes, manifest.precision)


def _predictor(family: Family[Any], folder: Path, manifest: ModelManifest, placement: Placement) -> Predictor:
    precision = "fp16" if graph_of(manifest, placement) == HALF_GRAPH else manifest.precision
    return Predictor(manifest, family.scorer(folder, manifest, placement), precision=precision)
