"""The training flow beside its own steps run by hand, and beside itself when nothing has changed.

    python -m benchmarks.training.flow [OPTION ...]

The options are those of `python -m flows.train` (default: --profile demo). By hand, every step runs alone,
one after another, in one process without Prefect or MLflow. The flow cannot be quicker than the larger of
the longest chain of its steps and their processor seconds over the cores; it should not be much slower.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polarity.pipeline.steps import Fitted, Work

from benchmarks.results import machine, table, write
from polarity.config.command_line import parse_options
from polarity.data.acceptance import read_acceptance
from polarity.data.snapshot import read_snapshot
from polarity.data.splits import read_splits
from polarity.evaluation.scorecard import Scorecard
from polarity.pipeline import steps
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store, Stored
from polarity.serving.topology import cores

OVER, MORE_S, AGAIN = 1.10, 10.0, 0.05  # to stay within


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    name: str
    wall_s: float
    cpu_s: float


def run_by_hand(config: TrainConfig, home: Path) -> tuple[list[Cost], float]:
    """The cost of every step, and the seconds of the longest chain of them."""
    store, costs = Store(home / "store"), []

    def do(work: Work) -> tuple[Stored, float]:
        wall, cpu = time.perf_counter(), _cpu_s()
        stored = store.run(work.fingerprint, work.write)
        costs.append(Cost(work.fingerprint.step, time.perf_counter() - wall, _cpu_s() - cpu))
        return stored, costs[-1].wall_s

    made, common = do(steps.ingest_work(config))
    snapshot = read_snapshot(made.folder)
    made, seconds = do(steps.accept_work(snapshot, config))
    accepted, common = read_acceptance(made.folder).accepted, common + seconds
    made, seconds = do(steps.prepare_work(accepted, config))
    splits, common = read_splits(made.folder), common + seconds
    common += do(steps.check_splits_work(splits, config))[1]

    fitted, side_by_side = {}, []
    for model in config.models:
        made, chain = do(steps.fit_work(splits, config, model))
        fit = fitted[model] = Fitted(made.folder, made.key)
        chain += do(steps.evaluate_work(fit, splits, config, on=("train", "validation")))[1]
        chain += do(steps.examine_work(fit, config))[1]
        side_by_side.append(chain)
    alone = 0.0  # what the flow does one after another, too
    for fit in fitted.values():
        alone += do(steps.time_work(fit, splits, config))[1]
    for fit in fitted.values():
        made, seconds = do(steps.evaluate_work(fit, splits, config, on=("test",)))
        scorecard, alone = Scorecard(made.folder, splits.labels), alone + seconds
        alone += do(steps.mistakes_work(fit, scorecard, splits))[1]
    alone += do(steps.package_work(fit, card={}, data_digest=None, git_commit=""))[1]
    return costs, common + max(side_by_side) + alone


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """The environment of a flow that has a Prefect server of its own."""
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home / "prefect"),
        "POLARITY_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "PREFECT_API_URL": "http://127.0.0.1:4209/api",
    }
    server = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", "4209"]
    with (home / "server.log").open("wb") as log:
        running = subprocess.Popen(server, env=environment, stdout=log, stderr=log)
    try:
        from flows.terminal import answers

        deadline = time.monotonic() + 180
        while not answers(environment["PREFECT_API_URL"]):
            if running.poll() is not None or time.monotonic() > deadline:
                sys.exit((home / "server.log").read_text())
            time.sleep(0.5)
        yield environment
    finally:
        running.terminate()
        running.wait()


def time_flow(arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds of the command, from its start to its end."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "flows.train", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout[-4000:] + done.stderr[-4000:])
    return time.perf_counter() - started


def main() -> None:
    arguments = sys.argv[1:] or ["--profile", "demo"]
    if "--help" in arguments:
        sys.exit(__doc__)
    config, _ = parse_options(TrainConfig, arguments, prog="python -m benchmarks.training.flow")
    described = machine()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with prefect_server(home) as environment:
            first_s = time_flow(arguments, environment)
            again_s = time_flow(arguments, environment)
    with tempfile.TemporaryDirectory() as name:
        os.environ["BENTOML_HOME"] = str(Path(name, "bentoml"))
        costs, chain_s = run_by_hand(config, Path(name))
    work_s = sum(cost.cpu_s for cost in costs) / cores()
    budget_s = OVER * max(chain_s, work_s) + MORE_S
    rows = [
        ["the flow", f"{first_s:.0f}"],
        ["the longest chain of its steps, by hand", f"{chain_s:.0f}"],
        [f"their processor seconds over {cores()} cores", f"{work_s:.0f}"],
        [f"{OVER:g} times the larger, and {MORE_S:g} s", f"{budget_s:.0f}"],
        ["the flow again, nothing changed", f"{again_s:.0f} ({again_s / first_s:.1%}; {AGAIN:.0%} to stay within)"],
    ]
    details = [[cost.name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}"] for cost in costs]
    write(
        f"training-{config.profile}",
        f"# The training flow, profile {config.profile}\n\n{described}.\n\n{table(['what', 'seconds'], rows)}\n\n"
        f"The steps by hand:\n\n{table(['step', 'seconds', 'processor seconds'], details)}\n",
        {
            "machine": described,
            "first_s": first_s,
            "again_s": again_s,
            "chain_s": chain_s,
            "cpu_over_cores_s": work_s,
            "budget_s": budget_s,
            "steps": [vars(cost) for cost in costs],
        },
    )


if __name__ == "__main__":
    main()
