from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from polarity.config.sections import DataConfig, InputConfig
from polarity.data import compression
from polarity.data.sources import read_tweets
from polarity.data.stream import TweetFile
from polarity.errors import DataRejected


def rows(path: Path, *columns: str, **options: object) -> pd.DataFrame:
    file = TweetFile(path, InputConfig.model_validate(options))
    return pd.concat([table.to_pandas() for table in file.tables(*(columns or file.columns))], ignore_index=True)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_a_streamed_file_has_the_same_rows_as_a_whole_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with irregular rows: at the beginning, consecutively, and at the end."""
    monkeypatch.setattr(compression, "_BLOCK_BYTES", 700)
    tabs = "tsv" in name
    separator = "\t" if tabs else ","
    irregular = {1, 2, 50, 51, 52, 399, 400}
    lines = [separator.join(["id", "label", "text"])]
    for number in range(1, 401):
        text = f"tweet {number}" if tabs else f'"tweet\n{number}"'
        lines.append(separator.join([str(number), "4", text, *(["more"] if number in irregular else [])]))
    content = ("\n".join(lines) + "\n").encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)

    streamed = rows(path)
    whole = read_tweets(DataConfig(path=path), ("negative", "positive")).table.to_pandas()
    assert streamed["row"].tolist() == list(range(1, 401))
    readable = streamed[streamed["_problem"].isna()]
    assert readable["text"].tolist() == whole["text"].tolist()
    assert readable["id"].tolist() == whole["id"].tolist()
    unread = set(streamed.loc[streamed["_problem"].notna(), "row"])
    assert unread == (set() if tabs else irregular)
    assert tabs or streamed["_problem"].dropna().unique().tolist() == ["the row has 4 fields, the header 3"]


def test_a_file_with_only_irregular_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text\n" + "1,a,b\n" * 3)
    assert rows(path)["row"].tolist() == [1, 2, 3]


def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text\n")
    assert sum(table.num_rows for table in TweetFile(path, InputConfig()).tables("text")) == 0


def test_sentiment140_and_its_encoding_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    row = '"0","1467810369","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","joe","caf\u00e9"\n'
    path.write_bytes(row.encode("iso-8859-1") * 3)
    assert rows(path, "text", "id")["text"].tolist() == ["caf\u00e9"] * 3


def test_parquet_of_many_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"tweet": [f"tweet {i}" for i in range(500)], "row": range(500), "tags": [[1]] * 500})
    frame.to_parquet(path, row_group_size=70)
    assert TweetFile(path, InputConfig()).columns == ("tweet", "row_")
    read = rows(path, "tweet", "row_")
    assert read["row"].tolist() == list(range(1, 501))
    assert read["row_"].tolist() == [str(i) for i in range(500)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv.gz", gzip.compress(b"text\n" + b"good\n" * 400, mtime=0)[:-12], "damaged or cut off"),
        ("t.parquet", b"PAR1" + bytes(500), "Parquet file is damaged"),
        ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), "binary file"),
    ],
)
def test_an_unreadable_file_is_rejected_with_the_reason(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataRejected, match=message):
        rows(tmp_path / name)
