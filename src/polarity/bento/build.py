"""Build a Bento around a packaged model.

Candidates are built as `sentiment-candidate:VERSION`, so that the most recent
build does not become the champion by itself.
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

from polarity.bento.extension import Extension, extension_of
from polarity.bento.server import bentoml_environment, tail
from polarity.bento.signing import sign_if_keyed
from polarity.bento.store import MODEL_FOLDER, bento_folder, delete, exists, home, link_or_copy, model_folder
from polarity.config.settings import PROJECT
from polarity.errors import ArtifactError
from polarity.families.registry import family_named
from polarity.inference.package import MANIFEST, ModelManifest

CANDIDATE = "sentiment-candidate"
BENTOFILE = PROJECT / "bentofile.yaml"

Device = Literal["cpu", "gpu"]

GPU_LOCK = "bentos/requirements-gpu.lock"
# POLARITY_DEVICE is a default for the container: the image is meant for machines with a GPU and fails clearly without
# one. The other variables are what NVIDIA's container runtime expects of an image.
_GPU_VARIABLES = {
    "POLARITY_DEVICE": "gpu",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}
_BUILD_TIMEOUT_S = 600.0


def bentofile(device: Device) -> dict[str, Any]:
    """The options in `bentofile.yaml`; for a GPU with the lock file that includes the CUDA libraries."""
    options: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text())
    if device == "gpu":
        options["python"]["requirements_txt"] = GPU_LOCK
        options["envs"] += [{"name": name, "value": value} for name, value in _GPU_VARIABLES.items()]
    return options


def sources(device: Device = "cpu") -> list[Path]:
    """The project files in every Bento for a device, including `bentofile.yaml` and the lock file."""
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
    """Build a Bento around a packaged model, as configured in `bentofile.yaml`.

    Parameters
    ----------
    packaged : Path
        What `FittedClassifier.export` wrote.
    name : str
        The Bento's name; the most recent build becomes its `latest`.
    version : str, optional
        Default: derived from the model and the sources, so that the same Bento is built only once.
    labels : mapping, optional
        Added to the labels of `bentofile.yaml`, the model's family, its data digest and its commit.
    device : str
        Target device of the image; `gpu` includes the CUDA libraries.

    Returns
    -------
    str
        The tag, `NAME:VERSION`.

    Raises
    ------
    ArtifactError
        If the package is incomplete, or BentoML cannot build it.
    """
    manifest = ModelManifest.read(packaged)
    extension = extension_of(family_named(manifest.family))
    version = version or _version(manifest, device, extension)
    tag = f"{name}:{version}"
    if exists(tag):
        if ModelManifest.read(model_folder(tag)).files != manifest.files:
            raise ArtifactError(
                f"{tag} already exists with a different model than '{packaged}'; choose a different version."
            )
        sign_if_keyed(bento_folder(tag), tag)
        return tag
    delete(tag)  # the partial result of a killed build
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
            link_or_copy(source, context / source.relative_to(PROJECT))
        if device == "gpu" or extension.files:
            (context / BENTOFILE.name).unlink()
            (context / BENTOFILE.name).write_text(yaml.safe_dump(_extended(bentofile(device), extension, context)))
        for name_inside, content in extension.files.items():
            (context / name_inside).parent.mkdir(parents=True, exist_ok=True)
            (context / name_inside).write_bytes(content)
        for file in (MANIFEST, *manifest.files):
            link_or_copy(packaged / file, context / MODEL_FOLDER / file)
        command = [sys.executable, "-m", "bentoml", "build", ".", "--name", name, "--version", version]
        command += [part for label, value in given.items() for part in ("--label", f"{label}={value}")]
        # BentoML changes the working directory and the import path during a build, so it runs in a separate process.
        done = subprocess.run(
            command,
            cwd=context,
            # What is built is not signed yet.
            env=bentoml_environment(
                BENTOML_HOME=str(home().absolute()), PYTHONPATH=str(context / "src"), POLARITY_VERIFY_KEY=""
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    if done.returncode or not exists(tag):
        raise ArtifactError(f"bentoml could not build {tag} from '{packaged}':\n{tail(done.stdout)}")
    sign_if_keyed(bento_folder(tag), tag)
    return tag


def _version(manifest: ModelManifest, device: Device, extension: Extension) -> str:
    digest = hashlib.sha256(manifest.digest.encode())
    for source in sources(device):
        digest.update(source.relative_to(PROJECT).as_posix().encode() + b"\0" + source.read_bytes())
    for name, content in sorted(extension.files.items()):
        digest.update(name.encode() + b"\0" + content)
    suffix = "-gpu" if device == "gpu" else ""
    return f"{manifest.family}{suffix}-{digest.hexdigest()[:12]}"


def _extended(options: dict[str, Any], extension: Extension, context: Path) -> dict[str, Any]:
    """The bentofile with the files and requirements of an external family added."""
    if extension.requirements:
        lock = context / options["python"]["requirements_txt"]
        lines = lock.read_text()
        lock.unlink()  # it may be a hard link to the project's own lock file
        lock.write_text("\n".join([lines, *extension.requirements, ""]))
    return {**options, "include": [*options["include"], *extension.files]}
