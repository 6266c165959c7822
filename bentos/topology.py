"""This server's model and options, and the processes derived from them."""

from __future__ import annotations

import os
from pathlib import Path

from polarity.errors import ArtifactError
from polarity.families.registry import family_named
from polarity.inference.package import MANIFEST, ModelManifest
from polarity.inference.placement import cores
from polarity.record.options import RecordOptions
from polarity.serving.options import ReceiverOptions, ServingOptions, read_trusted_proxies
from polarity.serving.topology import decide_topology, gpus

MODEL = Path(os.environ.get("POLARITY_MODEL") or Path(__file__).resolve().parents[1] / "model")
if not (MODEL / MANIFEST).is_file():
    raise ArtifactError(
        f"'{MODEL}' holds no packaged model. Run `make demo` to build a Bento with one; to serve or build from these "
        "sources, put a packaged model there or set POLARITY_MODEL to its folder."
    )

options = ServingOptions.read()
record_options = RecordOptions.read()
receiver_options = ReceiverOptions.read()
trusted_proxies = read_trusted_proxies()
# The process that loads the files verifies them.
manifest = ModelManifest.read(MODEL, check=False)
traits = family_named(manifest.family).traits
topology = decide_topology(options, manifest, traits, cores=cores(), gpus=gpus())
