"""The tasks that decide whether the selected model becomes champion, and make it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from prefect import get_run_logger
from prefect.events import emit_event

from flows.adapter import polarity_task
from flows.steps import Run
from flows.tasks import ModelRun, chosen_of
from polarity.bento import store as bento
from polarity.bento.provenance import Provenance
from polarity.data.splits import Splits
from polarity.errors import ArtifactError
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.scorecard import write_scorecard
from polarity.evaluation.verdict import Role, Verdict
from polarity.families.mixture import read_origins
from polarity.inference.package import ModelManifest
from polarity.registry import promotion
from polarity.registry.decisions import count_decision
from polarity.registry.learned import hashes, read_learned, split_keys
from polarity.registry.origin import LINE_TAG, line_of, other_origin
from polarity.registry.versions import Registry, Version
from polarity.selection import champion as policy
from polarity.selection.champion import Opponent, with_best_reference, withhold
from polarity.text.origins import RECENT


@polarity_task("check origin")
def check_origin(run: Run, splits: Splits) -> str | None:
    """Say before anything is trained if these tweets are not those that the champion is champion of; return why."""
    registry = Registry.open(task=run.config.task_name)
    champion = registry.champion()
    if champion is None or run.config.promote:
        return None
    try:
        champion_labels = ModelManifest.read(registry.packaged(champion)).labels
    except ArtifactError:
        return None  # the comparison will say so
    found = other_origin(
        str(champion),
        line=line_of(run.config),
        champion_line=champion.tags.get(LINE_TAG),
        labels=splits.labels,
        champion_labels=champion_labels,
        splits=splits,
        learned=read_learned(registry, champion),
    )
    if found:
        get_run_logger().warning(found)
    return found


@polarity_task("compare with champion")
def compare_with_champion(
    run: Run, splits: Splits, verdict: Verdict, models: Sequence[ModelRun], objection: str | None
) -> Verdict:
    """Compare the chosen model with the champion and the reference on the same test tweets.

    `objection` is what `check_origin` found.
    """
    registry = Registry.open(task=run.config.task_name)
    champion = registry.champion()
    if verdict.selected is None or champion is None:
        return verdict
    chosen = chosen_of(verdict, models)
    assert chosen.version is not None
    if chosen.version.number == champion.number:
        verdict = withhold(verdict, str(champion), "It is already the champion.")
    elif run.config.promote:
        requested = f"It replaces {champion} on request (--promote)."
        verdict = replace(
            verdict, basis="requested", champion_before=str(champion), reason=f"{verdict.reason} {requested}"
        )
    elif marked := promotion.rolled_back(chosen.version, registry.versions()):
        lift = f"`python -m polarity promote {chosen.version.number} --task {registry.task}` does it"
        reason = f"{promotion.mark_in_words(marked)}, so it is not promoted again by itself; {lift}."
        verdict = withhold(verdict, str(champion), reason)
    elif objection:
        verdict = withhold(verdict, str(champion), objection)
    else:
        try:
            verdict = _decide(registry, champion, chosen, run, splits, models, verdict)
        except ArtifactError as error:
            cannot = f"It cannot be compared with {champion}, which stays: {error} To replace it: --promote."
            verdict = withhold(verdict, str(champion), cannot)
    if verdict.promote and run.config.select.canary and not run.config.promote:
        reason = f"{verdict.reason} It is to pass as a canary first (select.canary)."
        verdict = replace(verdict, promote=False, canary=True, reason=reason)
    get_run_logger().info(verdict.reason)
    return verdict


@polarity_task("promote")
def promote(
    run: Run,
    verdict: Verdict,
    models: Sequence[ModelRun],
    candidate_bento: str | None,
    provenance: Provenance | None,
) -> str | None:
    """Make the chosen model the champion of its task, if the verdict promotes it; return the champion's Bento."""
    if candidate_bento is None or provenance is None:
        return None
    registry = Registry.open(task=run.config.task_name)
    if verdict.canary:
        await_canary(registry, verdict, models, candidate_bento, provenance)
    if not verdict.promote:
        champion = registry.champion()
        return bento.promoted_tag(champion.bento) if champion and champion.bento else None
    version = chosen_of(verdict, models).version
    assert version is not None
    promoted = promotion.promote(registry, version, candidate_bento, verdict.basis, provenance)
    served = "sentiment:latest is its Bento" if promoted.served else f"its Bento is {promoted.bento}"
    get_run_logger().info("%s is the champion of the task %s; %s", promoted.champion, registry.task, served)
    return promoted.bento


def await_canary(
    registry: Registry, verdict: Verdict, models: Sequence[ModelRun], candidate: str, provenance: Provenance
) -> None:
    """Register the Bento of a candidate that is to pass as a canary, and announce it."""
    version = chosen_of(verdict, models).version
    assert version is not None
    promotion.register_candidate(registry, version, candidate, provenance)
    emit_event(
        event="polarity.candidate",
        resource={
            "prefect.resource.id": f"polarity.version.{candidate.partition(':')[2]}",
            "prefect.resource.name": str(version),
        },
        payload={"bento": candidate, "task": registry.task, "version": version.number},
    )
    get_run_logger().info("%s waits to be tried: bentoml serve %s", version, candidate)


def _decide(
    registry: Registry,
    champion: Version,
    chosen: ModelRun,
    run: Run,
    splits: Splits,
    models: Sequence[ModelRun],
    verdict: Verdict,
) -> Verdict:
    """Compare the chosen model with the champion and, if it is another version, with the reference."""
    assert chosen.version is not None
    test = hashes(split_keys(splits, "test"))

    def opponent(version: Version, role: Role) -> Opponent:
        learned = read_learned(registry, version)
        if learned is None:
            get_run_logger().warning("What %s learned from is not recorded; all test tweets count", version)
        known = np.zeros(len(test), dtype=bool) if learned is None else np.isin(test, learned)
        return Opponent(str(version), role, _predictions_of(version, registry, run, splits, models), known)

    opponents = [opponent(champion, "champion")]
    for version in promotion.reference_versions(registry):
        if version.number != champion.number:
            try:
                opponents.append(opponent(version, "reference"))
            except ArtifactError as error:
                get_run_logger().warning("%s is not compared: %s", version, error)
    count = count_decision(registry, chosen.version, champion, splits)
    return policy.compare_with_champion(
        verdict,
        chosen.test.predictions("test"),
        with_best_reference(opponents),
        count=count,
        policy=run.config.select,
        seed=run.config.seed,
        recent=_recent(run, splits),
        min_recent_rows=run.config.data.recent.min_test_rows,
    )


def _recent(run: Run, splits: Splits) -> npt.NDArray[np.bool_] | None:
    """The test tweets that came in since the file was made, of shape (n,); None if the run takes none."""
    origins = read_origins(splits.path("test")) if run.config.data.recent.enabled else None
    return None if origins is None else np.isin(origins, RECENT)


def _predictions_of(
    version: Version, registry: Registry, run: Run, splits: Splits, models: Sequence[ModelRun]
) -> Predictions:
    """Return a version's predictions for the test tweets."""
    for model in models:
        if model.version == version:
            return model.test.predictions("test")
    scorecard = write_scorecard(
        registry.packaged(version),
        {"test": splits.path("test")},
        run.folder / "champion" / str(version.number),
        label_names=splits.labels,
        seed=run.config.seed,
    )
    return scorecard.predictions("test")
