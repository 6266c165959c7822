"""The packaged model: a folder with `model.json` and the files that it lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from polarity.errors import ArtifactError

FORMAT = 1
MANIFEST = "model.json"
# The half-precision graph for GPUs, next to the one that runs on every machine.
HALF_GRAPH = "model.fp16.onnx"
# What the run that made the model says about it (`polarity.bento.dossier`), as JSON and as a page; in a Bento only.
DOSSIER = "dossier.json"
DOSSIER_PAGE = "dossier.html"
# Held-out tweets in a compact form, to judge answers by (`polarity.watch.drift`); in a Bento only.
DRIFT_REFERENCE = "drift_reference.npz"
# Checksums of the words of the training tweets (`polarity.text.words.KnownWords`).
KNOWN_WORDS = "known_words.npy"

Precision = Literal["float64", "fp32", "fp16", "int8"]


class FileDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The expected digest and size of a file in the package."""

    sha256: str
    bytes: int


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content and provenance of a packaged model.

    Attributes
    ----------
    family : str
        The family whose scorer loads the files; see `polarity.families`.
    name : str
        The candidate's name, e.g. `bilstm-word2vec`.
    labels : tuple of str
        In the order of the probability columns.
    precision : str
        Precision of the weights.
    temperature : float
        Divides the logits before the softmax.
    max_tokens : int or None
        Maximum number of tokens read from a text; `None` for all.
    files : dict
        Every file that the scorer reads, with its digest; it is shown no others.
    data_digest, git_commit : str or None
        Data and code that the model was trained with.
    created : str
        Time of packaging (ISO 8601, UTC); not part of the content digest.
    card : dict
        The model card: metrics, parameters, parity and other facts about the model.
    """

    format: int = FORMAT
    family: str
    name: str
    labels: tuple[str, ...]
    precision: Precision
    temperature: Annotated[float, msgspec.Meta(gt=0)]
    max_tokens: int | None
    files: dict[str, FileDigest]
    data_digest: str | None = None
    git_commit: str | None = None
    created: str
    card: dict[str, Any] = {}

    @classmethod
    def describe(
        cls,
        folder: Path,
        files: Iterable[str],
        *,
        family: str,
        name: str,
        labels: tuple[str, ...],
        precision: Precision,
        temperature: float,
        max_tokens: int | None,
        card: dict[str, Any],
    ) -> ModelManifest:
        """Create a manifest for `files` as they are now in `folder`."""
        return cls(
            family=family,
            name=name,
            labels=labels,
            precision=precision,
            temperature=temperature,
            max_tokens=max_tokens,
            files={name: _digest(folder / name) for name in sorted(files)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            card=card,
        )

    @classmethod
    def read(cls, folder: Path, *, check: bool = True) -> ModelManifest:
        """Read `model.json` and, unless `check` is false, verify every file that it lists.

        Raises
        ------
        ArtifactError
            If the manifest or a file is missing or altered, or has a different format.
        """
        path = folder / MANIFEST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"No packaged model in '{folder}': {MANIFEST} cannot be read ({error}).") from error
        try:
            manifest = msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ArtifactError(f"'{path}' is not a model manifest of format {FORMAT}: {error}.") from error
        if manifest.format != FORMAT:
            raise ArtifactError(
                f"'{path}' has format {manifest.format}; this version reads format {FORMAT}. Package the model again."
            )
        for name, expected in manifest.files.items() if check else ():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ArtifactError(f"'{path}' lists '{name}', which is not in its folder. Package the model again.")
            file = folder / name
            if not file.is_file():
                raise ArtifactError(f"'{file}' is missing but listed in {MANIFEST}. Package the model again.")
            found = _digest(file)
            if found != expected:
                raise ArtifactError(
                    f"'{file}' is altered: {found.bytes} bytes, sha256 {found.sha256}; "
                    f"{MANIFEST} has {expected.bytes} bytes, sha256 {expected.sha256}. Package the model again."
                )
        return manifest

    def write(self, folder: Path) -> None:
        """Write `model.json` atomically."""
        draft = folder / f"{MANIFEST}.draft"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        draft.replace(folder / MANIFEST)

    def with_card(
        self, card: dict[str, Any], *, data_digest: str | None = None, git_commit: str | None = None
    ) -> ModelManifest:
        """A copy with `card` merged into the card, and with the given provenance."""
        return msgspec.structs.replace(
            self,
            card={**self.card, **card},
            data_digest=data_digest or self.data_digest,
            git_commit=git_commit or self.git_commit,
        )

    def with_files(self, folder: Path, *names: str) -> ModelManifest:
        """A copy that also lists the files `names`, as they are now in `folder`."""
        files = self.files | {name: _digest(folder / name) for name in names}
        return msgspec.structs.replace(self, files=dict(sorted(files.items())))

    @property
    def digest(self) -> str:
        """The sha256 of the package's content: the manifest with its files' digests, excluding the creation time.

        Refitting a model with an identical result gives the same digest.
        """
        return hashlib.sha256(
            msgspec.json.encode(msgspec.structs.replace(self, created=""), order="sorted")
        ).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Total size of the files, excluding the manifest."""
        return sum(file.bytes for file in self.files.values())


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(path: Path) -> FileDigest:
    return FileDigest(file_digest(path), path.stat().st_size)
