"""Prepare a run folder and an environment of its own, and become the process that tells the story.

The settings of Prefect, BentoML and the project are read when they are imported, so they are set before.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from polarity.bento.server import free_port
from polarity.config.settings import PROJECT, settings

SHARED_DATA = PROJECT.parent / "shared" / "data"
# What a user has set for their own servers and stores must not be touched.
_FOREIGN = ("POLARITY_", "PREFECT_", "BENTOML_", "BENTO_", "MLFLOW_", "OTEL_", "APPLICATIONINSIGHTS_")


def environment_of(folder: Path) -> dict[str, str]:
    """The environment of a loop whose processes write into `folder` alone."""
    home = folder / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join(
        str(Path(one).absolute()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one
    )
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, [path, str(PROJECT)])),
        "POLARITY_HOME": str(home),
        "POLARITY_PREDICTION_LOG": str(home / "record.db"),
        "POLARITY_LOG_TEXTS": "masked",
        "POLARITY_LOG_DURABLE": "true",  # every answer is looked up at the end, also of a server that was killed
        "BENTOML_HOME": str(home / "bentoml"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def main() -> None:
    """Create the run folder, and replace this process by the story."""
    parser = argparse.ArgumentParser(prog="python -m ops.loop", description="Run the whole loop, unattended.")
    parser.add_argument("--tweets", type=Path, metavar="FOLDER", help="real tweets; default: ../shared/data, if there")
    parser.add_argument("--generated", action="store_true", help="use generated tweets, also if there are real ones")
    parser.add_argument("--keep", action="store_true", help="keep the loop's databases, models and logs")
    parser.add_argument(
        "--kill",
        action="store_true",
        help="kill -9 a monitor, the servers and the trainings in each part of the story; requests may be lost then",
    )
    given = parser.parse_args()
    tweets = None if given.generated else given.tweets or (SHARED_DATA if SHARED_DATA.is_dir() else None)
    folder = settings().runs_folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-loop-{uuid4().hex[:4]}"
    for inside in ("bentoml", "prefect"):
        (folder / "home" / inside).mkdir(parents=True)
    command = [sys.executable, "-m", "ops.loop.story", str(folder), str(tweets or "")]
    command += [f"--{option}" for option in ("keep", "kill") if getattr(given, option)]
    sys.stdout.flush()
    os.chdir(PROJECT)
    os.execve(sys.executable, command, environment_of(folder))


if __name__ == "__main__":
    main()
