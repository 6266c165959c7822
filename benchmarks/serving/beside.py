"""This Bento beside the servers that one could use instead, by wrk, which leaves them the cores.

    python -m benchmarks.serving.beside --peers PYTHON [MODEL_FOLDER] [--rounds 5] [--tweets FILE]

PYTHON is that of an environment with the packages of benchmarks/requirements-servers.lock; `make bench-servers` makes
it. Each round starts every server in turn, with the same model, and asks for single texts over 64 connections and over
one. Ratios are those of a round, so that whatever the machine does in the meantime concerns all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.processes import cpu_s
from benchmarks.results import machine, table, write
from benchmarks.serving.run import default_model
from benchmarks.serving.servers import bentoml_server, started
from polarity.bento.build import build
from polarity.bento.server import free_port
from polarity.bento.store import bento_folder
from polarity.config.settings import PROJECT
from polarity.data.corpus import generate_tweets
from polarity.inference.package import ModelManifest
from polarity.serving.rules import refuse

CONNECTIONS = (64, 1)
WORKERS = (1, 2)
SECONDS, WARM_UP_S = 5, 2
TEXTS = 8_000
READY = "a good day"
"""What a server is asked until it answers."""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
request = function() return wrk.format("POST", nil, headers, bodies[math.random(#bodies)]) end
"""

Body = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Peer:
    """A server under comparison."""

    name: str
    start: Callable[[int], Any]
    """Starts it with a number of worker processes; a context manager."""
    body: Body
    route: str = ""
    """Unless it starts with the address of its route."""


def peers(model: Path, tag: str, python: str, folder: Path) -> list[Peer]:
    """This Bento first, then the others."""
    code = {"PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{PROJECT}", "PEER_MODEL": str(model)}
    scripts = PROJECT / "benchmarks" / "serving"
    settings = {"name": "sentiment", "implementation": "peer_mlserver.Sentiment", "max_batch_size": 64}
    (folder / "mlserver").mkdir()
    (folder / "mlserver" / "model-settings.json").write_text(json.dumps({**settings, "max_batch_time": 0.001}))

    def bento(workers: int) -> Any:
        return bentoml_server(bento_folder(tag), POLARITY_WORKERS=str(workers))

    def script(name: str, route: str, *arguments: str) -> Callable[[int], Any]:
        def start(workers: int) -> Any:
            port = str(free_port())
            given = [argument.format(port=port) for argument in arguments]
            variables = {**code, "PEER_WORKERS": str(workers), "PEER_PORT": port}
            url = f"http://127.0.0.1:{port}{route}"
            return started([python, str(scripts / name), *given], url, environment=variables, asked=_text(READY))

        return start

    def fastapi(workers: int) -> Any:
        port = str(free_port())
        options = ["--port", port, "--workers", str(workers), "--no-access-log", "--log-level", "warning"]
        command = [python, "-m", "uvicorn", "benchmarks.serving.peer:app", *options]
        return started(command, f"http://127.0.0.1:{port}/predict", environment=code, asked=_text(READY))

    def mlserver(workers: int) -> Any:
        port = free_port()
        # Without parallel workers, the model is in the server's own process.
        content = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "debug": False}
        parallel = {"parallel_workers": workers if workers > 1 else 0}
        (folder / "mlserver" / "settings.json").write_text(json.dumps({**content, **parallel, "host": "127.0.0.1"}))
        command = [str(Path(python).with_name("mlserver")), "start", str(folder / "mlserver")]
        url = f"http://127.0.0.1:{port}/v2/models/sentiment/infer"
        # Its parallel workers import the implementation by its name.
        environment = {**code, "PYTHONPATH": f"{scripts}{os.pathsep}{code['PYTHONPATH']}"}
        return started(command, url, environment=environment, asked=_inference_request(READY))

    return [
        Peer("this Bento", bento, _text, "/predict"),
        Peer("mosec", script("peer_mosec.py", "/inference", "--port", "{port}", "--address", "127.0.0.1"), _text),
        Peer("FastAPI + uvicorn", fastapi, _text),
        Peer("LitServe", script("peer_litserve.py", "/predict"), _text),
        Peer("MLServer", mlserver, _inference_request),
    ]


def _text(text: str) -> dict[str, Any]:
    return {"text": text}


def _inference_request(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


def wrk(url: str, script: Path, bodies: Path, *, connections: int, seconds: int) -> dict[str, float]:
    """Requests a second that were answered with 2xx, and the percentiles of the latencies in ms."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    environment = {**os.environ, "BODIES": str(bodies)}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    requests, duration = re.search(r"(\d+) requests in ([\d.]+)s", output).groups()  # type: ignore[union-attr]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    found = {"requests_per_s": (int(requests) - (int(refused[1]) if refused else 0)) / float(duration)}
    for percent in ("50", "99"):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", output).groups()  # type: ignore[union-attr]
        found[f"p{percent}_ms"] = float(value) * _UNITS[unit]
    return {**found, "refused": float(refused[1]) if refused else 0.0}


def measure(chosen: list[Peer], texts: list[str], folder: Path, rounds: int) -> list[dict[str, Any]]:
    """All servers in turn, round after round."""
    script, bodies = folder / "post.lua", folder / "bodies.jsonl"
    script.write_text(_SCRIPT)
    rows = []
    for number in range(rounds):
        for peer in chosen:
            bodies.write_text("".join(json.dumps(peer.body(text)) + "\n" for text in texts))
            for workers in WORKERS:
                with peer.start(workers) as running:
                    url = running.url + peer.route
                    wrk(url, script, bodies, connections=CONNECTIONS[0], seconds=WARM_UP_S)
                    for connections in CONNECTIONS:
                        before = cpu_s(running.pid)
                        found = wrk(url, script, bodies, connections=connections, seconds=SECONDS)
                        used_s = cpu_s(running.pid) - before
                        row = {"server": peer.name, "workers": workers, "connections": connections, "round": number}
                        cpu_us = 1e6 * used_s / max(1.0, found["requests_per_s"] * SECONDS)
                        rows.append({**row, **found, "cpu_us": cpu_us})
            print(f"round {number + 1} of {rounds}: {peer.name}", file=sys.stderr)
    return rows


def summary(rows: list[dict[str, Any]], connections: int) -> str:
    """The servers at a number of connections, and this Bento's figures as multiples of theirs."""
    some = [row for row in rows if row["connections"] == connections]
    names = dict.fromkeys(row["server"] for row in some)
    mine = next(iter(names))
    best = {
        (row["server"], row["round"]): max(
            (r for r in some if (r["server"], r["round"]) == (row["server"], row["round"])),
            key=lambda r: r["requests_per_s"],
        )
        for row in some
    }
    lines = []
    for name in names:
        for workers in WORKERS:
            own = [row for row in some if (row["server"], row["workers"]) == (name, workers)]
            numbers = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us", "refused")
            rate, p50, p99, cpu, refused = (statistics.median(row[number] for row in own) for number in numbers)
            lowest, highest = min(r["requests_per_s"] for r in own), max(r["requests_per_s"] for r in own)
            lines.append(
                [
                    name, str(workers), f"{rate:,.0f} ({lowest:,.0f} to {highest:,.0f})", f"{p50:.2f}", f"{p99:.1f}",
                    f"{cpu:.0f}", f"{refused:,.0f}", *_multiples(best, mine, name),
                ]
            )  # fmt: skip
    head = ["server", "workers", "requests/s", "p50 ms", "p99 ms", "CPU µs a request", "refused"]
    return table([*head, "the Bento's requests/s, of its best", "p99"], lines)


def _multiples(best: dict[tuple[str, int], dict[str, Any]], mine: str, name: str) -> list[str]:
    """Of the better number of workers of each, round by round: median, lowest and highest."""
    if name == mine:
        return ["", ""]
    found = []
    for number in ("requests_per_s", "p99_ms"):
        ratios = [best[mine, n][number] / best[name, n][number] for server, n in best if server == name]
        found.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.beside",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, nargs="?", help="folder of a packaged model; default: the champion's")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="of the environment with the other servers")
    parser.add_argument("--tweets", type=Path, help="a CSV with a column `text`; default: generated tweets")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per server (default: 5)")
    parser.add_argument("--only", help="measure this Bento, and servers whose name contains this")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; it is a package of Debian and Ubuntu, and of Homebrew.")
    model = options.model or default_model()
    manifest, described = ModelManifest.read(model), machine()
    if options.tweets:
        given = pd.read_csv(options.tweets, usecols=["text"], dtype=str, keep_default_na=False)["text"].tolist()
    else:
        given = [row["text"] for row in generate_tweets(rows=TEXTS, labels=manifest.labels, seed=11).to_pylist()]
    texts = [text for text in given if refuse(text) is None]
    random.Random(1).shuffle(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = peers(model, build(model), options.peers, folder)
        chosen = [one for one in chosen if one is chosen[0] or not options.only or options.only in one.name]
        rows = measure(chosen, texts[:TEXTS], folder, options.rounds)
    source = "real tweets" if options.tweets else "generated tweets"
    text = (
        f"# '{manifest.name}' ({manifest.family}) beside other servers\n\n{described}. {options.rounds} rounds of "
        f"{SECONDS} s; {source}, one a request; wrk on the same machine.\n"
    )
    for connections in CONNECTIONS:
        text += f"\n## {connections} connection{'s' * (connections > 1)}\n\n{summary(rows, connections)}\n"
    write(f"servers-{manifest.name}", text, {"machine": described, "rows": rows})


if __name__ == "__main__":
    main()
