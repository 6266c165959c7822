"""What a training run would do, and why, without doing it: as `dvc status` does for a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from polarity import steps
from polarity.config import TrainConfig
from polarity.data.acceptance import read_acceptance
from polarity.data.gates import GateResult
from polarity.data.snapshot import read_snapshot
from polarity.data.splits import Splits, read_splits
from polarity.evaluation.evidence import Evidence
from polarity.evaluation.scorecard import Scorecard
from polarity.prerequisites import check_prerequisites
from polarity.sections import FAMILY_OF
from polarity.selection import Candidate, select
from polarity.steps import Fitted, Work
from polarity.store import Store, Stored

T = TypeVar("T")


@dataclass(frozen=True)
class PlannedStep:
    """One step: `kept` (its result is there), `runs`, or `open` (its input is made by a step that runs)."""

    step: str
    state: Literal["kept", "runs", "open"]
    why: str


def plan(config: TrainConfig, store: Store) -> list[PlannedStep]:
    """What a run with `config` would do.

    A step whose input is made by a step that runs is `open`: if that makes the same as before, it is kept.

    Raises
    ------
    ConfigurationError, DataRejected
        If the run would be refused for what is known already.
    """
    return _Plan(config, store).made()


class _Plan:
    def __init__(self, config: TrainConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._steps: list[PlannedStep] = []

    def made(self) -> list[PlannedStep]:
        config = self._config
        check_prerequisites(config)
        snapshot = self._follow("ingest", lambda: steps.ingest_work(config), lambda s: read_snapshot(s.folder))
        acceptance = self._follow(
            "accept",
            lambda: steps.accept_work(snapshot, config) if snapshot else None,
            lambda s: read_acceptance(s.folder),
            after="ingest",
        )
        splits = self._follow(
            "prepare",
            lambda: steps.prepare_work(acceptance.accepted, config) if acceptance else None,
            lambda s: read_splits(s.folder),
            after="accept",
        )
        self._follow(
            "check-splits",
            lambda: steps.check_splits_work(splits, config) if splits else None,
            lambda s: s,
            after="prepare",
        )
        candidates = []
        for model in config.models:
            fitted = self._follow(
                f"fit-{model}",
                lambda model=model: steps.fit_work(splits, config, model) if splits else None,  # type: ignore[misc]
                lambda s: Fitted(s.folder, s.key),
                after="prepare",
            )
            candidates.append(self._measured(model, fitted, splits))
        measured = [candidate for candidate in candidates if candidate is not None]
        self._package(measured if len(measured) == len(candidates) else None)
        return self._steps

    def _package(self, measured: list[tuple[Fitted, Candidate]] | None) -> None:
        """The Bento of the model that the policy chooses, where that is known already."""
        chosen = None
        if measured:
            verdict = select([candidate for _, candidate in measured], self._config.select, seed=self._config.seed)
            chosen = next((fitted for fitted, candidate in measured if candidate.name == verdict.selected), None)
            if chosen is None:
                self._steps.append(PlannedStep("package", "kept", verdict.reason))
                return
        self._follow(
            "package",
            lambda: steps.package_work(chosen, card={}, data_digest=None, git_commit="") if chosen else None,
            lambda s: s,
            after="select",
        )

    def _measured(self, model: str, fitted: Fitted | None, splits: Splits | None) -> tuple[Fitted, Candidate] | None:
        """What is measured of a model; all that the policy wants to know of it, if that is there."""
        config = self._config
        known = (fitted, splits) if fitted and splits else None
        fit = f"fit-{model}"

        def kept(stored: Stored) -> Stored:
            return stored

        evaluated = self._follow(
            f"evaluate-{model}",
            lambda: steps.evaluate_work(*known, config, on=("train", "validation")) if known else None,
            kept,
            after=fit,
        )
        examined = self._follow(
            f"examine-{model}", lambda: steps.examine_work(known[0], config) if known else None, kept, after=fit
        )
        timed = self._follow(
            f"time-{model}", lambda: steps.time_work(*known, config) if known else None, kept, after=fit
        )
        test = self._follow(
            f"test-{model}",
            lambda: steps.evaluate_work(*known, config, on=("test",)) if known else None,
            lambda s: Scorecard(s.folder, config.labels),
            after=fit,
        )
        self._follow(
            f"mistakes-{model}",
            lambda: steps.mistakes_work(known[0], test, known[1]) if known and test else None,
            kept,
            after=f"test-{model}",
        )
        if not (fitted and evaluated and examined and timed):
            return None
        behaviour = Evidence.read(examined.folder, config.labels).behaviour
        refused = GateResult.read(evaluated.folder / steps.GATE_FILE).failures
        return fitted, Candidate(
            name=model,
            family=FAMILY_OF[model],
            latency_ms_p95=steps.read_latency(timed.folder)["p95_ms"],
            size_bytes=fitted.record["size_bytes"],
            validation=Scorecard(evaluated.folder, config.labels).predictions("validation"),
            objections=(*(check.message for check in refused), *(behaviour.objections if behaviour else ())),
        )

    def _follow(
        self, name: str, make: Callable[[], Work | None], read: Callable[[Stored], T], *, after: str = ""
    ) -> T | None:
        """Note one step, and give what it left if that is there."""
        work = make()
        if work is None:
            self._steps.append(PlannedStep(name, "open", f"depends on what {after} makes"))
            return None
        stored = self._store.recall(work.fingerprint)
        if stored:
            self._steps.append(PlannedStep(name, "kept", "nothing that it depends on has changed"))
            return read(stored)
        before = self._store.latest_parts(work.fingerprint.step)
        if before is None:
            why = "it has never run"
        else:
            why = "; ".join(work.fingerprint.changes(before)[:4]) or "its result is gone or altered"
        self._steps.append(PlannedStep(name, "runs", why))
        return None
