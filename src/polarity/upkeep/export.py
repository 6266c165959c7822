"""A model to take away: as a Bento, as ONNX, or in a format that its family declares."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from polarity.bento.store import export_bento
from polarity.errors import ConfigurationError
from polarity.families.exports import CARD, UNQUANTISED, ExportSource, exporter, formats_of, model_card
from polarity.families.fit import PACKAGED
from polarity.families.registry import AnyFamily, family_named
from polarity.inference.package import MANIFEST, ModelManifest
from polarity.inference.scorers import GRAPH
from polarity.pipeline.store import Store
from polarity.registry.promotion import ensure_bento
from polarity.registry.stored_model import find_model
from polarity.registry.versions import Registry

BENTO, ONNX = "bento", "onnx"

_ONNX_USAGE = """\
`{graph}` maps two inputs to one output:

| | name | type | shape |
|---|---|---|---|
| input | `ids` | int32 | (texts, tokens): token ids, padded at the end with any id |
| input | `lengths` | int32 | (texts,): number of tokens of each text before the padding |
| output | `logits` | float32 | (texts, {n_labels}) |

The probabilities of the labels, in the order of `model.json`, are the softmax of the logits divided by
{temperature:.6g}. Ids come from the files beside the graph, for texts that `polarity.text.cleaning.repair` has cleaned;
`polarity.families.packaging.load_predictor(FOLDER)` does all of it. The graph has operators of ONNX Runtime
(`com.microsoft`) and was tested with the version that the project locks.
"""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    title: str
    path: Path
    files: tuple[str, ...]


def export_model(name: str, format: str, target: Path, *, store: Store, task: str | None = None) -> Exported:
    """Write a model into a new folder, in a format for use elsewhere.

    Parameters
    ----------
    name : str
        `champion`, the number of a registered version, or a folder with a packaged model.
    format : str
        `bento`, `onnx`, or one that the model's family declares.
    target : Path
        The folder to write; absent or empty. Nothing is left in it if the export fails.
    store : Store
        Where the fit may have weights that the package does not.
    task : str, optional
        Task of the champion or version.

    Raises
    ------
    ConfigurationError
        If there is no such model, it has no such format, or the folder is not empty.
    ArtifactError
        If something that the format needs is not there any more.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"'{target}' is not an empty folder; --to needs a new one.")
    model = find_model(name, task)
    write = _writer(name, format, model.folder, model.manifest, store=store, task=task)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        draft = Path(temporary) / "draft"
        draft.mkdir()
        write(draft)
        if target.exists():
            target.rmdir()
        draft.rename(target)
    return Exported(model.title, target, tuple(sorted(path.name for path in target.iterdir())))


def _writer(
    name: str, format: str, packaged: Path, manifest: ModelManifest, *, store: Store, task: str | None
) -> Callable[[Path], None]:
    """The function that writes a model in a format into an empty folder."""
    family = family_named(manifest.family)
    has_graph = GRAPH in manifest.files
    known = (BENTO, *([ONNX] if has_graph else []), *formats_of(family))
    if format not in known:
        raise ConfigurationError(
            f"A model of the family '{family.name}' has no format '{format}'; it has {', '.join(known)}."
        )
    if format == BENTO:
        tag = _bento_of(name, task)
        return lambda folder: export_bento(tag, folder / f"{tag.replace(':', '-')}.bento")
    if format == ONNX:
        return lambda folder: _write_onnx(packaged, manifest, folder)
    graph = _full_precision_graph(packaged, manifest, store) if has_graph else None
    return _family_writer(family, format, ExportSource(packaged, manifest, graph))


def _family_writer(family: AnyFamily, format: str, source: ExportSource) -> Callable[[Path], None]:
    write = exporter(family, format)
    return lambda folder: write(source, folder)


def _bento_of(name: str, task: str | None) -> str:
    """The tag of a version's Bento, which is built if there is none yet."""
    if (Path(name) / MANIFEST).is_file():
        raise ConfigurationError(
            f"'{name}' is the folder of a packaged model; the format '{BENTO}' needs `champion` or a version."
        )
    registry = Registry.open(task=task)
    version = registry.champion() if name == "champion" else registry.version(int(name))
    if version is None:
        raise ConfigurationError(f"The task {registry.task} has no champion.")
    return ensure_bento(registry, version)


def _write_onnx(packaged: Path, manifest: ModelManifest, folder: Path) -> None:
    for file in (MANIFEST, *manifest.files):
        shutil.copyfile(packaged / file, folder / file)
    usage = _ONNX_USAGE.format(graph=GRAPH, n_labels=len(manifest.labels), temperature=manifest.temperature)
    (folder / CARD).write_text(model_card(manifest, usage), encoding="utf-8")


def _full_precision_graph(packaged: Path, manifest: ModelManifest, store: Store) -> Path | None:
    """The package's graph if it is in full precision; otherwise the one that its fit kept beside it."""
    if manifest.precision == "fp32":
        return packaged / GRAPH
    beside = packaged.with_name(UNQUANTISED) / GRAPH
    if packaged.name == PACKAGED and beside.is_file():
        return beside
    digest = manifest.files[GRAPH].sha256
    for result in store.results():
        files = result.files
        if files.get(f"{PACKAGED}/{GRAPH}") == digest and f"{UNQUANTISED}/{GRAPH}" in files:
            folder = store.fetch(result)
            if folder is not None:
                return folder / UNQUANTISED / GRAPH
    return None
