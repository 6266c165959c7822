"""The provenance of a promotion, kept with the version's MLflow run, so that its Bento can be built again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from polarity.bento.provenance import Provenance
from polarity.registry.mlflow_client import connect, translate_mlflow_errors
from polarity.registry.versions import Registry, Version

PROVENANCE_FILE = "provenance.json"


@translate_mlflow_errors
def keep_provenance(registry: Registry, version: Version, provenance: Provenance) -> None:
    """Keep the provenance of the run that promotes a version."""
    connect(registry.uri).log_dict(version.run_id, asdict(provenance), PROVENANCE_FILE)


@translate_mlflow_errors
def kept_provenance(registry: Registry, version: Version) -> Provenance:
    """The provenance of the run that promoted a version; what its tags say if it was never promoted."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = connect(registry.uri).download_artifacts(version.run_id, PROVENANCE_FILE, scratch)
        except (MlflowException, OSError):
            return Provenance(data_digest=version.tags.get("data_digest"))
        return Provenance(**json.loads(Path(path).read_text()))
