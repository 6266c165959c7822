"""The Grafana dashboard: `python -m ops.grafana.dashboard` writes dashboard.json beside this file.

Traffic comes from the servers' Prometheus metrics; what the model answered and how well comes from the record, if that
is in PostgreSQL.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FILE = Path(__file__).with_name("dashboard.json")
_PROMETHEUS = DataSourceRef("prometheus", "polarity-metrics")
_RECORD = DataSourceRef("grafana-postgresql-datasource", "polarity-record")
_WIDTH, _HEIGHT = 8, 8


class _Sql(Dataquery, Builder[Dataquery]):
    """A query of the record; the SDK has no builder for Grafana's PostgreSQL data source."""

    def __init__(self, sql: str) -> None:
        self._sql = " ".join(sql.split())

    def build(self) -> Dataquery:
        return self

    def to_json(self) -> dict[str, Any]:
        return {"refId": "A", "format": "time_series", "rawQuery": True, "rawSql": self._sql, "datasource": _RECORD}


def build() -> Dashboard:
    """The dashboard: the golden signals, the queue, the model, and the record."""
    board = (
        Dashboard("Polarity")
        .uid("polarity")
        .tags(["polarity"])
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .readonly()
    )
    for title, panels in _rows():
        board = board.with_row(Row(title))
        for panel in panels:
            board = board.with_panel(panel.height(_HEIGHT).span(_WIDTH))
    return board


def _rows() -> list[tuple[str, list[timeseries.Panel]]]:
    rate = "$__rate_interval"
    return [
        (
            "Requests",
            [
                _metrics(
                    "Requests by status",
                    "reqps",
                    (f"sum by (status) (rate(polarity_requests_total[{rate}]))", "{{status}}"),
                ),
                _metrics(
                    "Errors",
                    "percentunit",
                    (
                        f'sum(rate(polarity_requests_total{{status=~"5.."}}[{rate}]))'
                        f" / sum(rate(polarity_requests_total[{rate}]))",
                        "share of 5xx",
                    ),
                ),
                _metrics(
                    "Latency",
                    "s",
                    *(
                        (
                            f"histogram_quantile({share}, sum by (le) (rate(polarity_request_seconds_bucket[{rate}])))",
                            name,
                        )
                        for share, name in ((0.5, "median"), (0.95, "p95"), (0.99, "p99"))
                    ),
                ),
                _metrics(
                    "Refusals by reason",
                    "reqps",
                    (f"sum by (reason) (rate(polarity_refusals_total[{rate}]))", "{{reason}}"),
                ),
                _metrics(
                    "Age of the queue",
                    "s",
                    (f"histogram_quantile(0.95, sum by (le) (rate(polarity_queue_seconds_bucket[{rate}])))", "p95"),
                ),
                _metrics(
                    "Texts in a batch, and waiting",
                    "short",
                    (
                        f"sum(rate(polarity_batch_texts_sum[{rate}])) / sum(rate(polarity_batch_texts_count[{rate}]))",
                        "mean batch",
                    ),
                    ("sum(polarity_waiting_texts)", "waiting"),
                ),
            ],
        ),
        (
            "Answers",
            [
                _metrics(
                    "Shares of the sentiments",
                    "percentunit",
                    (
                        f"sum by (sentiment) (rate(polarity_predictions_total[{rate}]))"
                        f" / ignoring (sentiment) group_left sum(rate(polarity_predictions_total[{rate}]))",
                        "{{sentiment}}",
                    ),
                ).stacking(common.StackingConfig().mode(StackingMode.NORMAL)),
                _record(
                    "Confidence",
                    "percentunit",
                    """SELECT $__timeGroup(to_timestamp(at), $__interval) AS time, avg(score) AS "mean confidence"
                    FROM predictions WHERE $__unixEpochFilter(at) GROUP BY 1 ORDER BY 1""",
                ),
                _record(
                    "Drift: words that no training tweet has",
                    "percentunit",
                    """SELECT $__timeGroup(to_timestamp(at), $__interval) AS time, avg(unknown_share) AS "unknown words"
                    FROM predictions WHERE $__unixEpochFilter(at) GROUP BY 1 ORDER BY 1""",
                ),
                _record(
                    "Accuracy by day, from labels of answers drawn for review",
                    "percentunit",
                    """SELECT $__timeGroup(to_timestamp(p.at), '1d') AS time, p.version AS metric,
                    sum((f.label = p.sentiment)::int / p.draw_probability) / sum(1 / p.draw_probability) AS accuracy
                    FROM predictions p JOIN feedback f ON f.prediction_id = p.id
                    WHERE $__unixEpochFilter(p.at) AND p.drawn AND p.draw_probability > 0 AND f.origin = 'review'
                    GROUP BY 1, 2 ORDER BY 1""",
                ),
                _record(
                    "Alerts, by the time they started",
                    "short",
                    """SELECT to_timestamp(started_at) AS time, rule AS metric, 1 AS firing
                    FROM alerts WHERE $__unixEpochFilter(started_at) ORDER BY 1""",
                ),
                _metrics(
                    "Rows that wait for the database",
                    "short",
                    ("max(polarity_log_unshipped_rows)", "rows"),
                    ("max(polarity_log_unshipped_seconds)", "age of the oldest, s"),
                ),
            ],
        ),
    ]


def _metrics(title: str, unit: str, *queries: tuple[str, str]) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).unit(unit).min(0).datasource(_PROMETHEUS)
    for number, (expression, legend) in enumerate(queries):
        panel = panel.with_target(
            prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        )
    return panel


def _record(title: str, unit: str, sql: str) -> timeseries.Panel:
    return timeseries.Panel().title(title).unit(unit).min(0).datasource(_RECORD).with_target(_Sql(sql))


def to_json() -> str:
    """The dashboard as Grafana reads it."""
    return json.dumps(build().build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(to_json(), encoding="utf-8")
