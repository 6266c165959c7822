"""The same tweets in every format and dialect, and damaged files: rows and quarantine add up."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import os
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polarity.config.sections import DataConfig, GateConfig, InputConfig
from polarity.data.acceptance import accept
from polarity.data.ingest import ingest
from polarity.data.sources import read_tweets
from polarity.data.stream import PROBLEM, ROW, TweetFile
from polarity.errors import DataRejected, PolarityError

FILES = int(os.environ.get("POLARITY_FUZZ_FILES", "500"))
TWO = ("negative", "positive")
THREE = ("negative", "neutral", "positive")
TEXTS = [
    "so sad, really",
    'he said "no"',
    "two\nlines",
    "d\u00e9j\u00e0 vu; again",
    "tab\there",
    "\u65e5\u672c\u8a9e \U0001f600",
    "plain",
]
TWEETS = pd.DataFrame(
    {
        "id": [str(1000 + number) for number in range(70)],
        "label": [TWO[number % 2] for number in range(70)],
        "text": [f"{TEXTS[number % 7]} {number}" for number in range(70)],
    }
)


def as_csv(frame: pd.DataFrame = TWEETS, **options: Any) -> str:
    return str(frame.to_csv(index=False, **options))


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # a fixed time, because these bytes are part of test names, which must be the same in every process
        archive.writestr(zipfile.ZipInfo("tweets.csv", (2009, 4, 6, 0, 0, 0)), content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue().to_pybytes())


def as_json(frame: pd.DataFrame = TWEETS) -> list[dict[str, str]]:
    return frame.to_dict("records")  # type: ignore[return-value]


FORMATS: dict[str, bytes] = {
    "plain.csv": as_csv().encode(),
    "quoted.csv": as_csv(quoting=csv.QUOTE_ALL).encode(),
    "crlf.csv": as_csv(lineterminator="\r\n").encode(),
    "excel.csv": codecs.BOM_UTF8 + as_csv(sep=";", lineterminator="\r\n").encode(),
    "sep.csv": b"sep=;\r\n" + as_csv(sep=";", lineterminator="\r\n").encode(),
    "bars.csv": as_csv(sep="|").encode(),
    "quoted.tsv": as_csv(sep="\t").encode(),
    "tabs.csv": as_csv(sep="\t").encode(),
    "unicode_text.txt": as_csv(sep="\t", lineterminator="\r\n").encode("utf-16"),
    "utf16_without_mark.csv": as_csv().encode("utf-16-le"),
    "blank_lines_first.csv": b"\n\r\n" + as_csv().encode(),
    "gzip.csv.gz": gzip.compress(as_csv().encode()),
    "bzip2.csv.bz2": bz2.compress(as_csv().encode()),
    "xz.csv.xz": lzma.compress(as_csv().encode()),
    "zstd.csv.zst": zstd(as_csv().encode()),
    "zip.csv.zip": zipped(as_csv().encode()),
    "lines.jsonl": "\n".join(json.dumps(tweet) for tweet in as_json()).encode(),
    "lines_of_unicode.json": "\n".join(json.dumps(tweet, ensure_ascii=False) for tweet in as_json()).encode(),
    "array.json": json.dumps(as_json()).encode(),
    "pretty_array.json": codecs.BOM_UTF8 + json.dumps(as_json(), indent=2, ensure_ascii=False).encode(),
    "lines.jsonl.gz": gzip.compress("\n".join(json.dumps(tweet) for tweet in as_json()).encode()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_tweets_are_read_from_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name])
    tweets = read_tweets(DataConfig(path=path), TWO)
    pd.testing.assert_frame_equal(
        tweets.table.to_pandas()[["id", "label", "text"]], TWEETS, check_dtype=False, check_column_type=False
    )
    assert tweets.unreadable.num_rows == 0


def test_carriage_returns_as_line_ends(tmp_path: Path) -> None:
    frame = TWEETS[~TWEETS.text.str.contains("\n")]
    path = tmp_path / "mac.csv"
    path.write_bytes(as_csv(frame, lineterminator="\r").encode())
    assert read_tweets(DataConfig(path=path), TWO).table.column("text").to_pylist() == frame.text.tolist()


def test_only_the_columns_of_a_parquet_file_that_can_be_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.Table.from_pandas(TWEETS).append_column("image", pa.array([b"\xff\x00"] * 70, pa.binary()))
    pq.write_table(table, path)
    assert read_tweets(DataConfig(path=path), TWO).table.column("text").to_pylist() == TWEETS.text.tolist()


def test_the_class_names_of_a_hugging_face_export(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    features = {"label": {"names": ["positive", "negative"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}
    table = pa.table({"label": pa.array([0, 1, None]), "text": ["good", "bad", "?"]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    assert read_tweets(DataConfig(path=path), TWO).table.column("label").to_pylist() == ["positive", "negative", None]


def test_nested_fields_of_json_have_dotted_names(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [{"tweet": {"full_text": f"t{number}"}, "judged": {"as": "neg"}, "likes": 3} for number in range(3)]
    path.write_text("\n".join(map(json.dumps, lines)) + '\nnot json\n{"tweet": {"full_text": "t9"}}\n[1]\n')
    config = DataConfig(path=path, text_column="tweet.full_text", label_column="judged.as")
    tweets = read_tweets(config, TWO)
    assert tweets.table.select(["row", "text", "label"]).to_pydict() == {
        "row": [1, 2, 3, 5],
        "text": ["t0", "t1", "t2", "t9"],
        "label": ["negative"] * 3 + [None],
    }
    assert [(entry["row"], entry["line"]) for entry in tweets.unreadable.to_pylist()] == [(4, 4), (6, 6)]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("negative,so sad\npositive,so good\n")
    with pytest.raises(DataRejected, match=r"--data\.header none"):
        read_tweets(DataConfig(path=path), TWO)
    config = DataConfig(path=path, header="none", text_column="column_2", label_column="column_1")
    assert read_tweets(config, TWO).table.column("text").to_pylist() == ["so sad", "so good"]


def test_sentiment140_saved_with_numbers_as_its_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        '0,1,2,3,4,5\n"0","1","Mon Apr 06","NO_QUERY","u","bad"\n"4","2","Mon Apr 06","NO_QUERY","u","ok"\n'
    )
    table = read_tweets(DataConfig(path=path), TWO).table
    assert (table.column("text").to_pylist(), table.column("label").to_pylist()) == (["bad", "ok"], list(TWO))


@pytest.mark.parametrize(
    ("codes", "meanings"),
    [
        ("0 4", "negative positive"),
        ("0 2 4", "negative neutral positive"),
        ("0.0 4.0", "negative positive"),
        ("0 1", "negative positive"),
        ("False True", "negative positive"),
        ("-1 1", "negative positive"),
        ("-1 0 1", "negative neutral positive"),
        ("-1.0 0.0 +1", "negative neutral positive"),
        ("0 1 2", "negative neutral positive"),
        ("1 2 3 4 5", "negative negative neutral positive positive"),
        ("1 2 4 5", "negative negative positive positive"),
        ("n\u00e9gatif Positif NEUTRE", "negative positive neutral"),
        ("negativo neutro positivo", "negative neutral positive"),
        ("Negativ Neutral Positiv", "negative neutral positive"),
        ("Extremely_Negative Neutral pos", "negative neutral positive"),
    ],
)
def test_labels_are_mapped_by_the_values_of_the_whole_column(tmp_path: Path, codes: str, meanings: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"tweet {at}, {code} \n" for at, code in enumerate(codes.split() * 20)))
    read = read_tweets(DataConfig(path=path), THREE).table.column("label").to_pylist()
    assert read == meanings.split() * 20


@pytest.mark.parametrize("codes", ["0 2", "1 2", "0", "1", "1 5 2"])
def test_ambiguous_codes_are_rejected_with_the_options(tmp_path: Path, codes: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"tweet,{code}\n" for code in codes.split() * 20))
    if codes == "1 5 2":  # only stars
        assert read_tweets(DataConfig(path=path), THREE).table.num_rows == 60
        return
    with pytest.raises(DataRejected, match=r"more than one way.*--data\.label_map .*--data\.label_map"):
        read_tweets(DataConfig(path=path), THREE)


def test_codes_that_fit_no_scheme_stay_unknown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "tweet,0\ntweet,4\ntweet,7\n" * 20)
    assert set(read_tweets(DataConfig(path=path), TWO).table.column("label").to_pylist()) == {"0", "4", "7"}


def test_rows_quarantine_and_ignored_records_add_up(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    good = [f"{TWO[number % 2]},tweet number {number}" for number in range(400)]
    lines = ["label,text", *good, "positive,one,two", "irrelevant,no", "negative,"]
    path.write_text("\n".join(lines) + "\n")
    snapshot = ingest(DataConfig(path=path, ignore_labels=("irrelevant",)), TWO, tmp_path / "snapshot")
    manifest = snapshot.manifest
    assert (manifest.rows, manifest.unreadable, manifest.ignored) == (401, 1, 1)
    acceptance = accept(snapshot, GateConfig(), tmp_path / "gate")
    assert acceptance.quarantined + acceptance.accepted.manifest.rows + manifest.ignored == 403
    set_aside = {entry["row"]: entry for entry in pq.read_table(acceptance.quarantine).to_pylist()}
    assert set(set_aside) == {401, 403}
    assert (set_aside[401]["line"], set_aside[401]["raw"]) == (402, "positive,one,two")
    assert "3 fields" in set_aside[401]["reason"]


def test_too_many_unreadable_records_are_rejected_with_the_option_that_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{TWO[number % 2]},tweet{', well, ok' * (number % 4 == 0)} {number}" for number in range(400)]
    path.write_text("\n".join(["label,text", *lines]) + "\n")
    acceptance = accept(ingest(DataConfig(path=path), TWO, tmp_path / "a"), GateConfig(), tmp_path / "gate")
    assert "100 of 400 records could not be read; the first, at line 2" in str(acceptance.refusal)
    assert "--data.quoting false" in str(acceptance.refusal)
    whole = read_tweets(DataConfig(path=path, quoting=False), TWO)
    assert (whole.table.num_rows, whole.unreadable.num_rows) == (400, 0)
    assert whole.table.column("text")[0].as_py() == "tweet, well, ok 0"


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, len(content))]


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 4)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("damage", [_cut, _flip])
def test_a_damaged_file_yields_rows_and_quarantine_or_is_rejected(
    damage: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    outcomes: Counter[str] = Counter()
    contents = {**FORMATS, "t.parquet": _parquet()}
    for seed in range(FILES // 2):
        draw = random.Random(seed)
        name = draw.choice(list(contents))
        path = tmp_path / name
        path.write_bytes(damage(contents[name], draw))
        try:
            tables = list(TweetFile(path, InputConfig()).tables())
        except PolarityError as refusal:
            outcomes["unnamed"] += name not in str(refusal)
            outcomes["refused"] += 1
            continue
        rows = [row for table in tables for row in table.column(ROW).to_pylist()]
        assert rows == list(range(1, len(rows) + 1)), f"{name}, seed {seed}"
        outcomes["set aside" if any(table.column(PROBLEM).null_count < len(table) for table in tables) else "read"] += 1
    assert outcomes.keys() >= {"read", "set aside", "refused"}, outcomes
    assert not outcomes["unnamed"], "every refusal names the file"


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(TWEETS), sink)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(b"a"), "no text column"),
        (b"PK\x03\x04 broken", "damaged or cut off"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"{\\rtf1 hello}", "RTF"),
    ],
)
def test_other_file_formats_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataRejected, match=message):
        read_tweets(DataConfig(path=path), TWO)


def test_an_archive_of_several_files_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train.csv", "test.csv"):
            archive.writestr(name, "label,text\n")
    with pytest.raises(DataRejected, match=r"2 files \(train\.csv, test\.csv\)"):
        read_tweets(DataConfig(path=path), TWO)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "labels", "rows", "unreadable"),
    [
        ("01_excel_semicolon_bom.csv", TWO, 260, 0),
        ("03b_blank_first_line_labels04.csv", TWO, 260, 0),
        ("04_unclosed_quote_to_eof.csv", TWO, 260, 0),
        ("04c_unclosed_quote_short.csv", TWO, 260, 0),
        ("06_thinknook.csv", TWO, 227, 33),
        ("08e_s140_pandas_header.csv.gz", TWO, 260, 0),
        ("09d_labels_01.csv", TWO, 260, 0),
        ("10b_minus1_0_1.csv", THREE, 270, 0),
        ("11_tweets.jsonl", TWO, 90, 0),
        ("13_mac_cr.csv", TWO, 260, 0),
        ("14c_utf16_excel.txt", TWO, 116, 0),
        ("15b_quoted_few.tsv", TWO, 260, 0),
        ("30d_bytes_column.parquet", TWO, 260, 0),
    ],
)
def test_cases_from_the_field(
    shared_data: Path, name: str, labels: tuple[str, ...], rows: int, unreadable: int
) -> None:
    path = shared_data.parent / "cases" / "data" / name
    if not path.exists():
        pytest.skip(f"{path.name} is not available")
    tweets = read_tweets(DataConfig(path=path), labels)
    assert (tweets.table.num_rows, tweets.unreadable.num_rows) == (rows, unreadable)
    assert set(tweets.table.column("label").to_pylist()) == set(labels)
