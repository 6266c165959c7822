"""Fit one model and package it for serving. Runs in a separate process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from polarity.families.checkpoints import Checkpoints
from polarity.families.mixture import mixture, read_origins
from polarity.families.progress import Progress
from polarity.families.protocol import History, Resumable
from polarity.families.registry import family_named
from polarity.families.sampling import stratified_rows
from polarity.inference.package import KNOWN_WORDS, ModelManifest
from polarity.text.tweets import Tweets
from polarity.text.words import KnownWords

PACKAGED = "packaged"
FIT_FILE = "fit.json"
TRAINING_ROWS = "training_rows.npy"
"""The rows of the training split's file that the model was fitted on: int64, ascending."""


def fit_model(job: dict[str, Any], progress: Progress) -> None:
    """Fit and export a model, and write a record of the fit and the rows that it used.

    The subsample of `train_rows` is drawn here, for every family, so that the rows are known whatever the family does.

    Parameters
    ----------
    job : dict
        `name` and `family` of the model, `section` (its options), `seed`, `labels`, `train` and `validation` (Parquet
        files), `folder`; optionally `checkpoints`: their folder, `every_s`, and `newest`, the one to continue from;
        with recent tweets `mixture` (arguments of `polarity.families.mixture.mixture`).
    progress : callable
        Called with the progress of the fit.
    """
    name, folder = job["name"], Path(job["folder"])
    family = family_named(job["family"])
    section = family.section.model_validate(job["section"])
    classifier = family.classifier(section, name=name, seed=job["seed"])
    if isinstance(classifier, Resumable) and (given := job.get("checkpoints")):
        newest = Path(given["newest"]) if given["newest"] else None
        classifier.checkpoints = Checkpoints(Path(given["folder"]), every_s=given["every_s"], newest=newest)
    train = Tweets.read(Path(job["train"]), job["labels"])
    origins = read_origins(Path(job["train"]))
    mixed = mixture(origins, seed=job["seed"], **job["mixture"]) if origins is not None and job.get("mixture") else None
    if mixed is None:
        rows = stratified_rows(train, section.train_rows, seed=job["seed"])
        train = train.take(rows)
    else:
        rows = mixed.rows[stratified_rows(train.take(mixed.rows), section.train_rows, seed=job["seed"])]
        train = train.take(np.repeat(rows, mixed.times[rows]))
    validation = Tweets.read(Path(job["validation"]), job["labels"])

    def report(fraction: float, message: str, **metrics: float) -> None:
        progress(0.95 * fraction, message, **metrics)

    started = perf_counter()
    fitted = classifier.fit(train, validation, report)
    seconds = perf_counter() - started
    progress(0.95, "packaging")
    packaged = fitted.export(folder / PACKAGED)
    KnownWords.of(train.texts).write(packaged.folder / KNOWN_WORDS)
    manifest = ModelManifest.read(packaged.folder, check=False).with_files(packaged.folder, KNOWN_WORDS)
    manifest.write(packaged.folder)
    np.save(folder / TRAINING_ROWS, rows)
    record = {
        "name": name,
        "family": family.name,
        "train_seconds": seconds,
        "train_rows": len(rows),
        "size_bytes": manifest.size_bytes,
        "precision": packaged.precision,
        "history": asdict(fitted.history),
    }
    (folder / FIT_FILE).write_text(json.dumps(record, indent=1) + "\n")
    progress(1.0, f"packaged, {manifest.size_bytes / 1e6:.1f} MB in {packaged.precision}")


def read_history(fit: dict[str, Any]) -> History:
    """The learning curve in the record of a fit."""
    return History(tuple(fit["history"]["epochs"]), fit["history"]["notes"])
