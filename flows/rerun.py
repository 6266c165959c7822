"""`python -m flows.rerun CONFIG SNAPSHOT OUTCOME`: train on an existing snapshot of tweets.

Other versions of the project call this command (`--reproduce`), so its interface must not change:

CONFIG    a run's `config.json`
SNAPSHOT  the folder of a snapshot, used instead of the data source in the configuration
OUTCOME   the file to write: {"folder": of the run} or {"kind": name of the error, "error": message}
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import polarity
from flows.train import train
from polarity.config.settings import settings
from polarity.errors import PolarityError
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Ingest
from polarity.pipeline.store import Store


def main(config_file: Path, snapshot: Path, outcome: Path) -> None:
    """Store the snapshot as the result of the ingest step, train, and write the outcome."""
    code = Path.cwd().resolve()
    if not Path(str(polarity.__file__)).resolve().is_relative_to(code):
        sys.exit(f"polarity was loaded from {polarity.__file__}, not from the work tree {code}.")
    try:
        config = TrainConfig.model_validate_json(config_file.read_text())
        key = Ingest(config, {}).fingerprint()
        Store(settings().store_folder).run(key, lambda folder: shutil.copytree(snapshot, folder, dirs_exist_ok=True))
        state = train(config, return_state=True)
        result = state.result(raise_on_failure=False)
    except (PolarityError, ValueError) as error:
        result = error
    if isinstance(result, BaseException):
        ended = {"kind": type(result).__name__, "error": str(result)}
    else:
        ended = {"folder": str(settings().runs_folder / result.run_id)}
    outcome.write_text(json.dumps(ended))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
