"""Run a training of another commit: `again.py CONFIG SNAPSHOT OUTCOME`, with that commit's work tree on PYTHONPATH.

Started by `polarity.reproduce`. Everything that is imported here is the other commit's, so only what every commit has
is used: the configuration, the ingest step, the store and the flow.
"""

import json
import shutil
import sys
from pathlib import Path

import flows.train
import polarity
from polarity import steps
from polarity.config import TrainConfig
from polarity.errors import PolarityError
from polarity.settings import settings
from polarity.store import Store


def main(config_file: Path, snapshot: Path, outcome: Path) -> None:
    """Put the snapshot where the ingest step will find it, train, and write down how that ended."""
    code = Path.cwd().resolve()
    for module in (polarity, flows.train):
        if not Path(str(module.__file__)).resolve().is_relative_to(code):
            sys.exit(f"{module.__name__} was loaded from {module.__file__}, not from the work tree {code}.")
    try:
        config = TrainConfig.model_validate_json(config_file.read_text())
        store = Store(settings().store_folder)
        store.run(steps.ingest_work(config).fingerprint, lambda folder: _copy(snapshot, folder))
        state = flows.train.train(config, return_state=True)
        result = state.result(raise_on_failure=False)
    except (PolarityError, ValueError) as error:
        result = error
    if isinstance(result, BaseException):
        ended = {"kind": type(result).__name__, "error": str(result)}
    else:
        ended = {"folder": str(settings().runs_folder / result.run_id)}
    outcome.write_text(json.dumps(ended))


def _copy(snapshot: Path, folder: Path) -> None:
    shutil.copytree(snapshot, folder, dirs_exist_ok=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
