"""Delimited text from various writers, and damaged text: no record is lost, changed or merged with a different one."""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Sequence

import pandas as pd
import pytest

from polarity.data.records import Block, Layout, Profile, RecordReader, split_records

FILES = int(os.environ.get("POLARITY_FUZZ_FILES", "500"))
HEADER = ("id", "label", "text")
ALPHABET = [*"abx1é😀 ,;\t\n\r'\"\x00\u2028\x85", "\r\n", '""']


def read(text: str, *, separator: str = ",", quoting: bool = True, block: int = 2**22) -> list[Block]:
    first, _, rest = text.partition("\n")
    layout = Layout(tuple(first.rstrip("\r").replace('"', "").split(separator)), separator, quoting)
    profile = Profile.of(split_records(rest, separator, len(layout.header)))
    data = rest.encode()
    pieces = [data[start : start + block] for start in range(0, len(data), block)]
    return list(RecordReader(layout, profile, first_line=2).read(pieces))


def rows_of(blocks: Sequence[Block]) -> list[list[str]]:
    return [list(row) for block in blocks for row in zip(*(column.to_pylist() for column in block.table), strict=True)]


def test_the_output_of_csv_writers_is_read_back_unchanged() -> None:
    for seed in range(FILES):
        draw = random.Random(seed)
        separator = draw.choice(",;\t")
        end = draw.choice(["\n", "\r\n"])
        records = [
            [
                str(draw.randrange(10**6)),
                draw.choice(["negative", "positive"]),
                "".join(draw.choices(ALPHABET, k=draw.randrange(14))) + draw.choice(["", "end"]),
            ]
            for _ in range(draw.randrange(1, 30))
        ]
        if end == "\n":
            # Python's writer does not quote a field for a carriage return, which then belongs to the line end
            records = [[*others, text.rstrip("\r")] for *others, text in records]
        buffer = io.StringIO()
        quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting).writerows([HEADER, *records])
        blocks = read(buffer.getvalue(), separator=separator, block=draw.choice([7, 50, 2**20]))
        assert rows_of(blocks) == records, f"seed {seed}"
        assert not any(block.unreadable for block in blocks), f"seed {seed}"
        assert [row for block in blocks for row in block.rows] == list(range(1, len(records) + 1)), f"seed {seed}"


def test_the_output_of_pandas_is_read_back_unchanged() -> None:
    draw = random.Random(5)
    texts = ["".join(draw.choices(ALPHABET, k=12)) + "." for _ in range(400)]
    frame = pd.DataFrame({"id": range(400), "label": "positive", "text": texts})
    blocks = read(frame.to_csv(index=False), block=1000)
    assert [row[2] for row in rows_of(blocks)] == texts


def test_a_stray_quote_swallows_no_other_record() -> None:
    """Wherever it is, and wherever a second one closes it."""
    for seed in range(max(20, FILES // 5)):
        draw = random.Random(seed)
        lines = [f"{1000 + number},{draw.choice(['neg', 'pos'])},tweet number {number}" for number in range(60)]
        for place in draw.sample(range(60), draw.randrange(1, 5)):
            number, label, text = lines[place].split(",")
            lines[place] = f"{number},{label}," + draw.choice(
                ['"{}', '{}"', '"{}" he said', 'he said "{}"', '""{}']
            ).format(text)
        blocks = read("\n".join(["id,label,text", *lines]) + "\n", block=draw.choice([64, 2**20]))
        assert [row[0] for row in rows_of(blocks)] == [str(1000 + number) for number in range(60)], f"seed {seed}"


def test_a_record_with_too_many_fields_is_set_aside_with_its_line() -> None:
    text = 'id,label,text\n1,neg,"two\nlines"\n2,pos,one,two\n\n3,pos,fine\n'
    (block,) = read(text)
    assert rows_of([block]) == [["1", "neg", "two\nlines"], ["3", "pos", "fine"]]
    assert (block.rows.tolist(), block.lines.tolist()) == ([1, 3], [2, 6])
    (unreadable,) = block.unreadable
    assert (unreadable.row, unreadable.line, unreadable.raw) == (2, 4, "2,pos,one,two")
    assert unreadable.reason == "the row has 4 fields, the header 3"


def test_without_quoting_extra_separators_belong_to_the_last_field() -> None:
    (block,) = read('id\tlabel\ttext\n1\tneg\t"a\tb\n2\tpos\tc\r\n3\tpos\n', separator="\t", quoting=False)
    assert rows_of([block]) == [["1", "neg", '"a\tb'], ["2", "pos", "c"]]
    assert [(entry.row, entry.raw) for entry in block.unreadable] == [(3, "3\tpos")]


def test_in_a_single_column_separators_are_text() -> None:
    (block,) = read("text\nwell, ok\nfine\n")
    assert rows_of([block]) == [["well, ok"], ["fine"]]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_file_that_ends_inside_quotes_keeps_its_last_line(end: str) -> None:
    blocks = read('id,label,text\n1,neg,a\n2,pos,b\n3,neg,c\n4,pos,"never closed' + end)
    assert rows_of(blocks)[-1] == ["4", "pos", '"never closed']
