"""The queries of the Grafana dashboard against the record in PostgreSQL."""

from __future__ import annotations

import json
import re

import psycopg2
import pytest

from ops.grafana.dashboard import FILE
from polarity.record.migration import migrate
from polarity.record.shipper import database_engine
from tests.integration.servers import Postgres

# What Grafana makes of its macros, for one interval that holds everything.
_MACROS = (
    (r"\$__timeGroup\((to_timestamp\([\w.]+\)), [^)]*\)", r"date_trunc('day', \1)"),
    (r"\$__unixEpochFilter\(([\w.]+)\)", r"\1 > 0"),
)


def test_queries_of_the_record_give_shares_by_time() -> None:
    panels = {panel["title"]: panel for panel in json.loads(FILE.read_text())["panels"] if panel["type"] != "row"}
    server = Postgres()
    server.start()
    try:
        engine = database_engine(server.url("mlflow", "+psycopg2"))
        migrate(engine)
        engine.dispose()
        with psycopg2.connect(server.url("mlflow")) as connection, connection.cursor() as cursor:
            for name, label, probability in (("a", "negative", 0.5), ("b", "positive", 1.0), ("c", None, 1.0)):
                cursor.execute(
                    "INSERT INTO predictions (id, at, characters, sentiment, score, probabilities, family, version, "
                    "bento, unknown_share, draw_probability, drawn) "
                    "VALUES (%s, 86400, 3, 'negative', 0.75, '{}', 'logistic', '3', 'sentiment:3', 0.5, %s, true)",
                    (name, probability),
                )
                if label:
                    cursor.execute("INSERT INTO feedback VALUES (%s, %s, 90000, 'review')", (name, label))
            results = {}
            for title, panel in panels.items():
                for target in panel["targets"]:
                    if sql := target.get("rawSql"):
                        for macro, replacement in _MACROS:
                            sql = re.sub(macro, replacement, sql)
                        assert "$__" not in sql
                        cursor.execute(sql)
                        assert cursor.description is not None and cursor.description[0].name == "time"
                        results[title] = [row[-1] for row in cursor.fetchall()]
        connection.close()
    finally:
        server.remove()
    assert results["Confidence"] == [0.75]
    assert results["Drift: words that no training tweet has"] == [0.5]
    # The right answer stands for two, the wrong one for itself.
    assert results["Accuracy by day, from labels of answers drawn for review"] == pytest.approx([2 / 3])
