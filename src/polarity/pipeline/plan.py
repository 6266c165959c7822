"""What a training run would do and why, without running it, like `dvc status` for a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from polarity.evaluation.verdict import Verdict
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Package, Select, nodes
from polarity.pipeline.prerequisites import check_prerequisites
from polarity.pipeline.step import Node, Step, recall
from polarity.pipeline.store import Store


@dataclass(frozen=True)
class PlannedStep:
    """One step: `kept` (its result is stored), `runs`, or `open` (its input comes from a step that runs)."""

    step: str
    state: Literal["kept", "runs", "open"]
    reason: str


def plan(config: TrainConfig, store: Store) -> list[PlannedStep]:
    """Plan a run with `config`.

    A step whose input comes from a step that runs is `open`: it is kept if that input turns out unchanged, and
    nothing else that it depends on has changed.

    Raises
    ------
    ConfigurationError, DataRejected
        If the run would be refused.
    """
    check_prerequisites(config)
    planner = _Planner(config, store)
    for node, model in nodes(config):
        if node is Select:
            planner.decide()
        elif node is Package:
            planner.package()
        elif issubclass(node, Step):
            planner.follow(node, model)
    return planner.planned


@dataclass
class _Planner:
    config: TrainConfig
    store: Store
    planned: list[PlannedStep] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    """Stored results, by the name and model of the step."""

    def follow(self, node: type[Step[Any]], model: str | None) -> None:
        """Plan one step, and remember its result if it is stored."""
        missing = next((need.key(model) for need in node.needs if need.key(model) not in self.known), None)
        if missing:
            self.planned.append(PlannedStep(node.key(model), "open", f"depends on the result of {missing}"))
            return
        step = node(self.config, {need.name: self.known[need.key(model)] for need in node.needs}, model)
        if found := recall(step, self.store):
            self.known[node.key(model)] = found.result
            self.planned.append(PlannedStep(node.key(model), "kept", "nothing it depends on has changed"))
            return
        before = self.store.latest_parts(node.key(model))
        if before is None:
            reason = "it has never run"
        else:
            reason = "; ".join(step.fingerprint().changes(before)[:4]) or "its result is missing or altered"
        self.planned.append(PlannedStep(node.key(model), "runs", reason))

    def decide(self) -> None:
        """Apply the policy, if all the results that it needs are stored."""
        results = {model: self._results(Select, model) for model in self.config.models}
        if all(results.values()):
            self.known[Select.name] = Select.decide(self.config, {model: of or {} for model, of in results.items()})

    def package(self) -> None:
        """Plan the Bento of the model that the policy selects."""
        verdict: Verdict | None = self.known.get(Select.name)
        if verdict is not None and verdict.selected is None:
            self.planned.append(PlannedStep(Package.name, "kept", verdict.reason))
        else:
            self.follow(Package, verdict.selected if verdict else None)

    def _results(self, node: type[Node], model: str) -> dict[str, Any] | None:
        keys = {need.name: need.key(model) for need in node.needs}
        return (
            {name: self.known[key] for name, key in keys.items()} if set(keys.values()) <= self.known.keys() else None
        )
