"""Repair damage to a tweet's text that occurred between the author and the file.

Training and serving both use `repair`, so a model sees the same text in both.
What the author intended is preserved: case, elongations, emoticons, mentions
and links.
"""

from __future__ import annotations

import html
import re

import ftfy

# A literal backslash escape in the text, as in SemEval's files; pairs are UTF-16 surrogates.
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_LITERAL_BREAK = re.compile(r"\\[nrt](?![a-z])")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # done in `_pass`, repeatedly, because tweets were often escaped twice
    uncurl_quotes=True,
    fix_character_width=False,
    normalization="NFC",
    explain=False,
)


def repair(text: str) -> str:
    """Undo entities, mojibake, literal escapes, control characters, stray quotes and irregular white space.

    Parameters
    ----------
    text : str
        Any string, including lone surrogates and NUL.

    Returns
    -------
    str
        The repaired text, without leading or trailing white space. `repair(repair(text)) == repair(text)`.

    Notes
    -----
    Mojibake is repaired by ftfy (R. Speer, "ftfy", 2019, Zenodo 2591652).
    """
    if text.isascii() and text.isprintable() and "&" not in text and "\\" not in text:
        return _unquote(" ".join(text.split()))
    # One pass may reveal more damage ("&amp;lt;", an escape that spells mojibake); two or three are enough.
    for _ in range(6):
        repaired = _pass(text)
        if repaired == text:
            return repaired
        text = repaired
    return text


def _pass(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        text = _LITERAL_BREAK.sub(" ", text)
    if _SURROGATE.search(text):
        # pairs become the character that they encode, lone ones U+FFFD
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii() or _CONTROL.search(text):
        text = ftfy.fix_text(text, _FTFY)
        text = "".join(ch if ch.isprintable() or ch.isspace() or ch in "\u200d\ufe0f" else " " for ch in text)
    return _unquote(" ".join(text.split()))


def _unquote(text: str) -> str:
    """Remove an unclosed double quote at the beginning."""
    return text[1:].lstrip() if text.startswith('"') and text.count('"') % 2 else text
