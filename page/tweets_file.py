"""A file of tweets, or a pasted list, as a table; and guesses which columns hold the texts and the dates."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import PurePath

import pandas as pd

TYPES = ["csv", "tsv", "txt", "parquet", "jsonl", "ndjson", "json"]
_TEXT_NAMES = ("text", "tweet", "full_text", "texte", "message", "content", "contenu", "body", "comment", "commentaire")
_DATE_NAMES = ("date", "created_at", "timestamp", "time", "datetime", "day", "jour", "heure")
_LABEL_NAMES = (
    "label",
    "sentiment",
    "polarity",
    "target",
    "class",
    "étiquette",
    "classe",
    "polarité",
    "airline_sentiment",
)
_GUESS_ROWS = 200


class UnreadableFile(Exception):
    """A file that is no table; the argument is the library's reason."""


def read_table(name: str, content: bytes) -> pd.DataFrame:
    """Read a file by the end of its name.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    """
    try:
        match PurePath(name).suffix.lower():
            case ".parquet":
                table = pd.read_parquet(io.BytesIO(content))
            case ".jsonl" | ".ndjson":
                table = pd.DataFrame([json.loads(line) for line in _decoded(content).splitlines() if line.strip()])
            case ".json":
                table = pd.DataFrame(json.loads(_decoded(content)))
            case ".txt":
                table = pasted_table(_decoded(content))
            case suffix:
                table = _delimited(_decoded(content), "\t" if suffix == ".tsv" else None)
    except Exception as error:  # each reader has errors of its own
        raise UnreadableFile(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    table.columns = [str(column) for column in table.columns]
    return table.reset_index(drop=True)


def pasted_table(pasted: str) -> pd.DataFrame:
    """One text a line; blank lines are left out."""
    return pd.DataFrame({"text": [line.strip() for line in pasted.splitlines() if line.strip()]}, dtype=object)


def guess_text_column(table: pd.DataFrame) -> str:
    """The column that holds the texts: by its name, or else the one with the longest values."""
    columns = [str(column) for column in table.columns]
    for name in _TEXT_NAMES:
        for column in columns:
            if column.strip().lower() == name:
                return column
    head = table.head(_GUESS_ROWS)
    return max(columns, key=lambda column: float(head[column].astype(str).str.len().mean()) if len(head) else 0.0)


def guess_label_column(table: pd.DataFrame, text_column: str) -> str:
    """The column that holds the labels: by its name, or else the one with the fewest values, but more than one."""
    columns = [str(column) for column in table.columns if column != text_column]
    for name in _LABEL_NAMES:
        for column in columns:
            if column.strip().lower() == name:
                return column
    counts = {column: table[column].astype(str).nunique() for column in columns}
    return min(columns, key=lambda column: (counts[column] < 2, counts[column]))


def guess_date_column(table: pd.DataFrame, text_column: str) -> str | None:
    """The column that holds the dates: by its name, or else one whose values nearly all are dates; None without any."""
    columns = [str(column) for column in table.columns if column != text_column]
    for name in _DATE_NAMES:
        for column in columns:
            if column.strip().lower() == name:
                return column
    head = table.head(_GUESS_ROWS)
    for column in columns:
        values = head[column]
        is_number = pd.api.types.is_numeric_dtype(values) or values.astype(str).str.fullmatch(r"[\d.,\s]*").all()
        if not is_number and len(values) and days(values).notna().mean() > 0.9:
            return column
    return None


def days(values: pd.Series) -> pd.Series:
    """The day (UTC) of each value; NaT where it is no date."""
    # Twitter's own form names zones that pandas does not know.
    plain = values if not pd.api.types.is_string_dtype(values) else values.str.replace(r" P[DS]T ", " ", regex=True)
    return pd.to_datetime(plain, errors="coerce", utc=True, format="mixed").dt.floor("D").dt.tz_localize(None)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _delimited(text: str, delimiter: str | None) -> pd.DataFrame:
    first = text[: text.find("\n")] if "\n" in text else text
    if delimiter is None:
        delimiter = max(",;\t|", key=first.count)
    fields = next(csv.reader([first], delimiter=delimiter), [])
    header = 0 if _is_header(fields) else None
    table = pd.read_csv(
        io.StringIO(text), sep=delimiter, header=header, dtype=object, keep_default_na=False, on_bad_lines="skip"
    )
    if header is None:
        table.columns = [f"column {number}" for number in range(1, len(table.columns) + 1)]
    return table


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: none is a number, long, or twice there."""
    names = [field.strip() for field in fields]
    known = {*_TEXT_NAMES, *_DATE_NAMES}
    if any(name.lower() in known for name in names):
        return True
    return all(name and len(name) <= 40 and not name.replace(".", "").isdigit() for name in names) and len(
        set(names)
    ) == len(names)
