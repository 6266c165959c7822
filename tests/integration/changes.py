"""Changes to the project, and the training steps that each one invalidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODELS = ("logistic", "bilstm", "distilbert")
MEASURED = ("evaluate", "examine", "time", "test", "mistakes")
ON_TEST_DATA = ("test", "mistakes")


def of(*models: str, steps: tuple[str, ...] = MEASURED) -> set[str]:
    """Return the keys of the models' steps, for example `evaluate-bilstm`."""
    return {f"{step}-{model}" for step in steps for model in models}


def fits(*models: str) -> set[str]:
    return of(*models, steps=("fit",))


ALL_FITS = fits(*MODELS)
AFTER_THE_FITS = of(*MODELS) | {"package"}
AFTER_THE_SPLITS = {"check-splits"} | ALL_FITS | AFTER_THE_FITS


@dataclass(frozen=True)
class Change:
    """One change, and the steps it invalidates.

    `runs` are the steps that the plan marks as running. `follow` are the steps that run after them, because an input
    came out different or the change affects them too; the plan marks them as open. All other steps are kept.
    """

    what: str
    runs: set[str] = field(default_factory=set)
    follow: set[str] = field(default_factory=set)
    options: Mapping[str, Any] = field(default_factory=dict)
    edit: tuple[str, str, str] | None = None
    """A project file, the text to replace, and its replacement."""
    append: tuple[str, str] | None = None
    """A data file, and the text to append."""
    library: str | None = None
    """A library whose version changes."""
    cores: int | None = None
    """How many of this machine's cores the run may use, as on another machine."""
    forget: str | None = None
    """A step whose results are deleted from the store; it runs again with the same outcome."""
    real: bool = False
    """Whether `make test` also runs the real flow, with the logistic regression alone; `make soak` does so for all."""


CHANGES = (
    Change("nothing"),
    # data
    Change(
        "a row of data that falls into the training split",
        append=("tweets.csv", "positive,my neighbour baked a lovely plum cake\n"),
        runs={"ingest"},
        follow={"accept", "prepare"} | AFTER_THE_SPLITS,
    ),
    Change(
        "a row of data that falls into the test split",
        append=("tweets.csv", "negative,the ferry to the island was late again\n"),
        runs={"ingest"},
        follow={"accept", "prepare", "check-splits"} | of(*MODELS, steps=ON_TEST_DATA),
    ),
    Change(
        "a label map that says the same as the default",
        options={"data": {"label_map": {"positive": "positive", "negative": "negative"}}},
        runs={"ingest"},
    ),
    Change(
        "a limit of the gate",
        options={"gate": {"max_duplicate_share": 0.3}},
        runs={"accept"},
        follow={"check-splits"},
    ),
    Change(
        "the share of the test split",
        options={"preparation": {"test_share": 0.25}},
        runs={"prepare"},
        follow=AFTER_THE_SPLITS,
    ),
    Change("the salt of the splits", options={"preparation": {"salt": "p"}}, runs={"prepare"}, follow=AFTER_THE_SPLITS),
    # suites
    Change(
        "an expectation of raw tweets",
        edit=("expectations/raw_tweets.json", '"mostly": 0.99', '"mostly": 0.98'),
        runs={"accept"},
        real=True,
    ),
    Change(
        "a note in the suite of prepared tweets",
        edit=("expectations/prepared_tweets.json", '"notes": "', '"notes": "Reviewed. '),
        runs={"check-splits"},
    ),
    Change(
        "a note in the suite of predictions",
        edit=("expectations/predictions.json", '"notes": "', '"notes": "Reviewed. '),
        runs=of(*MODELS, steps=("evaluate",)),
    ),
    # options
    Change(
        "C of the logistic regression",
        options={"logistic": {"c": 0.5}},
        runs=fits("logistic"),
        follow=of("logistic") | {"package"},
        real=True,
    ),
    Change("the units of the BiLSTM", options={"bilstm": {"units": 6}}, runs=fits("bilstm"), follow=of("bilstm")),
    Change(
        "the learning rate of DistilBERT",
        options={"distilbert": {"learning_rate": 1e-3}},
        runs=fits("distilbert"),
        follow=of("distilbert"),
    ),
    Change(
        "the encoder of DistilBERT",
        options={"distilbert": {"encoder": "minilm"}},
        runs=fits("distilbert"),
        follow=of("distilbert"),
    ),
    Change("a vector", append=("vectors.txt", "great 1 2 3 4\n"), runs=fits("bilstm"), follow=of("bilstm")),
    Change(
        "the seed",
        options={"seed": 7},
        runs=ALL_FITS,
        # the fit of the logistic regression, which is the selected one, comes out the same with any seed
        follow=AFTER_THE_FITS - {"examine-logistic", "mistakes-logistic", "package"},
    ),
    Change(
        "on how many rows the train figures are measured",
        options={"evaluation": {"train_rows": 50}},
        runs=of(*MODELS, steps=("evaluate",)),
    ),
    Change(
        "a sentence of a behaviour test",
        edit=("expectations/behaviour/fr.yaml", "quel bonheur, ", "quelle joie, "),
        runs=of(*MODELS, steps=("examine",)),
    ),
    Change(
        "a limit of a behaviour test",
        options={"behaviour": {"bilstm": {"names": 0.01}}},
        runs={"examine-bilstm"},
    ),
    Change("the policy's margin", options={"select": {"margin": 0.01}}),
    Change("retries", options={"faults": {"retries": 1}}),
    # code
    Change(
        "a cleaning rule",
        edit=("src/polarity/text/cleaning.py", "in range(6)", "in range(7)"),
        runs={"ingest"},  # compares what came in with what is there
        follow={"prepare", *AFTER_THE_SPLITS},
    ),
    Change(
        "a helper that only the BiLSTM calls",
        edit=("src/polarity/text/embeddings.py", "def read_vectors(", "LONGEST = 9\n\n\ndef read_vectors("),
        runs=fits("bilstm"),
        follow=of("bilstm"),
    ),
    Change(
        "how a figure is computed",
        edit=("src/polarity/evaluation/metrics.py", "def measure(", "PLACES = 9\n\n\ndef measure("),
        runs=of(*MODELS, steps=("evaluate", "test")),
        follow=of(*MODELS, steps=("mistakes",)),
    ),
    Change(
        "what is behind a mistake",
        edit=("src/polarity/evaluation/mistakes.py", "def find_mistakes(", "PLACES = 9\n\n\ndef find_mistakes("),
        runs=of(*MODELS, steps=("mistakes",)),
    ),
    Change("the colour of a plot", edit=("src/polarity/evaluation/plots.py", "#3d7dd9", "#3d7dd8")),
    Change(
        "a comment in an unrelated module",
        edit=("src/polarity/registry/versions.py", "def _version(", "# who\ndef _version("),
    ),
    Change(
        "a docstring",
        edit=("src/polarity/families/logistic.py", '"""scikit-learn callback', '"""A callback of scikit-learn'),
    ),
    Change("a flow", edit=("flows/train.py", "def run_training(", "SIDE_BY_SIDE = True\n\n\ndef run_training(")),
    Change(
        "the Bento's service",
        edit=("bentos/service.py", "door = Door(", "SERVED = True\ndoor = Door("),
        runs={"package"},
    ),
    Change(
        "a file of the Bento that has the name of another one",
        edit=(
            "bentos/topology.py",
            "options = ServingOptions.read()",
            "SERVED = True\noptions = ServingOptions.read()",
        ),
        runs={"package"},
    ),
    Change(
        "an option of the server",
        edit=(
            "src/polarity/serving/options.py",
            '    api_key: str = ""',
            '    greeting: str = ""\n    api_key: str = ""',
        ),
        runs={"package"},
    ),
    Change(
        "the batcher",
        edit=("src/polarity/serving/batcher.py", "_TICK_S = 0.05", "_TICK_S = 0.06"),
        runs={"package"},
    ),
    Change(
        "the contract",
        edit=("src/polarity/serving/contract.py", "_MAX_PROBLEMS = 10", "_MAX_PROBLEMS = 11"),
        runs={"package"},
    ),
    Change(
        "a metric of the server",
        edit=("src/polarity/serving/metrics.py", '"Texts in a batch."', '"Texts of a batch."'),
        runs={"package"},
    ),
    Change(
        "the prediction log",
        edit=("src/polarity/record/prediction_log.py", "_MAX_ROWS = 50_000", "_MAX_ROWS = 60_000"),
        runs={"package"},
    ),
    Change(
        "the n-grams, which the logistic regression alone reads",
        edit=("src/polarity/text/ngrams.py", "NEGATION_REACH = 4", "NEGATION_REACH = 5"),
        runs=fits("logistic"),
        follow=of("logistic") | {"package"},
    ),
    Change(
        "a family's own file",
        edit=("src/polarity/families/bilstm.py", "clipnorm=1.0", "clipnorm=2.0"),
        runs=fits("bilstm"),
        follow=of("bilstm"),
    ),
    Change(
        "the body of a step",
        edit=(
            "src/polarity/pipeline/graph.py",
            "        find_mistakes(predictor, ",
            "        assert folder.is_dir()\n        find_mistakes(predictor, ",
        ),
        runs=of(*MODELS, steps=("mistakes",)),
    ),
    Change(
        "how a store keeps results",
        edit=("src/polarity/pipeline/store.py", 'DRAFT_PREFIX = "."', 'KEPT = True\nDRAFT_PREFIX = "."'),
    ),
    Change(
        "nothing, but a fit is made again with the same outcome",
        forget="fit-logistic",
        runs=fits("logistic"),
        real=True,
    ),
    # machines
    Change("a machine with one core", cores=1, runs=of(*MODELS, steps=("time",))),
    # libraries
    # a version that is only said to be another: the fits that depend on it are made again and come out the same
    Change("the version of gensim", library="gensim", runs=fits("bilstm")),
    Change(
        "the version of scikit-learn",
        library="scikit-learn",
        runs=fits("logistic") | of("bilstm", "distilbert", steps=("evaluate", "examine", "time", "test")),
        follow=of("logistic") | of("bilstm", "distilbert", steps=("mistakes",)),
    ),
    Change("the version of matplotlib", library="matplotlib"),
)
