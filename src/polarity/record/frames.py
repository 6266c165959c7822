"""Messages on a stream: each is preceded by its length."""

from __future__ import annotations

import struct

_LENGTH = struct.Struct("<I")


class Frames:
    """Splits a stream of bytes into messages that are each preceded by their length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        self._buffer += data
        complete: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, at)
            if len(self._buffer) - at - _LENGTH.size < size:
                break
            at += _LENGTH.size
            complete.append(bytes(self._buffer[at : at + size]))
            at += size
        del self._buffer[:at]
        return complete


def framed(message: bytes) -> bytes:
    """`message` preceded by its length."""
    return _LENGTH.pack(len(message)) + message
