"""Packaged models: written from a fitted classifier, verified against it, and loaded again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polarity.errors import ArtifactError, PolarityError
from polarity.families.parity import require_parity
from polarity.families.protocol import Family, PackagedModel
from polarity.families.registry import family_named
from polarity.inference.package import HALF_GRAPH, MANIFEST, ModelManifest, Precision
from polarity.inference.placement import Placement
from polarity.inference.predictor import Predictor
from polarity.inference.scorers import graph_of
from polarity.text.tweets import FloatArray, Tweets


def load_predictor(folder: Path, threads: int | None = None, *, placement: Placement | None = None) -> Predictor:
    """Load a packaged model of any family.

    Parameters
    ----------
    folder : Path
        A package written by `FittedClassifier.export`.
    threads : int or None
        Threads for one call of a neural model. Default: the cores available to this process.
    placement : Placement, optional
        Device that the model runs on. Default: the CPU, with `threads`.

    Raises
    ------
    ArtifactError
        If the package is incomplete, altered, in an unknown format, or of a family that is not installed, or if its
        scorer reads a file without a digest.
    ServiceUnavailable
        If the placement requires a GPU and there is none.
    """
    manifest = ModelManifest.read(folder)
    try:
        family = family_named(manifest.family)
    except ArtifactError as error:
        raise ArtifactError(f"'{folder}' contains a model of family '{manifest.family}'. {error}") from error
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
    """Write the manifest of the files in `folder`, and load the resulting package.

    Parameters
    ----------
    family : Family
        The family whose scorer reads the files.
    files : iterable of str
        Names of all files of the package.
    name : str
        Name of the model.
    labels : tuple of str
        Labels in the order of the logits.
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
    """Complete a package in full precision from the files in `folder`, and verify it against the trained model.

    Parameters
    ----------
    family, folder, files, name, temperature, max_tokens
        As in `describe_package`.
    validation : Tweets
        Tweets for the comparison.
    trained : float array of shape (n, n_labels)
        Probabilities predicted by the trained model for `validation`.

    Raises
    ------
    ArtifactError
        If the package's predictions differ from the trained model's.
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
    # The scorer sees the files that have a digest, and no others: neither does a graph that names further files.
    with TemporaryDirectory(prefix="polarity-package-") as listed:
        try:
            for name in manifest.files:
                link = Path(listed, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((folder / name).resolve())
            scorer = family.scorer(Path(listed), manifest, placement)
        except (PolarityError, ModuleNotFoundError):  # a library is missing, not a file
            raise
        except Exception as error:
            names = ", ".join(manifest.files) or "none"
            reason = f"{type(error).__name__}: {error}".replace(listed, str(folder))
            raise ArtifactError(
                f"'{folder}' cannot be loaded from the files that {MANIFEST} lists ({names}): {reason}. "
                "Package the model again."
            ) from error
    return Predictor(manifest, scorer, precision=precision)
