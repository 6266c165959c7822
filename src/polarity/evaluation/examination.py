"""The behaviour tests and the bias check of a model, run together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polarity.evaluation.behaviour import BehaviourReport, run_behaviour_tests
from polarity.evaluation.bias import BiasReport, check_bias
from polarity.inference.predictor import Predict

BEHAVIOUR = "behaviour.json"
BIAS = "bias.json"


@dataclass(frozen=True)
class Examination:
    """The results of both checks of a model."""

    behaviour: BehaviourReport
    bias: BiasReport

    def write(self, folder: Path) -> None:
        """Write both reports into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, report in ((BEHAVIOUR, self.behaviour), (BIAS, self.bias)):
            (folder / name).write_text(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Examination:
        """Read what `write` wrote."""
        behaviour, bias = (json.loads((folder / name).read_text("utf-8")) for name in (BEHAVIOUR, BIAS))
        return cls(BehaviourReport.from_dict(behaviour), BiasReport.from_dict(bias))


def examine(predict: Predict, label_names: tuple[str, ...], limits: Mapping[str, float]) -> Examination:
    """Run the behaviour tests and the bias check on a classifier.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    label_names : tuple of str
    limits : mapping of str to float
        Minimum pass rate by behaviour test name.
    """
    return Examination(run_behaviour_tests(predict, label_names, limits), check_bias(predict, label_names))
