"""What this server is to be: its model, its options, and the processes that follow from them."""

from __future__ import annotations

import os
from pathlib import Path

from polarity.errors import ArtifactError
from polarity.serving.device import cores, decide, gpus
from polarity.serving.options import ServingOptions
from polarity.serving.package import MANIFEST, ModelManifest

MODEL = Path(os.environ.get("POLARITY_MODEL") or Path(__file__).resolve().parents[1] / "model")
if not (MODEL / MANIFEST).is_file():
    raise ArtifactError(
        f"'{MODEL}' holds no packaged model. `make demo` builds a Bento with one; to serve or build from these "
        "sources, put one there or name its folder with POLARITY_MODEL."
    )

options = ServingOptions.read()
# The files are checked by the process that loads them.
manifest = ModelManifest.read(MODEL, check=False)
plan = decide(options, manifest, cores=cores(), gpus=gpus())
