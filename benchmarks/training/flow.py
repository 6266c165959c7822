"""The training flow compared with its bare steps, and with a second run in which nothing has changed.

    python -m benchmarks.training.flow [OPTION ...]

The options are those of `python -m flows.train` (default: --profile demo). The bare steps run one after another in
one process, without Prefect or MLflow. The flow cannot be faster than its critical path or than the total CPU seconds
of its steps divided by the number of cores, whichever is larger; it should not be much slower.
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
from typing import Any

from benchmarks.results import machine, table, write
from polarity.config.command_line import parse_options
from polarity.inference.placement import cores
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Package, Time, nodes
from polarity.pipeline.step import Step, perform
from polarity.pipeline.store import Store

MAX_RATIO, OVERHEAD_S, UNCHANGED_SHARE = 1.10, 10.0, 0.05  # limits


@dataclass(frozen=True)
class Cost:
    """The cost of one step."""

    name: str
    wall_s: float
    cpu_s: float


def run_bare_steps(config: TrainConfig, home: Path) -> tuple[list[Cost], float]:
    """Run every step; return the cost of each, and the seconds of the critical path.

    The latency measurements run one after another, so on the critical path each waits for everything before it.
    """
    store, costs = Store(home / "store"), []
    made: dict[str, Any] = {}
    ended: dict[str, float] = {}
    for node, model in nodes(config):
        own_s = 0.0
        if issubclass(node, Step):
            chosen = config.models[-1] if node is Package else model  # packaging costs the same for every model
            step = node(config, {need.name: made.get(need.key(chosen)) for need in node.needs}, chosen)
            wall, cpu = time.perf_counter(), _cpu_s()
            made[node.key(model)] = perform(step, store).result
            own_s = time.perf_counter() - wall
            costs.append(Cost(node.key(model), own_s, _cpu_s() - cpu))
        of = [model] if model else config.models
        needed = [ended[need.key(one)] for need in node.needs for one in of]
        ended[node.key(model)] = own_s + max(ended.values() if node is Time else needed, default=0.0)
    return costs, max(ended.values())


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """Start a dedicated Prefect server, and return the environment of a flow that uses it."""
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
        from flows.outages import is_responding

        deadline = time.monotonic() + 180
        while not is_responding(environment["PREFECT_API_URL"]):
            if running.poll() is not None or time.monotonic() > deadline:
                sys.exit((home / "server.log").read_text())
            time.sleep(0.5)
        yield environment
    finally:
        running.terminate()
        running.wait()


def time_flow(arguments: list[str], environment: dict[str, str]) -> float:
    """Run the command, and return its wall time in seconds."""
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
        costs, chain_s = run_bare_steps(config, Path(name))
    work_s = sum(cost.cpu_s for cost in costs) / cores()
    budget_s = MAX_RATIO * max(chain_s, work_s) + OVERHEAD_S
    rows = [
        ["the flow", f"{first_s:.0f}"],
        ["the critical path of the bare steps", f"{chain_s:.0f}"],
        [f"their CPU seconds over {cores()} cores", f"{work_s:.0f}"],
        [f"limit: {MAX_RATIO:g} times the larger + {OVERHEAD_S:g} s", f"{budget_s:.0f}"],
        ["the flow again, nothing changed", f"{again_s:.0f} ({again_s / first_s:.1%}; limit: {UNCHANGED_SHARE:.0%})"],
    ]
    details = [[cost.name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}"] for cost in costs]
    write(
        f"training-{config.profile}",
        f"# The training flow, profile {config.profile}\n\n{described}.\n\n{table(['what', 'seconds'], rows)}\n\n"
        f"The bare steps:\n\n{table(['step', 'seconds', 'CPU seconds'], details)}\n",
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
