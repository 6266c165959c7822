"""Decompression of request bodies."""

from __future__ import annotations

import zlib

from polarity.serving.contract import Refused, invalid

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
# "deflate" means zlib's format (RFC 9110, 8.4.1.2), but some clients send the bare deflate stream.
_FORMATS = {b"gzip": (_GZIP,), b"x-gzip": (_GZIP,), b"deflate": (_ZLIB, _RAW)}
# Each member costs a copy of everything after it.
_MAX_GZIP_MEMBERS = 8


def decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Decode a body according to its `Content-Encoding`.

    Parameters
    ----------
    body : bytes
        The body as it was sent.
    encoding : bytes
        The value of the header; multiple values are separated by commas.
    limit : int
        Maximum size of the result in bytes; decompression stops there.

    Raises
    ------
    Refused
        415 if the encoding is not gzip or deflate, or if there is more than one; 413 if the result would exceed
        `limit`; 422 if the body is damaged or incomplete.
    """
    codings = [coding for part in encoding.lower().split(b",") if (coding := part.strip()) not in (b"", b"identity")]
    if not codings or not body:
        return body
    if len(codings) > 1 or codings[0] not in _FORMATS:
        raise Refused(415, "encoding_unknown", (b"accept-encoding", b"gzip, deflate"))
    for window_bits in _FORMATS[codings[0]]:
        try:
            return _inflate(body, window_bits, limit)
        except zlib.error:
            continue
    raise invalid("encoding_damaged")


def _inflate(body: bytes, window_bits: int, limit: int) -> bytes:
    result, rest = b"", body
    for _ in range(_MAX_GZIP_MEMBERS if window_bits == _GZIP else 1):
        stream = zlib.decompressobj(window_bits)
        # One byte over the limit distinguishes a body that is too large from one that just fits.
        result += stream.decompress(rest, limit + 1 - len(result))
        if len(result) > limit:
            raise Refused(413, "too_large")
        rest = stream.unused_data
        if not stream.eof:
            raise zlib.error("incomplete")
        if not rest:
            return result
    raise zlib.error("data after the end")
