"""Tweets as JSON: one object per line or an array of objects, as written by the Twitter API and its tools."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from polarity.data.records import Unreadable

# A longer object is assumed to be unclosed.
_MAX_CHARACTERS = 2**24
_MAX_RAW = 10_000

Fields = dict[str, str | None]


def looks_like_json(head: bytes) -> bool:
    """Whether a file that starts with `head` contains JSON objects."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return start.startswith(b"{") or (start.startswith(b"[") and start[1:].lstrip()[:1] in (b"{", b"]"))


def read_json(blocks: Iterable[bytes]) -> Iterator[tuple[int, Fields] | Unreadable]:
    """Read UTF-8 text; yield the line number and fields of each object, or an `Unreadable`.

    Nested fields get dotted names; numbers, booleans and lists are returned as JSON text.
    """
    remaining = iter(blocks)
    head = b""
    while not head.strip():
        block = next(remaining, None)
        if block is None:
            return
        head += block
    blocks = chain([head], remaining)
    yield from _array(blocks) if head.lstrip().startswith(b"[") else _lines(blocks)


def flatten(value: dict[str, Any], prefix: str = "") -> Fields:
    """Return the fields of an object as text; nested fields get dotted names."""
    fields: Fields = {}
    for name, field in value.items():
        if isinstance(field, dict):
            fields |= flatten(field, f"{prefix}{name}.")
        elif field is None:
            fields[prefix + name] = None
        else:
            fields[prefix + name] = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
    # JSON allows lone surrogates, but text does not
    return {name: _replace_lone_surrogates(text) for name, text in fields.items()} if not prefix else fields


def _replace_lone_surrogates(text: str | None) -> str | None:
    if text is None or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _lines(blocks: Iterable[bytes]) -> Iterator[tuple[int, Fields] | Unreadable]:
    row = 0
    for number, line in _numbered(blocks):
        if not line.strip():
            continue
        row += 1
        try:
            value = json.loads(line.decode())
            problem = "" if isinstance(value, dict) else "the line is not a JSON object"
        except (ValueError, RecursionError) as error:
            problem = f"the line is not JSON ({error})"
        if problem:
            yield Unreadable(row, number, line.decode("utf-8", "backslashreplace")[:_MAX_RAW], problem)
        else:
            yield number, flatten(value)


def _array(blocks: Iterable[bytes]) -> Iterator[tuple[int, Fields] | Unreadable]:
    """Read the objects of an array one by one; stop at a damaged one."""
    source = iter(blocks)
    utf8 = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    parse = json.JSONDecoder().raw_decode
    text, at, row, line = "", 0, 0, 1
    opened = ended = False
    while True:
        start = at
        while at < len(text) and (
            text[at] in " \t\r\n\ufeff" or (text[at] == "," and row) or (text[at] == "[" and not opened)
        ):
            opened = opened or text[at] == "["
            at += 1
        line += text.count("\n", start, at)
        if at < len(text) and text[at] == "]":
            rest = text[at + 1 :].strip()
            if rest:
                yield Unreadable(row + 1, line, rest[:_MAX_RAW], "there is text after the end of the JSON array")
            return
        try:
            value, end = parse(text, at)
        except (ValueError, RecursionError) as error:
            if not ended and len(text) - at < _MAX_CHARACTERS:
                block = next(source, None)
                ended = block is None
                text, at = text[at:] + utf8.decode(block or b"", final=ended), 0
                continue
            problem = (
                f"the JSON array is damaged from here on ({error})" if at < len(text) else "the JSON array is cut off"
            )
            yield Unreadable(row + 1, line, text[at : at + _MAX_RAW], problem)
            return
        row += 1
        if isinstance(value, dict):
            yield line, flatten(value)
        else:
            yield Unreadable(row, line, text[at:end][:_MAX_RAW], "the element of the array is not a JSON object")
        line += text.count("\n", at, end)
        at = end


def _numbered(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            yield number, line
    if rest:
        yield number + 1, rest
