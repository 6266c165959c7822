"""Excel workbooks: the same tweets as in a text file, or a message."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from polarity.config.sections import DataConfig, InputConfig
from polarity.data.sources import read_tweets
from polarity.data.stream import TweetFile
from polarity.errors import DataRejected

LABELS = ("negative", "positive")
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
Cell = str | int | float | bool | None
DATE = "date:"


def write_workbook(path: Path, **sheets: list[list[Cell]]) -> Path:
    """Write a workbook as Excel lays it out; a text that begins with `date:` becomes a date cell of that serial day."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        numbers = range(1, len(sheets) + 1)
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kind}.worksheet+xml"/>' for n in numbers
        )
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{kind}.styles+xml"/>{parts}</Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Type="{RELATIONS}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        listed = "".join(
            f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"/>' for n, name in zip(numbers, sheets, strict=True)
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>',
        )
        targets = "".join(
            f'<Relationship Id="r{n}" Type="{RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{targets}'
            f'<Relationship Id="rs" Type="{RELATIONS}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{NAMESPACE}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
            "</styleSheet>",
        )
        for number, rows in zip(numbers, sheets.values(), strict=True):
            body = "".join(
                f'<row r="{place}">'
                + "".join(_cell(cell, f"{chr(65 + column)}{place}") for column, cell in enumerate(row))
                + "</row>"
                for place, row in enumerate(rows, 1)
            )
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f'<worksheet xmlns="{NAMESPACE}"><sheetData>{body}</sheetData></worksheet>',
            )
    return path


def _cell(value: Cell, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str) and value.startswith(DATE):
        return f'<c r="{place}" s="1"><v>{value.removeprefix(DATE)}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


ROWS: list[list[Cell]] = [
    ["id", "label", "text", "date"],
    [1234567890123, 4, 'so "good", <b>\nreally</b> 😀', "date:45000.5"],
    [2, 0.0, "  so sad  ", None],
    [],
    [3, None, "no label", None],
    [4, 4],
]


def test_a_workbook_is_read_as_a_text_file_is(tmp_path: Path) -> None:
    # Its content says what it is, not its name.
    path = write_workbook(tmp_path / "tweets.csv", Tweets=ROWS, Empty=[])
    tweets = read_tweets(DataConfig(path=path), LABELS).table.to_pylist()
    assert [(row["row"], row["id"], row["label"], row["text"]) for row in tweets] == [
        (1, "1234567890123", "positive", 'so "good", <b>\nreally</b> 😀'),
        (2, "2", "negative", "  so sad  "),
        (3, "3", None, "no label"),
        (4, "4", "positive", None),
    ]
    assert tweets[0]["date"] == "2023-03-15T12:00:00"
    assert TweetFile(path, InputConfig()).description == "Excel, sheet 'Tweets'"


def test_a_sheet_without_a_header(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "tweets.xlsx", Sheet1=[["so good", True], ["so sad", False]])
    config = DataConfig(path=path, header="none", text_column="column_1", label_column="column_2")
    assert read_tweets(config, LABELS).table.column("label").to_pylist() == ["positive", "negative"]


def test_of_several_sheets_none_is_chosen_in_silence(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "tweets.xlsx", May=ROWS, June=ROWS)
    with pytest.raises(DataRejected, match=r"has 2 sheets with rows \(May, June\); save the right one"):
        TweetFile(path, InputConfig())


def test_a_workbook_without_rows_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match="has no rows"):
        TweetFile(write_workbook(tmp_path / "a.xlsx", Sheet1=[]), InputConfig())
    with pytest.raises(DataRejected, match="the column 'text' occurs twice"):
        TweetFile(write_workbook(tmp_path / "b.xlsx", Sheet1=[["text", "text"], ["a", "b"]]), InputConfig())


def test_a_damaged_workbook_is_refused_in_words(tmp_path: Path) -> None:
    """Any byte flipped: rows or a message, never a traceback."""
    content = write_workbook(tmp_path / "whole.xlsx", Sheet1=ROWS).read_bytes()
    path = tmp_path / "damaged.xlsx"
    messages = []
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            file = TweetFile(path, InputConfig())
            list(file.tables(*file.columns))
        except DataRejected as error:
            messages.append(str(error))
    assert len(messages) > 50 and all(str(path) in message for message in messages)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataRejected):
        TweetFile(path, InputConfig())
