"""The tasks that models are trained for, and which of them is served.

A task is what a champion is champion of: a name, its class set and its line of data. Each has a registered model with
an alias `champion` of its own, so a model for one task never meets the champion of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from polarity.errors import ConfigurationError
from polarity.pipeline.config import DEFAULT_TASK, DEMO_TASK
from polarity.registry.mlflow_client import connect, translate_mlflow_errors

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

CHAMPION = "champion"
SERVED_TAG = "served_since"


@dataclass(frozen=True)
class Task:
    """A task with a registered model: its name, when it was created, and when a person chose to serve it, if ever."""

    name: str
    created: datetime
    has_champion: bool
    chosen: str | None


def model_name(task: str) -> str:
    """The name of a task's registered model in MLflow."""
    return task if task == DEFAULT_TASK else f"{DEFAULT_TASK}-{task}"


@translate_mlflow_errors
def registered_tasks(uri: str) -> tuple[Task, ...]:
    """All tasks with a registered model, oldest first."""
    found = connect(uri).search_registered_models(f"name LIKE '{DEFAULT_TASK}%'")
    tasks = [_task(model) for model in found if model.name == DEFAULT_TASK or model.name.startswith(f"{DEFAULT_TASK}-")]
    return tuple(sorted(tasks, key=lambda task: task.created))


def served_task(uri: str) -> str:
    """The task whose champion `sentiment:latest` is.

    That is the one that a person chose last (`choose_served`); without a choice, the first that got a champion, and the
    demo only if no other has one. Before there is any champion, it is the default task.
    """
    champions = [task for task in registered_tasks(uri) if task.has_champion]
    chosen = [task for task in champions if task.chosen]
    if chosen:
        return max(chosen, key=lambda task: task.chosen or "").name
    own = [task for task in champions if task.name != DEMO_TASK]
    return (own or champions)[0].name if champions else DEFAULT_TASK


@translate_mlflow_errors
def choose_served(uri: str, task: str) -> None:
    """Record that a person wants this task served.

    Raises
    ------
    ConfigurationError
        If the task has no champion.
    """
    with_champion = [known.name for known in registered_tasks(uri) if known.has_champion]
    if task not in with_champion:
        raise ConfigurationError(
            f"The task {task!r} has no champion to serve. Tasks with one: {', '.join(with_champion) or 'none yet'}."
        )
    connect(uri).set_registered_model_tag(model_name(task), SERVED_TAG, datetime.now(UTC).isoformat())


def _task(model: RegisteredModel) -> Task:
    return Task(
        name=model.name.removeprefix(f"{DEFAULT_TASK}-"),
        created=datetime.fromtimestamp(model.creation_timestamp / 1000, UTC),
        has_champion=CHAMPION in model.aliases,
        chosen=model.tags.get(SERVED_TAG),
    )
