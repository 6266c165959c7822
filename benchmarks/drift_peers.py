"""Judges windows of tweets with Evidently and NannyML; `benchmarks.drift --peers` runs it in their environment.

    benchmarks/.venv/bin/python benchmarks/drift_peers.py FOLDER

Each folder in FOLDER has `reference.parquet` and `windows.parquet`, windows of 500 rows one after the other. The last
line of output is JSON: by tool its version, the seconds that a window takes, and by folder and detector whether each
window alarms. Whatever does not describe the data is left at the default of the tool.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import perf_counter

os.environ |= {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}

import evidently
import nannyml
import pandas as pd
from evidently.metrics import DriftedColumnsCount

WINDOW = 500
FEW = 1000
"""Evidently's defaults are tests (p-values) up to so many rows of reference, and distances with more."""
SCORE, SENTIMENT, LABEL = "score", "sentiment", "label"
CATEGORIES = [SENTIMENT, LABEL, "script"]
Alarms = dict[str, list[bool]]


def evidently_alarms(reference: pd.DataFrame, windows: pd.DataFrame) -> Alarms:
    """Compare each window by the metric that decides in `DataDriftPreset`, without its charts of each column."""
    numbers = [name for name in reference if name not in CATEGORIES]
    definition = evidently.DataDefinition(numerical_columns=numbers, categorical_columns=CATEGORIES)
    known = evidently.Dataset.from_pandas(reference, data_definition=definition)
    report = evidently.Report([metric := DriftedColumnsCount()])
    found: Alarms = {"half of the columns": [], "any column": []}
    for start in range(0, len(windows), WINDOW):
        window = windows[start : start + WINDOW].reset_index(drop=True)
        result = report.run(evidently.Dataset.from_pandas(window, data_definition=definition), known).dict()
        drifted = result["metrics"][0]["value"]
        found["half of the columns"].append(bool(drifted["share"] >= metric.drift_share))
        found["any column"].append(bool(drifted["count"] > 0))
    return found


def evidently_alarms_with_few(reference: pd.DataFrame, windows: pd.DataFrame) -> Alarms:
    """The same with a reference so small that its defaults are other ones."""
    return evidently_alarms(reference.sample(FEW, random_state=0).reset_index(drop=True), windows)


def nannyml_alarms(reference: pd.DataFrame, windows: pd.DataFrame) -> Alarms:
    """Take each window as a chunk, which alarms if any of its values is beyond the thresholds."""
    columns = list(reference)
    inputs = [name for name in columns if name not in (SCORE, SENTIMENT, LABEL)]
    outputs = {"y_pred_proba": SCORE, "y_pred": SENTIMENT, "y_true": LABEL}
    of_accuracy = {"metrics": ["accuracy"], "problem_type": "classification_binary", "chunk_size": WINDOW, **outputs}
    univariate = nannyml.UnivariateDriftCalculator(columns, treat_as_categorical=CATEGORIES, chunk_size=WINDOW)
    found = {
        "any column": univariate.fit(reference).calculate(windows),
        "PCA": nannyml.DataReconstructionDriftCalculator(inputs, chunk_size=WINDOW).fit(reference).calculate(windows),
        "CBPE": nannyml.CBPE(**of_accuracy).fit(reference).estimate(windows),
        "accuracy": nannyml.PerformanceCalculator(**of_accuracy).fit(reference).calculate(windows),
    }
    alarms = {}
    for name, result in found.items():
        frame = result.filter(period="analysis").to_df()
        alerts = frame[[column for column in frame if column[-1] == "alert"]]
        assert not alerts.isna().any(axis=None), f"{name} failed in some windows"
        alarms[name] = alerts.astype(bool).any(axis=1).tolist()
    return alarms


TOOLS = {
    "Evidently": (evidently, evidently_alarms),
    f"Evidently, {FEW:,} held out": (evidently, evidently_alarms_with_few),
    "NannyML": (nannyml, nannyml_alarms),
}


def main(folder: Path) -> None:
    """Judge all windows with all tools."""
    found = {}
    for tool, (package, judge) in TOOLS.items():
        alarms, seconds, count = {}, 0.0, 0
        for group in sorted(folder.iterdir()):
            reference, windows = (pd.read_parquet(group / f"{name}.parquet") for name in ("reference", "windows"))
            started = perf_counter()
            alarms[group.name] = judge(reference, windows)
            seconds += perf_counter() - started
            count += len(windows) // WINDOW
            print(f"{tool}: {count} windows in {seconds:.0f} s", file=sys.stderr, flush=True)
        found[tool] = {"version": package.__version__, "seconds": seconds / count, "alarms": alarms}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
