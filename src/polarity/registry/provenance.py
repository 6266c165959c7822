"""The provenance of a promotion, kept with the version's MLflow run, so that its Bento can be built again.

The dossier is beside it, as JSON and as a page for people, and what drift is judged by.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polarity.bento.dossier import write_dossier
from polarity.bento.provenance import Provenance
from polarity.inference.package import DOSSIER, DRIFT_REFERENCE
from polarity.registry.mlflow_client import connect, translate_mlflow_errors
from polarity.registry.versions import Registry, Version

PROVENANCE_FILE = "provenance.json"


@translate_mlflow_errors
def keep_provenance(registry: Registry, version: Version, provenance: Provenance) -> None:
    """Keep the provenance of the run that promotes a version."""
    client = connect(registry.uri)
    facts = asdict(provenance)
    dossier, drift_reference = facts.pop("dossier"), facts.pop("drift_reference")
    client.log_dict(version.run_id, facts, PROVENANCE_FILE)
    with tempfile.TemporaryDirectory() as scratch:
        files = write_dossier(dossier, Path(scratch)) if dossier else []
        if drift_reference:
            files.append(Path(scratch, DRIFT_REFERENCE))
            files[-1].write_bytes(drift_reference)
        for file in files:
            client.log_artifact(version.run_id, str(file))


@translate_mlflow_errors
def kept_provenance(registry: Registry, version: Version) -> Provenance:
    """The provenance of the run that promoted a version; what its tags say if it was never promoted."""
    from mlflow.exceptions import MlflowException

    client = connect(registry.uri)

    def kept(name: str) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                return Path(client.download_artifacts(version.run_id, name, scratch)).read_bytes()
            except (MlflowException, OSError):
                return b""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kept(name) or b"{}")
        return found

    facts = read(PROVENANCE_FILE) or {"data_digest": version.tags.get("data_digest")}
    return Provenance(**facts, dossier=read(DOSSIER), drift_reference=kept(DRIFT_REFERENCE))
