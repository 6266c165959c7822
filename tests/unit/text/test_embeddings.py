from __future__ import annotations

import gzip
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polarity.config.command_line import configure
from polarity.errors import ConfigurationError, DataRejected
from polarity.families.registry import family_of
from polarity.pipeline.config import TrainConfig
from polarity.text.embeddings import check_vectors, read_vectors

LINES = b"the 0.1 -0.2 3e-2\n<user> 1 2 3\ncaf\xc3\xa9 4 5 6\n. . . 7 8 9\n"


def plain(folder: Path, content: bytes) -> Path:
    path = folder / "vectors.txt"
    path.write_bytes(content)
    return path


def gzipped(folder: Path, content: bytes) -> Path:
    path = folder / "vectors.txt.gz"
    path.write_bytes(gzip.compress(content))
    return path


def zipped(folder: Path, content: bytes) -> Path:
    path = folder / "vectors.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vectors.txt", content)
    return path


@pytest.mark.parametrize("container", [plain, gzipped, zipped])
def test_only_the_requested_words_are_kept_in_any_container(tmp_path: Path, container) -> None:
    vectors = read_vectors(container(tmp_path, LINES), {"the", "café", "absent", ". . ."})
    assert set(vectors.words) == {"the", "café", ". . ."}
    assert vectors.size == 3
    np.testing.assert_allclose(vectors.matrix[vectors.words["the"]], [0.1, -0.2, 0.03])
    np.testing.assert_allclose(vectors.matrix[vectors.words[". . ."]], [7, 8, 9])


def test_word2vec_headers_and_windows_line_endings_are_accepted(tmp_path: Path) -> None:
    path = plain(tmp_path, b"2 3\r\nthe 1 2 3\r\na 4 5 6\r\n")
    assert check_vectors(path).size == 3
    assert set(read_vectors(path, {"the", "a", "2"}).words) == {"the", "a"}


def test_a_file_without_any_requested_word_is_not_an_error(tmp_path: Path) -> None:
    vectors = read_vectors(plain(tmp_path, LINES), {"nothing"})
    assert vectors.matrix.shape == (0, 3)


def test_a_file_in_a_zip_is_selected_by_its_path_inside(tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small.txt", "the 1 2\n")
        archive.writestr("large.txt", "the 1 2 3 4\n")
    assert check_vectors(path / "large.txt").size == 4
    with pytest.raises(ConfigurationError, match=r"contains 2 files; name one of them: .*small\.txt.*large\.txt"):
        check_vectors(path)
    with pytest.raises(ConfigurationError, match=r"contains no 'other\.txt'"):
        check_vectors(path / "other.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2 3\na 1 2 3\nof 1 2\n", "line 3: found 2 numbers after the word, expected 3"),
        (b"the 1 2 3\nof 1 2 3 4\n", "line 2: found 4 numbers after the word, expected 3"),
        (b"the 1 2 3\n\nof 1 2 3\n", "line 2: found 0 numbers"),
        (b"", "contains no vectors"),
        (b"label,text\n0,hello\n", "line 1: .* is not a word and its numbers"),
        (b"\x89PNG\r\n\x1a\n", "line 1: .* is not a word and its numbers"),
    ],
)
@pytest.mark.parametrize("read", [check_vectors, lambda path: read_vectors(path, {"the"})])
def test_a_file_that_is_not_in_glove_format_is_rejected_with_the_line(
    tmp_path: Path, content: bytes, message: str, read
) -> None:
    path = plain(tmp_path, content)
    with pytest.raises(DataRejected, match=message) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("read", [check_vectors, lambda path: read_vectors(path, {"a"})])
def test_a_field_that_is_not_a_number_is_quoted(tmp_path: Path, read) -> None:
    with pytest.raises(DataRejected, match=r"line 2: 'x' is not a number; expected a word and 3 numbers"):
        read(plain(tmp_path, b"the 1 2 3\na 1 x 3\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.txt' do not exist"):
        check_vectors(tmp_path / "absent.txt")


@pytest.mark.parametrize("container", [gzipped, zipped])
def test_a_truncated_download_is_rejected(tmp_path: Path, container) -> None:
    path = container(tmp_path, b"".join(b"word%d 0.%d 0.5\n" % (n, n) for n in range(5000)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataRejected, match="Download it again"):
        check_vectors(path)


def many(count: int, *, size: int = 3) -> list[bytes]:
    """Lines of vectors: word1 to word<count>."""
    return [b"word%d " % n + b" ".join(b"%d.5" % (n + i) for i in range(size)) for n in range(1, count + 1)]


def file_of(folder: Path, lines: list[bytes]) -> Path:
    return plain(folder, b"\n".join(lines) + b"\n")


@pytest.mark.parametrize(
    "value",
    ["nan", "NaN", "-nan", "+NAN", "inf", "-Inf", "Infinity", "1e999", "1e39", "-1e39", "1.#QNAN", "-1.#IND", "1.#INF",
     "NA", "N/A", "#N/A", "null", "NULL", "nan(ind)"],
)  # fmt: skip
@pytest.mark.parametrize("header", [[], [b"11 3"]])
@pytest.mark.parametrize("read", [check_vectors, lambda path: read_vectors(path, {"bad"})])
def test_a_non_finite_value_is_rejected_with_its_line(tmp_path: Path, value: str, header, read) -> None:
    path = file_of(tmp_path, [*header, *many(10), f"bad 1 {value} 3".encode(), *many(2000)])
    with pytest.raises(DataRejected) as refusal:
        read(path)
    assert f"'{path}', line {11 + len(header)}: {value} is not a finite number" in str(refusal.value)


def test_a_number_too_large_for_float32_is_rejected_if_its_word_is_requested(tmp_path: Path) -> None:
    path = file_of(tmp_path, [*many(10), b"bad 1 " + b"9" * 60 + b" 3"])
    with pytest.raises(DataRejected, match="line 11: inf is not a finite number"):
        read_vectors(path, {"word1", "bad"})


def test_words_that_look_like_numbers_are_words(tmp_path: Path) -> None:
    path = file_of(tmp_path, [b"nan 1 2 3", b"inf 4 5 6", b"2 7 8 9", b"1e5 1e-3 2e-3 -3E+1"])
    vectors = read_vectors(path, {"nan", "inf", "2", "1e5"})
    assert list(vectors.words) == ["nan", "inf", "2", "1e5"]
    np.testing.assert_allclose(vectors.matrix[3], [0.001, 0.002, -30], rtol=1e-6)
    assert check_vectors(path).remarks == []


def test_a_word_that_ends_in_a_number_is_read_and_reported(tmp_path: Path) -> None:
    path = file_of(tmp_path, [b"at 10 1 2 3", *many(20), b"R$ 0,00 4 5 6", b". . . 7 8 9", b"at 10 11 1 2 3"])
    vectors = read_vectors(path, {"at", "at 10", "R$ 0,00", ". . .", "at 10 11", "word7"})
    assert set(vectors.words) == {"at 10", "R$ 0,00", ". . .", "at 10 11", "word7"}
    np.testing.assert_allclose(vectors.matrix[vectors.words["at 10"]], [1, 2, 3])
    checked = check_vectors(path)
    assert checked.size == 3
    assert len(checked.remarks) == 1
    assert "2 lines (line 1, 24)" in checked.remarks[0]


def test_the_header_determines_the_size(tmp_path: Path) -> None:
    lines = [b"R$ 1 1 2 3", b"at 2 4 5 6", *many(18)]
    assert check_vectors(file_of(tmp_path, [b"20 3", *lines])).size == 3
    with pytest.raises(DataRejected, match="line 2: found 4 numbers after the word, expected 5 as in the first line"):
        check_vectors(file_of(tmp_path, [b"20 5", *lines]))
    with pytest.raises(DataRejected, match="line 2: found 4 numbers after the word, expected 2 as in the first line"):
        check_vectors(file_of(tmp_path, [b"20 2", *lines]))


def test_a_few_deviating_lines_are_skipped_and_listed(tmp_path: Path) -> None:
    odd = {5: b"of 1 2", 60: b"", 61: b"a 1 x 3", 400: b"hello", 401: b"z 1.2.3 1 ?", 900: b"of 1 2"}
    lines = many(1000)
    for number, line in odd.items():
        lines[number - 1] = line
    path = file_of(tmp_path, lines)
    (remark,) = check_vectors(path).remarks
    assert f"'{path}': skipped 6 lines (line 5, 60, 61, 400, 401, ...)" in remark
    assert set(read_vectors(path, {"of", "a", "z", "word6"}).words) == {"word6"}


@pytest.mark.parametrize(
    ("line", "share", "message"),
    [
        (b"of 1 2", 0.011, "line 1: found 2 numbers after the word, expected 3 as on most lines"),
        (b"of 1 2 3 4", 0.11, "line 1: found 4 numbers after the word, expected 3 as on most lines"),
    ],
)
def test_too_many_deviating_lines_reject_the_file(tmp_path: Path, line: bytes, share, message) -> None:
    count = round(1000 * share)
    ends = [line, *many(1000 - count), *[line] * (count - 1)]
    with pytest.raises(DataRejected, match=message) as refusal:
        check_vectors(file_of(tmp_path, ends))
    assert f"{count} of 1,000 lines" in str(refusal.value)
    check_vectors(file_of(tmp_path, [*ends[:-1], *many(count * 9)]))


def test_a_file_of_a_different_format_is_rejected_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polarity.text.embeddings.SAMPLE_LINES", 20)
    path = file_of(tmp_path, [*many(5), *[b"a,line,of,a,table"] * 100_000])
    with pytest.raises(DataRejected, match=r"line 6: .*11 of 16 lines"):
        check_vectors(path)


@pytest.mark.parametrize("container", [plain, gzipped, zipped])
def test_a_file_cut_off_in_its_last_line_is_read_up_to_that_line(tmp_path: Path, container) -> None:
    path = container(tmp_path, b"the 1 2 3\na 4 5 6\nof 7 8")
    assert set(read_vectors(path, {"the", "a", "of"}).words) == {"the", "a"}
    (remark,) = check_vectors(path).remarks
    assert "1 line (line 3)" in remark
    assert "cut off in its last line" in remark


def test_the_first_vector_of_a_repeated_word_is_used(tmp_path: Path) -> None:
    vectors = read_vectors(plain(tmp_path, b"the 1 2 3\na 4 5 6\nthe 7 8 9\n"), {"the", "a"})
    np.testing.assert_allclose(vectors.matrix, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("first", [b"", b"2 3\r\n"])
def test_a_byte_order_mark_is_not_part_of_the_first_word(tmp_path: Path, first: bytes) -> None:
    path = plain(tmp_path, b"\xef\xbb\xbf" + first + b"the 1 2 3 \r\na 4 5 6 \r\n")
    assert set(read_vectors(path, {"the", "a"}).words) == {"the", "a"}
    assert check_vectors(path).remarks == []


def test_the_remarks_reach_the_log_of_a_run(tmp_path: Path) -> None:
    path = file_of(tmp_path, [*many(200), b"of 1 2"])
    config = configure(TrainConfig, {"profile": "demo", "bilstm": {"vectors": str(path)}})
    (remark,) = family_of("bilstm").check("bilstm", config.section("bilstm"))
    assert "line 201" in remark


@pytest.mark.realdata
def test_real_vectors_are_read(shared_data: Path) -> None:
    small = read_vectors(shared_data / "glove.twitter.27B.25d.common12k.txt.gz", {"good", "bad", "<user>"})
    assert (set(small.words), small.size) == ({"good", "bad"}, 25)
    large = read_vectors(shared_data / "glove.twitter.27B.100d.top2720.txt.gz", {"good", "n't", "<user>"})
    assert (set(large.words), large.size) == ({"good", "n't", "<user>"}, 100)


@pytest.mark.parametrize("container", [gzipped, zipped])
@pytest.mark.parametrize("lines_before", [0, 300])
def test_endless_line_is_refused_before_it_fills_the_memory(tmp_path: Path, container, lines_before: int) -> None:
    path = container(tmp_path, b"word 1 2 3\n" * lines_before + b"x" * 64 * 1024 * 1024)
    tracemalloc.start()
    with pytest.raises(DataRejected, match=f"line {lines_before + 1} has more than 256 KiB"):
        check_vectors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("offset", "value", "message"), [(0, 1, "password-protected zip file; extract it"), (2, 9, "cannot be unpacked")]
)
def test_a_zip_that_needs_another_program_is_rejected_with_what_to_do(
    offset: int, value: int, message: str, tmp_path: Path
) -> None:
    """An encrypted one, and one compressed with Deflate64, as Windows packs files over 2 GB."""
    path = zipped(tmp_path, b"good 1 2\nbad 3 4\n")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags + offset] = value
    path.write_bytes(data)
    with pytest.raises(DataRejected, match=message):
        read_vectors(path, {"good"})
