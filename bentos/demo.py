"""`python -m bentos.demo`: serve the demo's champion briefly and send it a few requests."""

from __future__ import annotations

import sys

import httpx
from rich.console import Console
from rich.table import Table

from polarity.bento.server import served
from polarity.bento.store import bento_folder, promoted_tag
from polarity.errors import PolarityError
from polarity.pipeline.config import DEMO_TASK
from polarity.registry.versions import Registry

TWEETS = (
    "@maya_k the concert was amazing, can't stop smiling!!",
    "missed my train again and it's raining :(",
    "not bad at all, the new café",
    "I don't love this update, it ruined my day",
)
REFUSED = ("   ", "12 345")


def main() -> None:
    """Print a table of predictions and refusals, and the next steps."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    champion = Registry.open(task=DEMO_TASK).champion()
    if champion is None or champion.bento is None:
        sys.exit("The demo has no champion yet; run `make demo`.")
    tag = promoted_tag(champion.bento)  # not `latest`, which is another task's once that has a champion
    console.print(f"\nServing {tag} ...")
    with served(bento_folder(tag)) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        console.print(f"Ready after {server.ready_s:.1f} s at {server.url}")
        table = Table(title="POST /predict", title_justify="left", header_style="bold")
        for name in ("text", "status", "sentiment", "score"):
            table.add_column(name, justify="right" if name in ("status", "score") else "left")
        for text in (*TWEETS, *REFUSED):
            answer = client.post("/predict", json={"text": text}, headers={"Accept-Language": "en"})
            body = answer.json()
            if answer.is_success:
                table.add_row(text, str(answer.status_code), body["sentiment"], f"{body['score']:.3f}")
            else:
                table.add_row(repr(text), str(answer.status_code), str(body["detail"]), "")
        console.print(table)
        batch = client.post("/predict/batch", json={"texts": list(TWEETS)}).raise_for_status().json()
        console.print(f"POST /predict/batch answered {len(batch['predictions'])} texts in one request.")
    console.print(
        "\nNext steps\n"
        "  make ui      open the Prefect and MLflow UIs, the Data Docs and the reports\n"
        "  make serve   serve the champion on port 3000\n"
        "  make stop    stop the background processes"
    )


if __name__ == "__main__":
    try:
        main()
    except PolarityError as error:
        sys.exit(str(error))
