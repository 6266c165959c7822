"""Word and character n-grams of a tweet, shared by training and serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polarity.text.segmentation import split_words
from polarity.text.tokens import tokenize

_NEGATIONS = "n't not no never cannot nor without cant dont didnt doesnt isnt wasnt arent wont wouldnt couldnt aint"
NEGATIONS = frozenset(_NEGATIONS.split())
CLAUSE_ENDS = frozenset(".,!?;:")
# Number of words after a negation that are treated as negated, unless the clause ends earlier.
NEGATION_REACH = 4


def word_ngrams(text: str, *, shortest: int, longest: int) -> list[str]:
    """Return n-grams of `shortest` to `longest` consecutive tokens, and the words in the scope of a negation.

    N-grams of two or more tokens include markers for the start and end of the tweet,
    because the first and last words are more informative. Negated words follow Das and
    Chen, "Yahoo! for Amazon", 2001, as used by Pang et al., "Thumbs up?", EMNLP 2002, section 6.1.

    Examples
    --------
    >>> word_ngrams("not so bad", shortest=1, longest=2)
    ['not', 'so', 'bad', '^ not', 'not so', 'so bad', 'bad $', 'not_so', 'not_bad']
    """
    tokens = tokenize(text)
    grams = list(tokens) if shortest == 1 else []
    marked = ["^", *tokens, "$"]
    for size in range(max(shortest, 2), longest + 1):
        grams += map(" ".join, zip(*(marked[start:] for start in range(size)), strict=False))
    grams += [negated(tokens[position]) for position in _negated_positions(tokens)]
    return grams


def word_ngrams_with_parts(text: str, *, shortest: int, longest: int) -> list[tuple[str, frozenset[int]]]:
    """Return the n-grams of `word_ngrams`, each with the indices of the words of the text that it covers.

    Examples
    --------
    >>> [(gram, sorted(parts)) for gram, parts in word_ngrams_with_parts("not bad!", shortest=1, longest=2)][3:6]
    [('^ not', [0]), ('not bad', [0, 1]), ('bad !', [1])]
    """
    placed = [(token, number) for number, part in enumerate(split_words(text)) for token in tokenize(part)]
    tokens, parts = [token for token, _ in placed], [{part} for _, part in placed]
    grams = list(zip(tokens, map(frozenset, parts), strict=True)) if shortest == 1 else []
    marked, marked_parts = ["^", *tokens, "$"], [set[int](), *parts, set[int]()]
    for size in range(max(shortest, 2), longest + 1):
        for start in range(len(marked) - size + 1):
            covered = frozenset().union(*marked_parts[start : start + size])
            grams.append((" ".join(marked[start : start + size]), covered))
    return [*grams, *((negated(tokens[at]), frozenset(parts[at])) for at in _negated_positions(tokens))]


def negated(token: str) -> str:
    """The n-gram of a token in the scope of a negation."""
    return f"not_{token}"


def _negated_positions(tokens: Sequence[str]) -> Iterator[int]:
    """Yield the positions of the words in the scope of a negation."""
    remaining = 0
    for position, token in enumerate(tokens):
        if token in NEGATIONS:
            remaining = NEGATION_REACH
        elif token in CLAUSE_ENDS:
            remaining = 0
        elif remaining:
            remaining -= 1
            yield position


def character_ngrams(text: str, *, shortest: int, longest: int) -> list[str]:
    """Return n-grams of `shortest` to `longest` characters within each lower-cased word; spaces mark its boundaries.

    Examples
    --------
    >>> character_ngrams("no!", shortest=3, longest=4)
    [' no', 'no!', 'o! ', ' no!', 'no! ']
    """
    grams: list[str] = []
    for word in split_words(text.lower()):
        grams += ngrams_of_word(word, shortest=shortest, longest=longest)
    return grams


def ngrams_of_word(word: str, *, shortest: int, longest: int) -> list[str]:
    """Return the character n-grams of one word."""
    padded = f" {word} "
    return [
        padded[start : start + size]
        for size in range(shortest, min(longest, len(padded)) + 1)
        for start in range(len(padded) - size + 1)
    ]
