"""Compressed bodies: which are decoded, and which are refused without being fully decompressed."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import pytest

from polarity.serving.content_encoding import decompress
from polarity.serving.contract import Refused

BODY = b'{"text": "what a lovely day"}'
LIMIT = 1000


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def gzipped(body: bytes) -> bytes:
    """Gzip without a timestamp: these bytes are part of test names, which must be the same in every process."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b",gzip", gzipped(BODY)),
        (b",GZIP ", gzipped(BODY)),
        (b",x-gzip", gzipped(BODY)),
        (b",identity, gzip", gzipped(BODY)),
        (b",gzip", gzipped(BODY[:9]) + gzipped(BODY[9:])),
        (b",deflate", zlib.compress(BODY)),
        (b",deflate", raw_deflate(BODY)),
        (b",identity", BODY),
        (b",", BODY),
    ],
)
def test_known_encodings_are_decoded(encoding: bytes, body: bytes) -> None:
    assert decompress(body, encoding, LIMIT) == BODY


@pytest.mark.parametrize("encoding", [b",br", b",zstd", b",gzip, gzip", b",deflate,gzip", b",\xff"])
def test_unknown_encodings_are_refused_with_a_list_of_known_ones(encoding: bytes) -> None:
    with pytest.raises(Refused) as caught:
        decompress(gzip.compress(BODY), encoding, LIMIT)
    reply = caught.value.reply("en")
    assert reply.status == 415
    assert b"gzip" in reply.body and b"deflate" in reply.body
    assert dict(reply.headers) == {b"accept-encoding": b"gzip, deflate"}


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, raw_deflate])
def test_limit_counts_the_decompressed_bytes(compress: object) -> None:
    assert callable(compress)
    encoding = b"gzip" if compress is gzip.compress else b"deflate"
    noise = random.Random(1).randbytes(LIMIT)
    assert decompress(compress(noise), encoding, LIMIT) == noise, "even if the compressed body is longer"
    with pytest.raises(Refused) as caught:
        decompress(compress(b"x" * (LIMIT + 1)), encoding, LIMIT)
    assert caught.value.status == 413


def test_two_members_that_exceed_the_limit_together_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        decompress(gzip.compress(b"x" * LIMIT) + gzip.compress(b"y"), b"gzip", LIMIT)
    assert caught.value.status == 413


def test_decompression_bomb_is_not_decompressed() -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)
    tracemalloc.start()
    with pytest.raises(Refused) as caught:
        decompress(bomb, b"gzip", 1024 * 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", BODY),
        (b"deflate", BODY),
        (b"gzip", gzipped(BODY)[:-1]),
        (b"gzip", gzipped(BODY)[:12]),
        (b"deflate", zlib.compress(BODY)[:-1]),
        (b"gzip", gzipped(BODY) + b"rest"),
        (b"deflate", zlib.compress(BODY) + zlib.compress(BODY)),
        (b"gzip", gzipped(BODY)[:-8] + bytes(8)),
        (b"gzip", zlib.compress(BODY)),
        (b"gzip", gzipped(b"") * 1000),
    ],
)
def test_damaged_bodies_are_refused(encoding: bytes, body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        decompress(body, encoding, LIMIT)
    reply = caught.value.reply("en")
    assert reply.status == 422
    assert b"damaged" in reply.body and b'"loc":["body"]' in reply.body
