from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polarity.errors import ConfigurationError
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
def test_only_the_wanted_words_are_kept_whatever_the_container(tmp_path: Path, container) -> None:
    vectors = read_vectors(container(tmp_path, LINES), {"the", "café", "absent", ". . ."})
    assert set(vectors.words) == {"the", "café", ". . ."}
    assert vectors.size == 3
    np.testing.assert_allclose(vectors.matrix[vectors.words["the"]], [0.1, -0.2, 0.03])
    np.testing.assert_allclose(vectors.matrix[vectors.words[". . ."]], [7, 8, 9])


def test_the_first_line_of_word2vec_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    path = plain(tmp_path, b"2 3\r\nthe 1 2 3\r\na 4 5 6\r\n")
    assert check_vectors(path) == 3
    assert set(read_vectors(path, {"the", "a", "2"}).words) == {"the", "a"}


def test_no_word_in_common_is_no_error(tmp_path: Path) -> None:
    vectors = read_vectors(plain(tmp_path, LINES), {"nothing"})
    assert vectors.matrix.shape == (0, 3)


def test_one_file_of_a_zip_is_named_by_its_path_inside(tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small.txt", "the 1 2\n")
        archive.writestr("large.txt", "the 1 2 3 4\n")
    assert check_vectors(path / "large.txt") == 4
    with pytest.raises(ConfigurationError, match=r"holds 2 files; name one of them: .*small\.txt.*large\.txt"):
        check_vectors(path)
    with pytest.raises(ConfigurationError, match=r"holds no 'other\.txt'"):
        check_vectors(path / "other.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2 3\na 1 2 3\nof 1 2\n", "line 3: found 2 numbers after the word, expected 3"),
        (b"the 1 2 3\nof 1 2 3 4\n", "line 2: found 4 numbers after the word, expected 3"),
        (b"the 1 2 3\n\nof 1 2 3\n", "line 2: found 0 numbers"),
        (b"", "holds no vectors"),
        (b"label,text\n0,hello\n", "line 1: .* is not a word and its numbers"),
        (b"\x89PNG\r\n\x1a\n", "line 1: .* is not a word and its numbers"),
    ],
)
@pytest.mark.parametrize("read", [check_vectors, lambda path: read_vectors(path, {"the"})])
def test_what_is_not_glove_is_refused_with_the_line(tmp_path: Path, content: bytes, message: str, read) -> None:
    path = plain(tmp_path, content)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


def test_a_number_that_is_none_is_refused_where_the_word_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"line 2: .*expected a word and 3 numbers"):
        read_vectors(plain(tmp_path, b"the 1 2 3\na 1 x 3\n"), {"a"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.txt' do not exist"):
        check_vectors(tmp_path / "absent.txt")


@pytest.mark.parametrize("container", [gzipped, zipped])
def test_a_truncated_download_is_refused(tmp_path: Path, container) -> None:
    path = container(tmp_path, b"".join(b"word%d 0.%d 0.5\n" % (n, n) for n in range(5000)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ConfigurationError, match="Download it again"):
        check_vectors(path)


@pytest.mark.realdata
def test_real_vectors_are_read(shared_data: Path) -> None:
    small = read_vectors(shared_data / "glove.twitter.27B.25d.common12k.txt.gz", {"good", "bad", "<user>"})
    assert (set(small.words), small.size) == ({"good", "bad"}, 25)
    large = read_vectors(shared_data / "glove.twitter.27B.100d.top2720.txt.gz", {"good", "n't", "<user>"})
    assert (set(large.words), large.size) == ({"good", "n't", "<user>"}, 100)
