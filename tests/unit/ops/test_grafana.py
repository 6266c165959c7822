"""The Grafana dashboard: the file is what the module builds, and asks for metrics and columns that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

from ops.grafana.dashboard import FILE, to_json
from polarity.record.schema import metadata
from polarity.serving import metrics

FOLDER = FILE.parent


def targets() -> list[dict[str, str]]:
    panels = json.loads(FILE.read_text())["panels"]
    inner = [panel for row in panels for panel in (row.get("panels") or [])]
    return [target for panel in [*panels, *inner] for target in panel.get("targets") or []]


def test_the_file_is_what_the_module_writes() -> None:
    assert FILE.read_text() == to_json(), "run `python -m ops.grafana.dashboard`"


def test_every_metric_exists() -> None:
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    families = [one for family in metrics.FAMILIES for one in family.collect()]
    shown = {one.name + suffix for one in families for suffix in suffixes[one.type]}
    asked = {name for target in targets() for name in re.findall(r"polarity_\w+", target.get("expr", ""))}
    assert len(asked) >= 8 and asked <= shown


def test_every_metric_of_the_server_is_known_to_telemetry() -> None:
    registered = {one.name for one in REGISTRY.collect() if one.name.startswith("polarity_")}
    assert {one.name for family in metrics.FAMILIES for one in family.collect()} == registered


def test_every_table_and_data_source_exists() -> None:
    queries = [target["rawSql"] for target in targets() if "rawSql" in target]
    assert len(queries) >= 4
    assert {name for query in queries for name in re.findall(r"(?:FROM|JOIN) (\w+)", query)} <= set(metadata.tables)
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "polarity.yaml").read_text())["datasources"]
    found = set(re.findall(r'"uid": "(polarity-\w+)"', FILE.read_text()))
    assert found == {source["uid"] for source in sources}


def test_the_compose_file_mounts_files_that_are_there() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    mounted = [volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert mounted and all((FOLDER / Path(path)).exists() for path in mounted)
