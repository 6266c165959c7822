"""Mend what happened to a tweet's text between the author and the file.

Training and serving both go through `repair`, so a model meets the same text
in both places. Nothing that the author meant is changed: case, elongations,
emoticons, mentions and links stay.
"""

from __future__ import annotations

import html
import re

import ftfy

# A backslash escape left in the file as text, as SemEval's files have them; pairs are surrogates of UTF-16.
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_LITERAL_BREAK = re.compile(r"\\[nrt](?![a-z])")
_SPACE = re.compile(r"\s+")
# Everything that needs no more than the white-space rule: printable ASCII without the signs of an entity or an escape.
_PLAIN = re.compile(r"[\x20-\x25\x27-\x5b\x5d-\x7e]*\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # done before, twice, because tweets were often escaped twice
    uncurl_quotes=True,
    fix_character_width=False,
    normalization="NFC",
    explain=False,
)


def repair(text: str) -> str:
    """Undo entities, mojibake, literal escapes, control characters, stray quotes and odd white space.

    Parameters
    ----------
    text : str
        Any string, lone surrogates and NUL included.

    Returns
    -------
    str
        The mended text, without white space at its ends. `repair(repair(text)) == repair(text)`.

    Notes
    -----
    Mojibake is mended by ftfy (R. Speer, "ftfy", 2019, Zenodo 2591652).
    """
    if _PLAIN.match(text):
        return _unquote(_SPACE.sub(" ", text).strip())
    # One pass may uncover the need of another ("&amp;lt;", an escape that spells mojibake); two or three are enough.
    for _ in range(6):
        mended = _pass(text)
        if mended == text:
            return mended
        text = mended
    return text


def _pass(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        text = _LITERAL_BREAK.sub(" ", text)
    if _SURROGATE.search(text):
        # pairs become the character that they stand for, lone ones U+FFFD
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii() or any(ch < " " or ch == "\x7f" for ch in text):
        text = ftfy.fix_text(text, _FTFY)
        text = "".join(ch if ch.isprintable() or ch.isspace() or ch in "\u200d\ufe0f" else " " for ch in text)
    return _unquote(_SPACE.sub(" ", text).strip())


def _unquote(text: str) -> str:
    """Take away a double quote at the beginning that nothing closes."""
    return text[1:].lstrip() if text.startswith('"') and text.count('"') % 2 else text
