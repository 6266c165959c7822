"""The steps of a training run: what each depends on, and what it does.

Each function here gives the `Work` of one step: its fingerprint, and what writes its
result into a folder. Flows run them through the `Store`; a plan only asks the store.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from polarity.config import LearningConfig, TrainConfig
from polarity.data.acceptance import accept
from polarity.data.gates import SUITES
from polarity.data.ingest import ingest
from polarity.data.snapshot import Snapshot
from polarity.data.sources import source_file
from polarity.data.split_gate import check_splits
from polarity.data.splits import SplitName, Splits, prepare
from polarity.errors import ConfigurationError
from polarity.evaluation.behaviour import run_behaviour_tests
from polarity.evaluation.bias import check_bias
from polarity.evaluation.evidence import Evidence
from polarity.evaluation.latency import measure_latency
from polarity.evaluation.mistakes import find_mistakes
from polarity.evaluation.prediction_gate import check_predictions
from polarity.evaluation.scorecard import Scorecard, write_scorecard
from polarity.isolation import Listener, run_isolated
from polarity.models.fit import FIT_FILE, PACKAGED
from polarity.packaging import bento
from polarity.packaging.bento_probe import probe
from polarity.provenance import Fingerprint, Step, file_digest, fingerprint
from polarity.sections import FAMILY_OF, ModelName
from polarity.serving.package import MANIFEST, ModelManifest
from polarity.serving.predictor import Predictor
from polarity.text.encoders import Layout, resolve_encoder

BENTO_FILE = "bento.json"
GATE_FILE = "gate.json"
_ARRAYS = ("numpy", "pandas", "pyarrow")
_SERVED = ("numpy", "scikit-learn", "onnxruntime", "tokenizers", "ftfy")
_TRANSFORMER_LIBRARIES = (
    "numpy",
    "tensorflow",
    "tf-keras",
    "ktrain",
    "transformers",
    "tokenizers",
    "onnx",
    "onnxruntime",
)
_LIBRARIES_OF: dict[str, tuple[str, ...]] = {
    "logistic": ("numpy", "scipy", "scikit-learn", "ftfy"),
    "bilstm": ("numpy", "tensorflow", "tf-keras", "gensim", "onnx", "onnxruntime", "ftfy"),
    "distilbert": (*_TRANSFORMER_LIBRARIES, "ftfy"),
    "bert": (*_TRANSFORMER_LIBRARIES, "ftfy"),
}
_MODULE_OF = {
    "logistic": "polarity.models.logistic",
    "bilstm": "polarity.models.bilstm",
    "distilbert": "polarity.models.transformer",
    "bert": "polarity.models.transformer",
}


@dataclass(frozen=True)
class Work:
    """A step on given inputs: its fingerprint, and what writes its result into an empty folder."""

    fingerprint: Fingerprint
    write: Callable[[Path], object]


@dataclass(frozen=True)
class Fitted:
    """The folder of a fit."""

    folder: Path
    key: str

    @property
    def record(self) -> dict[str, Any]:
        """What `polarity.models.fit` wrote down."""
        record: dict[str, Any] = json.loads((self.folder / FIT_FILE).read_text())
        return record

    @property
    def packaged(self) -> Path:
        """The model as serving loads it."""
        return self.folder / PACKAGED

    @property
    def digest(self) -> str:
        """The sha256 of the packaged model's manifest, which names the sha256 of its files."""
        return file_digest(self.packaged / MANIFEST)


def ingest_work(config: LearningConfig) -> Work:
    """Source -> snapshot."""
    data = config.data
    inputs = {"file": file_digest(source_file(data))} if data.source == "file" else {}
    options = data.model_dump(mode="json", exclude={"path"} if data.source == "file" else None)
    options["file_name"] = data.path.name if data.path else None
    step = Step("ingest", ("polarity.data.ingest",), ("pyarrow",))
    return Work(
        fingerprint(step, inputs=inputs, parameters={"data": options, "labels": config.labels}),
        lambda folder: ingest(data, config.labels, folder),
    )


def accept_work(snapshot: Snapshot, config: LearningConfig) -> Work:
    """Snapshot -> accepted rows and quarantine."""
    step = Step(
        "accept",
        ("polarity.data.acceptance",),
        ("great-expectations", "ftfy", *_ARRAYS),
        (SUITES / "raw_tweets.json",),
    )
    return Work(
        fingerprint(step, inputs={"snapshot": snapshot.manifest.digest}, parameters=_options(config, "gate", "labels")),
        lambda folder: accept(snapshot, config.gate, folder),
    )


def prepare_work(accepted: Snapshot, config: LearningConfig) -> Work:
    """Accepted rows -> splits."""
    step = Step("prepare", ("polarity.data.splits",), ("ftfy", *_ARRAYS))
    return Work(
        fingerprint(
            step, inputs={"accepted": accepted.manifest.digest}, parameters=_options(config, "preparation", "labels")
        ),
        lambda folder: prepare(accepted, config.preparation, folder),
    )


def check_splits_work(splits: Splits, config: LearningConfig) -> Work:
    """Splits -> the gate's result and Data Docs."""
    step = Step(
        "check-splits",
        ("polarity.data.split_gate",),
        ("great-expectations", *_ARRAYS),
        (SUITES / "prepared_tweets.json",),
    )

    def write(folder: Path) -> None:
        result = check_splits(splits, config.preparation, config.gate, folder / "data_docs")
        result.refuse("The splits")
        result.write(folder / GATE_FILE)

    parameters = _options(config, "gate", "preparation", "labels")
    return Work(fingerprint(step, inputs=splits.digests, parameters=parameters), write)


def fit_work(splits: Splits, config: LearningConfig, model: ModelName, listen: Listener = lambda *_: None) -> Work:
    """Train and validation splits -> a fitted model, packed for serving. The test split is not read."""
    section = config.section(model)
    family = FAMILY_OF[model]
    options = section.model_dump(mode="json")
    inputs = {"train": splits.digests["train"], "validation": splits.digests["validation"]}
    vectors = getattr(section, "vectors", None)
    if isinstance(vectors, Path):
        inputs["vectors"] = _digest_of_vectors(vectors)
        options["vectors"] = "file"
    if encoder := getattr(section, "encoder", None):
        inputs["encoder"] = _digest_of_encoder(encoder, "bert" if family == "bert" else "distilbert")
        options["encoder"] = "random" if encoder == "random" else "pretrained"
    step = Step(f"fit-{model}", ("polarity.models.fit", _MODULE_OF[family]), _LIBRARIES_OF[family])

    def write(folder: Path) -> None:
        job = {
            "name": model,
            "section": section.model_dump(mode="json"),
            "seed": config.seed,
            "labels": splits.labels,
            "train": str(splits.path("train")),
            "validation": str(splits.path("validation")),
            "folder": str(folder),
        }
        run_isolated(
            "polarity.models.fit",
            job,
            folder=folder / "process",
            timeout_s=config.faults.fit_timeout_s,
            listen=listen,
            environment={"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"},
        )

    parameters = {"options": options, "seed": config.seed, "labels": splits.labels}
    return Work(fingerprint(step, inputs=inputs, parameters=parameters), write)


def evaluate_work(fitted: Fitted, splits: Splits, config: LearningConfig, *, on: tuple[SplitName, ...]) -> Work:
    """A packaged model on some splits -> its scorecard; its validation predictions go through their gate."""
    step = Step(
        f"{'test' if on == ('test',) else 'evaluate'}-{fitted.record['name']}",
        ("polarity.evaluation.scorecard", *(("polarity.evaluation.prediction_gate",) if "validation" in on else ())),
        ("great-expectations", *_ARRAYS, *_SERVED),
        (SUITES / "predictions.json",) if "validation" in on else (),
    )

    def write(folder: Path) -> None:
        scorecard = write_scorecard(
            fitted.packaged,
            {split: splits.path(split) for split in on},
            folder,
            label_names=splits.labels,
            seed=config.seed,
            most_rows={"train": config.evaluation.train_rows},
            sliced=[split for split in on if split != "train"],
        )
        if "validation" in on:
            gate = check_predictions(
                scorecard.predictions("validation"), folder / "data_docs", rows=splits.rows["validation"]
            )
            gate.write(folder / GATE_FILE)

    inputs = {"model": fitted.digest} | {split: splits.digests[split] for split in on}
    parameters = {"seed": config.seed, "labels": splits.labels}
    if "train" in on:
        parameters["train_rows"] = config.evaluation.train_rows
    return Work(fingerprint(step, inputs=inputs, parameters=parameters), write)


def examine_work(fitted: Fitted, config: TrainConfig) -> Work:
    """A packaged model -> how it behaves on sentences of the project's own: behaviour tests, identity terms swapped."""
    family = FAMILY_OF[fitted.record["name"]]
    step = Step(
        f"examine-{fitted.record['name']}",
        ("polarity.evaluation.behaviour", "polarity.evaluation.bias", "polarity.serving.predictor"),
        _SERVED,
    )
    limits = config.behaviour.limits(family)

    def write(folder: Path) -> None:
        predictor = Predictor.load(fitted.packaged)
        behaviour = run_behaviour_tests(predictor, config.labels, limits)
        evidence = Evidence(behaviour=behaviour, bias=check_bias(predictor, config.labels))
        evidence.write(folder)

    return Work(fingerprint(step, inputs={"model": fitted.digest}, parameters={"limits": limits}), write)


def mistakes_work(fitted: Fitted, test: Scorecard, splits: Splits) -> Work:
    """A packaged model and its test predictions -> its most confident errors, and labels that look wrong."""
    step = Step(
        f"mistakes-{fitted.record['name']}",
        ("polarity.evaluation.mistakes", "polarity.serving.predictor"),
        _SERVED,
    )

    def write(folder: Path) -> None:
        predictor = Predictor.load(fitted.packaged)
        Evidence(mistakes=find_mistakes(predictor, test.predictions("test"))).write(folder)

    return Work(
        fingerprint(step, inputs={"model": fitted.digest, "test": splits.digests["test"]}, parameters={}), write
    )


def time_work(fitted: Fitted, splits: Splits, config: LearningConfig) -> Work:
    """A packaged model -> its latency for one text; to be run while nothing else does."""
    step = Step(f"time-{fitted.record['name']}", ("polarity.evaluation.latency", "polarity.serving.predictor"), _SERVED)

    def write(folder: Path) -> None:
        texts = splits.read("validation").texts
        latency = measure_latency(Predictor.load(fitted.packaged), texts, seed=config.seed)
        (folder / "latency.json").write_text(json.dumps(asdict(latency)) + "\n")

    return Work(fingerprint(step, inputs={"model": fitted.digest}, parameters={"seed": config.seed}), write)


def package_work(fitted: Fitted, *, card: Mapping[str, Any], data_digest: str | None, git_commit: str) -> Work:
    """A packaged model -> a Bento under a candidate's name that has answered real requests.

    The card says where the model came from; it does not make another Bento of the same model.
    """
    step = Step(
        "package",
        ("polarity.packaging.bento", "polarity.packaging.bento_probe", "polarity.serving.predictor"),
        ("bentoml",),
        tuple(bento.sources()),
    )

    def write(folder: Path) -> None:
        packed = folder / PACKAGED
        shutil.copytree(fitted.packaged, packed)
        manifest = ModelManifest.read(packed)
        known = {**manifest.card, **card}
        msgspec.structs.replace(manifest, card=known, data_digest=data_digest, git_commit=git_commit).write(packed)
        tag = bento.build(packed)
        probe(tag)
        (folder / BENTO_FILE).write_text(json.dumps({"tag": tag}) + "\n")

    return Work(fingerprint(step, inputs={"model": fitted.digest}, parameters={}), write)


def read_bento(folder: Path) -> str:
    """The tag of the Bento that the `package` step built."""
    tag: str = json.loads((folder / BENTO_FILE).read_text())["tag"]
    return tag


def read_latency(folder: Path) -> dict[str, float]:
    """What the `time` step measured: `p50_ms`, `p95_ms`, `calls`."""
    latency: dict[str, float] = json.loads((folder / "latency.json").read_text())
    return latency


def _options(config: LearningConfig, *names: str) -> Mapping[str, Any]:
    dumped = config.model_dump(mode="json")
    return {name: dumped[name] for name in names}


def _digest_of_vectors(path: Path) -> str:
    if not path.is_file():
        raise ConfigurationError(
            f"There is no file of vectors at {path}; give a GloVe text file, plain, gzipped or zipped."
        )
    return file_digest(path)


def _digest_of_encoder(name: str, layout: Layout) -> str:
    encoder = resolve_encoder(name, layout)
    files = [encoder.tokenizer_file, *(sorted(encoder.folder.glob("*.safetensors")) if encoder.folder else [])]
    return "-".join(file_digest(path) for path in files)
