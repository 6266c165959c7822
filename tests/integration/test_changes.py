"""A change reruns only the steps it affects: the plan lists them, and the real flow runs exactly those."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polarity.config.sections import BehaviourLimits
from polarity.data.corpus import generate_tweets
from polarity.pipeline.config import merged
from tests.integration.changes import CHANGES, MODELS, Change
from tests.integration.checkout import Checkout

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]

TRAIN = """
import json, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:json.loads(sys.argv[2])])
from flows.train import train
from polarity.pipeline.config import TrainConfig
train(TrainConfig.model_validate(json.loads(sys.argv[1])))
"""

# A process for each plan, because modules are digested once a process; forked from one that has imported everything
# and made a plan, from which a fork keeps only what does not depend on the files as they are now.
PLAN = """
import json, os, sys
from polarity.pipeline import fingerprint
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.plan import plan
from polarity.config.settings import settings
from polarity.pipeline.store import Store

for line in sys.stdin:
    config, cores, target = json.loads(line)
    if not fingerprint.module_digest.cache_info().currsize:
        plan(TrainConfig.model_validate(config), Store(settings().store_folder))
    child = os.fork()
    if not child:
        for by_name in (fingerprint.module_digest, fingerprint._imports, fingerprint.code_of):
            by_name.cache_clear()
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        planned = plan(TrainConfig.model_validate(config), Store(settings().store_folder))
        with open(target, "w") as file:
            json.dump({step.step: [step.state, step.reason] for step in planned}, file)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@dataclass
class Project:
    """A checkout in which a training run of all models has finished."""

    checkout: Checkout
    data: Path

    def config(self, change: Change, models: tuple[str, ...]) -> dict[str, Any]:
        base = {
            "profile": "demo",
            "models": models,
            "data": {"source": "file", "path": str(self.data / "tweets.csv")},
            "evaluation": {"train_rows": 100},
            "logistic": {"char_ngrams": None},
            "bilstm": {"vectors": str(self.data / "vectors.txt"), "units": 4, "epochs": 1},
            "distilbert": {"encoder": "random", "train_rows": 200, "epochs": 1, "max_tokens": 16},
            "select": {"family": "logistic"},
            "behaviour": {"logistic": dict.fromkeys(BehaviourLimits.model_fields, 0)},
        }
        return merged(base, change.options)

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """Apply the change for the duration of the block, then revert it."""
        before: dict[Path, str | None] = {}

        def write(path: Path, text: str) -> None:
            before[path] = path.read_text() if path.exists() else None
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

        if change.edit:
            path, old, new = change.edit
            text = (self.checkout.folder / path).read_text()
            assert old in text, f"{path} has no {old!r}"
            write(self.checkout.folder / path, text.replace(old, new))
        if change.append:
            path, more = change.append
            write(self.data / path, (self.data / path).read_text() + more)
        if change.library:
            name = change.library
            record = self.checkout.folder / "src" / f"{name.replace('-', '_')}-99.dist-info" / "METADATA"
            write(record, f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n")
        forgotten = [*(self.checkout.home / "store" / change.forget).glob("*.json")] if change.forget else []
        for record in forgotten:
            record.rename(record.with_suffix(".forgotten"))
        try:
            yield
        finally:
            for record in forgotten:
                if record.exists():  # it was made again
                    record.with_suffix(".forgotten").unlink()
                else:
                    record.with_suffix(".forgotten").rename(record)
            for path, text in before.items():
                if text is None:
                    path.unlink()
                    path.parent.rmdir()
                else:
                    path.write_text(text)

    def train(self, change: Change, models: tuple[str, ...] = MODELS) -> set[str]:
        """Run the flow, and return the steps that ran."""
        before = self.results()
        done = self.checkout.python("-c", TRAIN, json.dumps(self.config(change, models)), json.dumps(change.cores))
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.parent.name for path in self.results() - before}

    def results(self) -> set[Path]:
        return set((self.checkout.home / "store").glob("*/*.json"))


@pytest.fixture(scope="module")
def project(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("changes")
    made = Project(Checkout.make(folder / "project", folder / "home"), folder)
    tweets = generate_tweets(rows=700, labels=("negative", "positive"), seed=3).to_pandas()
    tweets[["label", "text"]].to_csv(folder / "tweets.csv", index=False)
    (folder / "vectors.txt").write_text("good 1 2 3 4\nbad 4 3 2 1\nthe 0 1 0 1\n")
    ran = made.train(Change("the first run"))
    assert {"ingest", "package", *(f"{step}-{model}" for step in ("fit", "mistakes") for model in MODELS)} <= ran
    return made


@pytest.fixture(scope="module")
def plans(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[str, str]]]:
    """The plan after each change: the state of each step, and the reason."""
    folder = tmp_path_factory.mktemp("plans")
    planner = subprocess.Popen(
        [sys.executable, "-c", PLAN],
        cwd=project.checkout.folder,
        env=project.checkout.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert planner.stdin is not None
    assert planner.stdout is not None
    found = {}
    for number, change in enumerate(CHANGES):
        with project.changed(change):
            target = folder / str(number)
            planner.stdin.write(json.dumps([project.config(change, MODELS), change.cores, str(target)]) + "\n")
            planner.stdin.flush()
            assert planner.stdout.readline().strip() == "0", change.what
            found[change.what] = json.loads(target.read_text())
    planner.stdin.close()
    assert planner.wait(60) == 0
    return found


def test_enough_kinds_of_change_are_covered() -> None:
    assert len({change.what for change in CHANGES}) == len(CHANGES) >= 20
    assert len([change for change in CHANGES if change.real]) >= 3


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_plan_lists_the_steps_affected_by_a_change(
    change: Change, plans: dict[str, dict[str, tuple[str, str]]]
) -> None:
    planned = plans[change.what]
    assert {step for step, (state, _) in planned.items() if state == "runs"} == change.runs
    undecided = {step for step, (state, _) in planned.items() if state == "open"}
    assert change.follow <= undecided, "what follows is said to be open"
    assert bool(undecided) is False or change.runs, "nothing is open where nothing runs"


@pytest.mark.parametrize("change", [change for change in CHANGES if change.real], ids=lambda change: change.what)
def test_flow_runs_only_affected_steps(change: Change, project: Project) -> None:
    with project.changed(change):
        ran = project.train(change, ("logistic",))
    assert ran == {step for step in change.runs | change.follow if not step.endswith(("-bilstm", "-distilbert"))}


@pytest.mark.soak
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_flow_runs_only_affected_steps_of_all_models(change: Change, project: Project) -> None:
    with project.changed(change):
        ran = project.train(change)
    if change.real:  # what it did before with the logistic regression alone is there already
        ran |= {step for step in change.runs | change.follow if not step.endswith(("-bilstm", "-distilbert"))}
    assert ran == change.runs | change.follow
