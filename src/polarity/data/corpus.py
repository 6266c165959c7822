"""The generated corpus of the `demo` profile: synthetic tweets.

It is seeded, with mentions, hashtags, links, emoji, elongations, misspellings,
negation, mixed feelings, label noise, and a few broken rows for the gate to
catch. Use it to try the system, not to evaluate a model.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa

PRAISE = (
    "love adore enjoy recommend appreciate",
    "great awesome lovely brilliant amazing fantastic good perfect wonderful delicious cosy fun superb gorgeous "
    "refreshing impressive helpful smooth charming delightful",
    "happy glad thrilled proud excited grateful relaxed cheerful hopeful delighted",
    "made my day|can't stop smiling|best thing all week|worth every penny|so much better than I hoped|"
    "feeling on top of the world|already looking forward to the next one|exceeded all expectations",
)
BLAME = (
    "hate despise regret dread loathe",
    "awful horrible boring terrible useless slow ugly rude broken disappointing messy painful dull cold bland "
    "annoying lousy bad overpriced pathetic",
    "sad angry tired worried upset lonely sick frustrated miserable gutted",
    "ruined my day|can't stop crying|worst thing all week|waste of money|so much worse than I feared|"
    "feeling down about everything|never doing that again|fell short of all expectations",
)
FLAT = (
    "see watch use visit notice",
    "usual new regular local second current daily weekly standard ordinary plain open medium early late",
    "awake home busy outside here ready online back waiting around",
    "starts at noon|is on the list|comes on Tuesday|same as last time|takes about an hour|opens again next week|"
    "moved to another date|has two parts",
)
TOPICS = [
    "concert",
    "phone",
    "match",
    "exam",
    "coffee",
    "flight",
    "movie",
    "weather",
    "homework",
    "pizza",
    "meeting",
    "update",
    "train",
    "song",
    "game",
    "dinner",
    "beach",
    "laptop",
    "haircut",
    "episode",
    "bus",
    "gym",
    "class",
    "party",
    "camera",
    "hotel",
    "dentist",
    "garden",
    "podcast",
    "sandwich",
    "airport",
    "keyboard",
    "holiday",
    "museum",
    "novel",
    "playlist",
    "internship",
    "cake",
    "roommate",
    "neighbour",
    "parcel",
    "app",
]
PEOPLE = [
    "my mum",
    "my brother",
    "the team",
    "my boss",
    "everyone",
    "my flatmate",
    "our coach",
    "the barista",
    "my dog",
    "the kids",
    "Sam",
    "Anna",
]
TIMES = [
    "today",
    "tonight",
    "this morning",
    "yesterday",
    "this weekend",
    "right now",
    "after work",
    "at last",
    "again",
    "on Monday",
    "all day",
]
PLACES = [
    "in town",
    "at home",
    "at school",
    "in London",
    "by the lake",
    "at the office",
    "downtown",
    "in the park",
    "near the station",
]
HANDLES = [
    "maya_k",
    "jdoe77",
    "lil_ben",
    "katie_x",
    "tom_h",
    "radiofan",
    "sunny_day88",
    "nina_w",
    "coachrob",
    "bookworm_i",
]
TAGS = [
    "mondays",
    "fail",
    "win",
    "travel",
    "music",
    "food",
    "tgif",
    "nofilter",
    "study",
    "football",
    "weekend",
    "work",
    "life",
]
EMOJI = {"negative": "😢😡😞💔😩", "positive": "😊😍🎉❤😂", "neutral": "🤔📷📍"}
EMOTICONS = {"negative": (":(", ":-(", ":'("), "positive": (":)", ":-)", ":D", "<3"), "neutral": ("..", "-")}
WORDS = {"negative": BLAME, "positive": PRAISE, "neutral": FLAT}
OPPOSITE = {"negative": "positive", "positive": "negative", "neutral": "neutral"}
LABEL_NOISE = 0.06
FIRST_DAY = datetime(2009, 4, 6, tzinfo=UTC)


def generate_tweets(*, rows: int, labels: tuple[str, ...], seed: int) -> pa.Table:
    """Generate `rows` tweets, about one in two hundred of them deliberately broken.

    Parameters
    ----------
    rows : int
        Number of rows.
    labels : tuple of str
        Classes: `negative`, `neutral`, `positive`. Any other class gets the text of `neutral`.
    seed : int
        The same seed gives the same rows.

    Returns
    -------
    pyarrow.Table
        Columns `row`, `text`, `label`, `date`, `user`.
    """
    draw = random.Random(seed)
    records = []
    for row in range(1, rows + 1):
        label = draw.choice(labels)
        text = _decorate(_sentence(label, draw), label, draw)
        if draw.random() < LABEL_NOISE:
            label = draw.choice(labels)
        written: tuple[str | None, str | None] = (text, label)
        if draw.random() < 0.005:
            written = draw.choice(_BREAKS)(text, label)
        date = FIRST_DAY + timedelta(minutes=draw.randrange(80 * 24 * 60))
        records.append(
            {
                "row": row,
                "text": written[0],
                "label": written[1],
                "date": date.isoformat(),
                "user": draw.choice(HANDLES),
            }
        )
    schema = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in ("text", "label", "date", "user"))])
    return pa.Table.from_pylist(records, schema)


_BREAKS: tuple[Callable[[str, str], tuple[str | None, str | None]], ...] = (
    lambda text, label: (None, label),
    lambda text, label: ("   ", label),
    lambda text, label: (text, None),
    lambda text, label: (text, "?"),
    lambda text, label: (text * 40, label),
)


def _sentence(label: str, draw: random.Random) -> str:
    words = WORDS.get(label, FLAT)
    verbs, adjectives, moods = (part.split() for part in words[:3])
    closing = words[3].split("|")
    other = WORDS[OPPOSITE.get(label, "neutral")]
    topic, second = draw.sample(TOPICS, 2)
    person, time, place = draw.choice(PEOPLE), draw.choice(TIMES), draw.choice(PLACES)
    verb, adjective, mood = draw.choice(verbs), draw.choice(adjectives), draw.choice(moods)
    forms = (
        f"I {verb} this {topic} {time}",
        f"the {topic} {place} was {adjective}",
        f"so {mood} about the {topic} {time}",
        f"{adjective} {topic} with {person} {time}",
        f"{person} and I are {mood} because of the {topic}",
        f"just back from the {topic} {place}. {draw.choice(closing)}",
        f"the {topic} {draw.choice(closing)}, {person} said the same",
        f"had a {adjective} {topic} and a {draw.choice(adjectives)} {second} {time}",
        # negation, with the opposite sentiment first
        f"not {draw.choice(other[1].split())} at all, the {topic} {place}",
        f"I don't {draw.choice(other[0].split())} the {topic} {time}, and neither does {person}",
        f"thought the {topic} would be {draw.choice(other[1].split())} but it was {adjective}",
        f"the {second} was {draw.choice(other[1].split())}, still {mood} about the {topic}",
    )
    return draw.choice(forms)


def _decorate(text: str, label: str, draw: random.Random) -> str:
    if draw.random() < 0.12:
        words = text.split()
        longest = max(range(len(words)), key=lambda at: len(words[at]))
        vowel = next((ch for ch in reversed(words[longest]) if ch in "aeiou"), "")
        words[longest] = words[longest].replace(vowel, vowel * draw.randint(3, 6), 1) if vowel else words[longest]
        text = " ".join(words)
    if draw.random() < 0.12:
        at = draw.randrange(1, max(2, len(text) - 2))
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if draw.random() < 0.06:
        text = text.upper()
    elif draw.random() < 0.4:
        text = text[:1].upper() + text[1:]
    if draw.random() < 0.4:
        text = f"@{draw.choice(HANDLES)} {text}"
    text += draw.choice(("", "", "", "!", "!!", "...", "?!", " :|"))
    # emoticons that reveal the label are rare, as in data sets that were labelled by emoticon
    if draw.random() < 0.05:
        text += f" {draw.choice(EMOTICONS.get(label, EMOTICONS['neutral']))}"
    if draw.random() < 0.08:
        text += f" {draw.choice(EMOJI.get(label, EMOJI['neutral']))}"
    if draw.random() < 0.15:
        text += f" #{draw.choice(TAGS)}"
    if draw.random() < 0.08:
        text += f" http://t.example/{draw.randrange(16**5):05x}"
    return text.replace("'", "&#39;").replace("&&", "&amp;&amp;") if draw.random() < 0.05 else text
