"""What this server is: its model, its options, and the processes that follow from them."""

from __future__ import annotations

import os
from pathlib import Path

from polarity.errors import ArtifactError
from polarity.families.registry import family_named
from polarity.inference.package import MANIFEST, ModelManifest
from polarity.inference.placement import cores
from polarity.serving.options import ServingOptions
from polarity.serving.topology import decide_topology, gpus

MODEL = Path(os.environ.get("POLARITY_MODEL") or Path(__file__).resolve().parents[1] / "model")
if not (MODEL / MANIFEST).is_file():
    raise ArtifactError(
        f"'{MODEL}' holds no packaged model. `make demo` builds a Bento with one; to serve or build from these "
        "sources, put one there or name its folder with POLARITY_MODEL."
    )

options = ServingOptions.read()
# The files are checked by the process that loads them.
manifest = ModelManifest.read(MODEL, check=False)
traits = family_named(manifest.family).traits
topology = decide_topology(options, manifest, traits, cores=cores(), gpus=gpus())
