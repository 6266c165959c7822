"""What the server tells the recorder: answers, and its traffic minute by minute."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["new", "same", "other", "unknown"]
"""What became of a label: stored, known already, contradicting the stored one, or for no known prediction."""
Purpose = Literal["accuracy", "comparison"]
Origin = Literal["volunteered", "review", "queue", "import"]
"""Where a label came from; `queue`: of an answer that was chosen because it is worth learning from, not drawn."""


class Served(msgspec.Struct, array_like=True, frozen=True):
    """The served model: the fields that its answers have in common."""

    family: str
    version: str
    bento: str
    known_words: str | None = None
    """Path of the checksums of the words that the model was trained on."""


class Answer(msgspec.Struct, array_like=True, gc=False):
    """One prediction as it was answered, with the text as the client sent it.

    Attributes
    ----------
    at : float
        Seconds since 1970 (UTC).
    probabilities : dict
        By label.
    source : str or None
        The channel that the client named.
    waited_s, computed_s : float
        Seconds until a batch took the text, and in the model.
    draw_probability : float
        Probability with which the answer was drawn for review.
    served : Served or None
        The model that gave it; `None` for the one that was served when the recorder started.
    """

    id: str
    at: float
    text: str
    sentiment: str
    score: float
    probabilities: dict[str, float]
    source: str | None
    waited_s: float
    computed_s: float
    draw_probability: float
    drawn: bool
    served: Served | None = None


class Traffic(msgspec.Struct, array_like=True):
    """The requests of one server process in one minute.

    Attributes
    ----------
    minute : int
        Minutes since 1970 (UTC).
    errors, refused, overloaded : int
        Requests answered with a status from 500; from 400 to 499; with 429, which also count as refused.
    seconds : list of int
        Histogram of the durations without those answered with 429, see `polarity.record.durations`.
    bento : str or None
        The Bento that was served at the end of it; `None` as for an answer.
    challenged, covered : int
        Requests that the challenger was asked for a client, and those that the served model answered in its place.
    challenger_seconds : list of int
        Histogram of its durations; empty if it was not asked.
    """

    id: str
    minute: int
    requests: int
    errors: int
    refused: int
    overloaded: int
    seconds: list[int]
    bento: str | None = None
    challenged: int = 0
    covered: int = 0
    challenger_seconds: list[int] = []


class Mirrored(msgspec.Struct, array_like=True, gc=False):
    """What a challenger answered to a text that the served model had answered.

    Attributes
    ----------
    version : str
        Of the challenger.
    inclusion : float or None
        Probability with which a label is asked for, to compare the two models; None if they agree.
    asked : bool
        Whether one is asked for.
    """

    prediction_id: str
    version: str
    at: float
    sentiment: str
    score: float
    inclusion: float | None
    asked: bool


class Challenge(msgspec.Struct, array_like=True, frozen=True):
    """Where a challenger is (empty: nowhere), and what it does.

    Attributes
    ----------
    share : float
        Of the answered texts that are mirrored to it.
    clients : float
        Share of the clients that it answers.
    version : str
        Of the model that answers them; another one does not.
    """

    address: str
    share: float
    clients: float = 0.0
    version: str = ""


class Frame(msgspec.Struct, array_like=True):
    """A message to the recorder; the first one says which model is served."""

    answers: list[Answer] = []
    traffic: list[Traffic] = []
    served: Served | None = None
    mirrored: list[Mirrored] = []


class Receipt(msgspec.Struct, array_like=True):
    """The recorder's reply to one frame, in order.

    Attributes
    ----------
    problem : str or None
        Why the rows could not be stored; nothing of the frame has been stored then.
    evicted : int
        Rows that have been deleted to make room, since the recorder started.
    bytes_used : int
        Size of the local file's content.
    unshipped : int
        Rows that the database does not have yet; 0 without a database.
    unshipped_s : float
        Age of the oldest of them in seconds.
    database_problem : str or None
        Why the database cannot be reached.
    challenge : Challenge or None
        What was set while running; None if nothing was.
    """

    problem: str | None = None
    evicted: int = 0
    bytes_used: int = 0
    unshipped: int = 0
    unshipped_s: float = 0.0
    database_problem: str | None = None
    challenge: Challenge | None = None


class ReviewItem(msgspec.Struct, frozen=True):
    """An answer that people are asked to label.

    `draw_probability` is the probability with which it was drawn; `text` is as POLARITY_LOG_TEXTS says; `purpose` is
    what the label is for: to estimate the accuracy, or to compare the model with a challenger that answered otherwise.
    """

    prediction_id: str
    at: float
    text: str | None
    sentiment: str
    score: float
    version: str
    draw_probability: float
    purpose: Purpose = "accuracy"


class Review(msgspec.Struct, frozen=True):
    """The answers that wait for a label: how many there are, and the latest of them, those for a comparison first."""

    waiting: int
    items: list[ReviewItem]
