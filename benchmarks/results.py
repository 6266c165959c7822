"""Writes benchmark results, and describes the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polarity.inference.placement import cores
from polarity.serving.topology import gpus

FOLDER = Path(__file__).parent / "results"


def machine() -> str:
    """Describe the machine and its current load."""
    return f"{cores()} cores, {gpus()} GPUs, {platform.machine()}, load average {os.getloadavg()[0]:.1f} at the start"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def write(name: str, text: str, figures: Mapping[str, Any]) -> None:
    """Print the text, and save it as Markdown and the figures as JSON."""
    print(text)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.md").write_text(text)
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
