"""Bentos: build one around a packaged model, try it, and let it be `sentiment:latest`.

Candidates are built as `sentiment-candidate:VERSION`, so that none takes the
champion's place by having been built last.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from polarity.errors import ArtifactError
from polarity.packaging.bento_probe import ProbeReport, probe
from polarity.packaging.bento_server import bentoml_environment, tail
from polarity.packaging.bento_store import (
    CHAMPION,
    MODEL_FOLDER,
    delete,
    exists,
    home,
    latest,
    model_folder,
    place,
    promote,
    promoted_tag,
    tags,
)
from polarity.serving.package import MANIFEST, ModelManifest
from polarity.settings import PROJECT

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "ProbeReport",
    "build",
    "delete",
    "exists",
    "latest",
    "model_folder",
    "probe",
    "promote",
    "promoted_tag",
    "sources",
    "tags",
]

CANDIDATE = "sentiment-candidate"
BENTOFILE = PROJECT / "bentofile.yaml"

Device = Literal["cpu", "gpu"]

_GPU_LOCK = "bentos/requirements-gpu.lock"
# A default for the container: that image is for machines with a GPU, and says so where there is none. The others are
# what NVIDIA's container runtime asks images for.
_GPU_VARIABLES = {
    "POLARITY_DEVICE": "gpu",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}
_BUILD_TIMEOUT_S = 600.0


def bentofile(device: Device) -> dict[str, Any]:
    """`bentofile.yaml`, for a GPU with the lock that has CUDA's libraries."""
    options: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text())
    if device == "gpu":
        options["python"]["requirements_txt"] = _GPU_LOCK
        options["envs"] = [{"name": name, "value": value} for name, value in _GPU_VARIABLES.items()]
    return options


def sources(device: Device = "cpu") -> list[Path]:
    """The files of the project that go into every Bento for a device, `bentofile.yaml` and the lock included."""
    options = bentofile(device)
    patterns = [pattern for pattern in options["include"] if not pattern.startswith(f"{MODEL_FOLDER}/")]
    files = {path for pattern in patterns for path in PROJECT.glob(pattern)}
    return sorted({BENTOFILE, PROJECT / options["python"]["requirements_txt"], *files})


def build(
    packaged: Path,
    *,
    name: str = CANDIDATE,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    device: Device = "cpu",
) -> str:
    """Build a Bento around a packaged model, as `bentofile.yaml` says.

    Parameters
    ----------
    packaged : Path
        What `FittedClassifier.export` wrote.
    name : str
        The Bento's name; what is built last takes that name's `latest`.
    version : str, optional
        Default: made from the model and the sources, so that the same again is the same Bento, built once.
    labels : mapping, optional
        Added to those of `bentofile.yaml`, the model's family and the digest of its data.
    device : str
        What its image is for: one for `gpu` carries CUDA's libraries.

    Returns
    -------
    str
        The tag, `NAME:VERSION`.

    Raises
    ------
    ArtifactError
        If the package is not whole, or BentoML cannot build it.
    """
    manifest = ModelManifest.read(packaged)
    version = version or _version(packaged, manifest, device)
    tag = f"{name}:{version}"
    if exists(tag):
        if ModelManifest.read(model_folder(tag)) != manifest:
            raise ArtifactError(
                f"{tag} is there already, around another model than '{packaged}'; give another version."
            )
        return tag
    delete(tag)  # what a killed build left half-done
    known = {
        "family": manifest.family,
        "data_digest": manifest.data_digest or "",
        "git_commit": manifest.git_commit or "",
    }
    given = {label: value for label, value in {**known, **(labels or {})}.items() if value}
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="polarity-bento-") as folder:
        context = Path(folder)
        for source in sources(device):
            place(source, context / source.relative_to(PROJECT))
        if device == "gpu":
            (context / BENTOFILE.name).unlink()
            (context / BENTOFILE.name).write_text(yaml.safe_dump(bentofile(device)))
        for file in (MANIFEST, *manifest.files):
            place(packaged / file, context / MODEL_FOLDER / file)
        command = [sys.executable, "-m", "bentoml", "build", ".", "--name", name, "--version", version]
        command += [part for label, value in given.items() for part in ("--label", f"{label}={value}")]
        # BentoML changes folder and import path while it builds, so it does that in a process of its own.
        done = subprocess.run(
            command,
            cwd=context,
            env=bentoml_environment(BENTOML_HOME=str(home().absolute()), PYTHONPATH=str(context / "src")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    if done.returncode or not exists(tag):
        raise ArtifactError(f"bentoml could not build {tag} of '{packaged}':\n{tail(done.stdout)}")
    return tag


def _version(packaged: Path, manifest: ModelManifest, device: Device) -> str:
    digest = hashlib.sha256((packaged / MANIFEST).read_bytes())
    for source in sources(device):
        digest.update(source.relative_to(PROJECT).as_posix().encode() + b"\0" + source.read_bytes())
    suffix = "-gpu" if device == "gpu" else ""
    return f"{manifest.family}{suffix}-{digest.hexdigest()[:12]}"
