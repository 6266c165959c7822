"""Files that people have are read as tables, and their columns guessed."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from page.tweets_file import (
    UnreadableFile,
    days,
    guess_date_column,
    guess_label_column,
    guess_text_column,
    pasted_table,
    read_table,
)

TABLE = pd.DataFrame(
    {"id": ["1", "2"], "created_at": ["2026-10-01", "2026-10-02"], "tweet": ["so good", "so, bad"], "mood": ["+", "-"]}
)


def parquet() -> bytes:
    written = io.BytesIO()
    TABLE.to_parquet(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE.to_csv(index=False).encode()),
        ("a.CSV", TABLE.to_csv(index=False, sep=";").encode("utf-8-sig")),
        ("a.tsv", TABLE.to_csv(index=False, sep="\t").encode()),
        ("a.jsonl", TABLE.to_json(orient="records", lines=True).encode()),
        ("a.json", TABLE.to_json(orient="records").encode()),
        ("a.parquet", parquet()),
    ],
)
def test_a_table_is_read_from_any_format(name: str, content: bytes) -> None:
    table = read_table(name, content)
    assert table["tweet"].tolist() == ["so good", "so, bad"]
    assert guess_text_column(table) == "tweet"
    assert guess_date_column(table, "tweet") == "created_at"
    assert guess_label_column(table, "tweet") in ("id", "created_at", "mood")


def test_a_label_column_is_found_by_its_name_or_its_few_values() -> None:
    table = pd.DataFrame({"t": list("abcd"), "user": list("wxyz"), "lang": ["en"] * 4, "mood": ["+", "-", "+", "-"]})
    assert guess_label_column(table, "t") == "mood"
    assert guess_label_column(table.rename(columns={"user": "Sentiment"}), "t") == "Sentiment"


def test_a_file_without_a_header_keeps_its_first_line() -> None:
    table = read_table("a.csv", b'0,"1467810369","I am so, so tired"\n4,"1467810370","what a day"\n')
    assert len(table) == 2 and guess_text_column(table) == "column 3"


def test_windows_files_and_plain_text_are_read() -> None:
    assert read_table("a.csv", "text\ncaf\xe9\n".encode("cp1252"))["text"].tolist() == ["café"]
    assert read_table("a.txt", b"one\n\n two \n")["text"].tolist() == ["one", "two"]
    assert pasted_table("").empty


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"no"), ("a.json", b"{"), ("a.csv", b"")])
def test_what_is_no_table_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        read_table(name, content)


def test_dates_of_many_forms_are_days() -> None:
    given = pd.Series(["Mon Apr 06 22:19:45 PDT 2009", "2026-10-01T23:30:00+02:00", "not a date"])
    assert days(given).dt.strftime("%Y-%m-%d").tolist()[:2] == ["2009-04-06", "2026-10-01"]
    assert days(given).isna().tolist() == [False, False, True]
