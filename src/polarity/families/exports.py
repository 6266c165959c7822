"""Forms other than the package in which a family's models can be taken elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from polarity.inference.package import ModelManifest

UNQUANTISED = "unquantised"
"""Folder beside a package with int8 weights that has its graph in full precision."""
CARD = "README.md"

Exports = Mapping[str, str]
"""The attribute `exports` of a family: format -> `module:function`, an `Exporter`. Imported only for an export."""


@dataclass(frozen=True)
class ExportSource:
    """A model to be written in another form.

    Attributes
    ----------
    packaged : Path
        Folder of the package.
    manifest : ModelManifest
        Its manifest.
    graph : Path or None
        The ONNX graph in full precision, if the model has one and it is known.
    """

    packaged: Path
    manifest: ModelManifest
    graph: Path | None


Exporter = Callable[[ExportSource, Path], None]
"""Writes a model into an empty folder."""


def formats_of(family: object) -> tuple[str, ...]:
    """The formats that a family declares, in order."""
    return tuple(_declared(family))


def exporter(family: object, format: str) -> Exporter:
    """The function that writes a family's models in a format that it declares."""
    module, _, name = _declared(family)[format].partition(":")
    found: Exporter = getattr(import_module(module), name)
    return found


def _declared(family: object) -> Exports:
    declared: Exports = getattr(family, "exports", {})
    return declared


def model_card(manifest: ModelManifest, usage: str, *, header: Mapping[str, Any] | None = None) -> str:
    """A model card in Markdown: what the model is, how to use it, and the figures of its own card.

    Parameters
    ----------
    usage : str
        Markdown text on the use of the exported files.
    header : mapping, optional
        Metadata, written as YAML front matter.
    """
    front = "".join(f"{key}: {json.dumps(value)}\n" for key, value in (header or {}).items())
    facts = {
        "labels": ", ".join(manifest.labels),
        "packaged": manifest.created,
        "precision as served": manifest.precision,
        "data digest": manifest.data_digest,
        "git commit": manifest.git_commit,
        **dict(_leaves(manifest.card)),
    }
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items() if value is not None)
    return (
        (f"---\n{front}---\n\n" if front else "")
        + f"# {manifest.name}\n\nTells the sentiment of a tweet: {', '.join(manifest.labels)}. Trained by Polarity.\n\n"
        + f"## Use\n\n{usage.strip()}\n\n## Facts\n\n| | |\n|---|---|\n{rows}"
    )


def _leaves(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in card.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif not isinstance(value, list | tuple):
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else str(value)
