from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from polarity.config.sections import DataConfig
from polarity.data.ingest import ingest
from polarity.data.sources import read_tweets
from polarity.errors import ConfigurationError, DataRejected, PolarityError

TWO = ("negative", "positive")
THREE = ("negative", "neutral", "positive")


def read(path: Path, labels: tuple[str, ...] = TWO, **options: object) -> pd.DataFrame:
    return read_tweets(DataConfig.model_validate({"path": path, **options}), labels).table.to_pandas()


def test_a_plain_csv_keeps_its_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('sentiment,Tweet,lang\nneg,"so, sad",en\nPositive,good,de\n')
    frame = read(path)
    assert frame[["row", "text", "label", "lang"]].to_numpy().tolist() == [
        [1, "so, sad", "negative", "en"],
        [2, "good", "positive", "de"],
    ]


def test_gzip_is_detected_from_the_content_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(b"label,text\n0,bad\n4,good\n"))
    assert read(path)["label"].tolist() == ["negative", "positive"]


def test_sentiment140_in_its_original_format(tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    rows = '"0","1467810369","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","joe","caf\u00e9, ""hm"""\n' * 2
    path.write_bytes(rows.encode("iso-8859-1"))
    frame = read(path)
    assert frame["text"].tolist() == ['caf\u00e9, "hm"'] * 2
    assert frame["label"].tolist() == ["negative"] * 2
    assert {"id", "date", "user"} <= set(frame.columns)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"target": [0, 4], "text": ["bad", None]}).to_parquet(path)
    frame = read(path)
    assert frame["label"].tolist() == ["negative", "positive"]
    assert frame["text"].isna().tolist() == [False, True]


def test_without_quoting_an_extra_tab_belongs_to_the_last_column(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('id\tlabel\ttext\n1\tneutral\t"stray quote\n2\tpositive\ta tab\there\n3\tnegative\tplain\n')
    frame = read(path, THREE)
    assert frame["text"].tolist() == ['"stray quote', "a tab\there", "plain"]
    assert frame["row"].tolist() == [1, 2, 3]


def test_a_row_with_too_many_fields_is_returned_with_its_line_and_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("label,text\nneg,one\nneg,two,three\npos,four\n")
    tweets = read_tweets(DataConfig(path=path), TWO)
    assert tweets.table.column("row").to_pylist() == [1, 3]
    assert tweets.unreadable.to_pylist() == [
        {"row": 2, "line": 3, "raw": "neg,two,three", "reason": "the row has 3 fields, the header 2"}
    ]


def test_mapping_ignoring_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("stars;review\n" + "1;bad\n5;good\nx;skip me\n" * 50)
    frame = read(
        path,
        separator=";",
        text_column="review",
        label_column="stars",
        label_map={"1": "negative", "5": "positive"},
        ignore_labels=("X",),
        limit=30,
    )
    assert set(frame["label"]) == set(TWO)
    assert len(frame) <= 30
    assert frame["row"].is_monotonic_increasing


PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 200


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "t.csv", "is empty"),
        (b"\n\n", "t.csv", "is empty"),
        (b"sep=;", "t.csv", "is empty"),
        (b"label,text\n", "t.csv", "no row"),
        (b"label,words\n0,hello\n", "t.csv", "no text column"),
        (b"text,mood\nhello,3\n", "t.csv", "no label column"),
        (b"text,text\na,b\n", "t.csv", "occurs twice"),
        (PNG, "t.csv", "binary file"),
        (gzip.compress(b"label,text\n" + b"0,hello\n" * 5000, mtime=0)[:60], "t.csv.gz", "damaged or cut off"),
        (b"label,text\n0,a\x00b\n", "t.csv", "binary file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n", "t.csv", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><title>Log in</title></html>", "t.csv", "web page"),
        (b"%PDF-1.7\n%\xe2\xe3", "t.csv", "PDF"),
        (b"0,1\nhello,3\n", "t.csv", "--data.header none"),
        (b"PAR1 and then nothing", "t.parquet", "Parquet file is damaged"),
    ],
)
def test_a_file_that_is_not_a_table_is_rejected_with_its_name_and_the_remedy(
    tmp_path: Path, content: bytes, name: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataRejected, match=message) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "--data.path"),
        ({"path": Path("/nowhere/t.csv")}, "does not exist"),
        ({"text_column": "txt"}, "Did you mean 'text'"),
        ({"encoding": "klingon"}, "klingon"),
        ({"separator": "::"}, "one character"),
        ({"label_map": {"0": "negative", "4": "happy"}}, "happy"),
    ],
)
def test_an_invalid_option_is_named(write_csv: Callable[..., Path], options: dict[str, object], message: str) -> None:
    path = write_csv([("0", "bad"), ("4", "good")])
    with pytest.raises(PolarityError, match=message):
        read(options.pop("path", path), **options)  # type: ignore[arg-type]


def test_utf16_is_read_if_it_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("label,text\n0,hello\n4,caf\u00e9\n".encode("utf-16"))
    assert read(path, encoding="utf-16")["text"].tolist() == ["hello", "caf\u00e9"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
def test_the_encoding_is_detected_from_the_content(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    text = "label,text\n" + "0,hello\n4,caf\u00e9 \u2013 d\u00e9j\u00e0 vu\n" * 30
    path.write_bytes(text.encode(encoding))
    assert read(path)["text"].tolist() == ["hello", "caf\u00e9 \u2013 d\u00e9j\u00e0 vu"] * 30


def test_a_damaged_line_of_utf8_is_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("label,text\n0,caf\u00e9\n4,caf\u00e9\n".encode() + b"0,caf\xe9\n")
    tweets = read_tweets(DataConfig(path=path), TWO)
    assert tweets.table.num_rows == 2
    (unreadable,) = tweets.unreadable.to_pylist()
    assert (unreadable["row"], unreadable["line"], unreadable["raw"]) == (3, 4, "0,caf\\xe9")
    assert "not valid UTF-8" in unreadable["reason"]


def test_a_column_with_a_reserved_name_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("row,key,label,text\n9,k,neg,hello\n")
    frame = read(path)
    assert frame["row"].tolist() == [1]
    assert frame["row_"].tolist() == ["9"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "labels", "options", "rows", "unreadable"),
    [
        ("sentiment140_sample.csv.gz", TWO, {}, 105_891, 0),
        # ten rows have a date beyond the header's columns
        ("semeval2017_task4a_dev.tsv.gz", THREE, {}, 50_324, 10),
        ("sanders_full_corpus.csv.gz", THREE, {"ignore_labels": ("irrelevant",)}, 3_428, 0),
        ("kaggle_tweet_sentiment_extraction_test.csv", THREE, {}, 4_795, 0),
    ],
)
def test_real_files_are_read_completely(
    shared_data: Path, name: str, labels: tuple[str, ...], options: dict[str, object], rows: int, unreadable: int
) -> None:
    tweets = read_tweets(DataConfig.model_validate({"path": shared_data / name, **options}), labels)
    assert (tweets.table.num_rows, tweets.unreadable.num_rows) == (rows, unreadable)
    assert len(set(tweets.table.column("row").to_pylist())) == rows
    assert set(tweets.table.column("label").to_pylist()) - {None} == set(labels)


@pytest.mark.realdata
def test_the_encoding_of_a_real_file_is_detected(shared_data: Path) -> None:
    path = shared_data / "kaggle_tweet_sentiment_extraction_test.csv"
    assert read(path, THREE).equals(read(path, THREE, encoding="cp1252"))


def test_configuration_errors_are_not_data_errors() -> None:
    with pytest.raises(ConfigurationError):
        read_tweets(DataConfig(), TWO)


def test_a_folder_is_read_file_by_file_and_its_records_keep_file_and_line(tmp_path: Path) -> None:
    """Whatever the order of writing, the formats and the names of the columns; the judgement of labels is one."""
    folder = tmp_path / "tweets 100%"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.csv").write_text("text,label\ngood day,4\ntoo,many,fields\nbad day,0\n")
    (folder / "deeper" / "c.jsonl.gz").write_bytes(gzip.compress(b'{"tweet": "so so", "sentiment": 2, "file": "x"}\n'))
    (folder / "a.tsv").write_text("label\ttweet\n0\tsad night\n")
    (folder / "d.csv").write_text("text,label\n")
    (folder / ".hidden.csv").write_text("nothing")
    read = read_tweets(DataConfig(path=folder), ("negative", "neutral", "positive"))
    assert read.table.select(["row", "text", "label", "file", "file_row", "file_"]).to_pylist() == [
        {"row": row, "text": text, "label": label, "file": file, "file_row": file_row, "file_": own}
        for row, text, label, file, file_row, own in [
            (1, "sad night", "negative", "a.tsv", 1, None),
            (2, "good day", "positive", "b.csv", 1, None),
            (4, "bad day", "negative", "b.csv", 3, None),
            (5, "so so", "neutral", "deeper/c.jsonl.gz", 1, "x"),
        ]
    ]
    (unreadable,) = read.unreadable.to_pylist()
    assert unreadable["raw"] == "too,many,fields"
    assert (unreadable["row"], unreadable["line"], unreadable["file"], unreadable["file_row"]) == (3, 3, "b.csv", 2)


def test_the_snapshot_of_a_folder_keeps_where_its_unreadable_records_are(tmp_path: Path) -> None:
    (tmp_path / "tweets").mkdir()
    (tmp_path / "tweets" / "a.csv").write_text("text,label\ngood,4\nbad,0\nx,y,z\n")
    snapshot = ingest(DataConfig(path=tmp_path / "tweets"), ("negative", "positive"), tmp_path / "snapshot")
    (unreadable,) = snapshot.read_unreadable().to_pylist()
    assert (unreadable["file"], unreadable["line"], unreadable["file_row"]) == ("a.csv", 4, 3)


def test_a_folder_without_a_file_to_read_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text,label\n")
    with pytest.raises(ConfigurationError, match="contains no file ending in"):
        read_tweets(DataConfig(path=tmp_path), ("negative", "positive"))
