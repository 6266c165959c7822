"""The whole system on one machine: `compose.yaml` is what the specification allows, and means what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from polarity.config.settings import PROJECT

FILE = PROJECT / "compose.yaml"
SYSTEM: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = SYSTEM["services"]


def test_it_has_the_schema_of_the_specification(tmp_path: Path) -> None:
    def check(file: Path) -> int:
        command = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
        return subprocess.run([*command, str(file)], capture_output=True, check=False).returncode

    assert check(FILE) == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("restart: unless-stopped", "restrat: unless-stopped"))
    assert check(wrong) != 0


def test_parts_have_no_rights_beyond_what_they_need() -> None:
    for name, service in SERVICES.items():
        if name != "postgres":  # its image starts as root to take its folder over
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_what_refers_to_something_finds_it() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (PROJECT / source).exists() if source.startswith(".") else source in SYSTEM["volumes"], volume
        for value in service.get("environment", {}).values():
            for host in re.findall(r"(?:@|^http://)([a-z]+)[:/]", value):
                assert host in {"localhost", *SERVICES}, value
        if build := service.get("build"):
            context = PROJECT / build["context"]
            lines = (context / build["dockerfile"]).read_text().splitlines()
            copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
            assert copied and all((context / word).exists() for word in copied), name
        else:
            assert re.search(r":[\w.-]+\}?$", service["image"]), name
    (scraped,) = yaml.safe_load((PROJECT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["sentiment:3000"]}]


def test_the_password_is_the_environments() -> None:
    assert not re.search(
        r"PASSWORD: (?!\$\{POSTGRES_PASSWORD)|polarity:(?!\$\{POSTGRES_PASSWORD)\w+@", FILE.read_text()
    )
