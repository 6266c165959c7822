"""Who labels which answer: people get different ones, may take a label back, and some answers get a second opinion.

An assignment is a row that only one person can have, for a while. It is kept where the record ends up (the database, if
there is one), so that people at different servers share one queue.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record.answer import Origin, Outcome
from polarity.record.schema import assignments, feedback, predictions
from polarity.record.store import RecordStore

Purpose = Literal["accuracy", "comparison", "unsure", "unusual", "agreement"]
"""What a label is for; see `claim`."""

LEASE_S = 600.0
"""How long nobody else gets an answer that somebody has."""
UNDO_S = 600.0
"""How long a label can be taken back."""
SECOND_OPINIONS = 10
"""One answer in so many is shown to a second person."""
_RECENT = 10_000
_FIRST, _SECOND = 1, 2
_ORIGINS: dict[str, Origin] = {"accuracy": "review", "comparison": "review"}


class AssignedAnswer(msgspec.Struct, frozen=True):
    """An answer that somebody is to label; the attributes are those of `ReviewItem`."""

    prediction_id: str
    at: float
    text: str | None
    sentiment: str
    score: float
    version: str
    purpose: Purpose


class Assigned(msgspec.Struct, frozen=True):
    """What somebody is to label next.

    Attributes
    ----------
    waiting : int
        Answers drawn for review that have no label, of all people.
    labelled : int
        Labels that this person has given.
    items : list of AssignedAnswer
        The most important first.
    """

    waiting: int
    labelled: int
    items: list[AssignedAnswer]


class Agreement(msgspec.Struct, frozen=True):
    """How well people agree on answers that two of them labelled.

    Attributes
    ----------
    labels : dict
        Number of labels by person.
    pairs, agreeing : int
        Answers with two labels, and those of them where both are the same.
    kappa : float or None
        Cohen's kappa of first and second labels: 1 is perfect agreement, 0 is chance. None if it is not defined.
    """

    labels: dict[str, int]
    pairs: int
    agreeing: int
    kappa: float | None


class _Candidate(NamedTuple):
    answer: AssignedAnswer
    turn: int


def claim(
    store: RecordStore, labeller: str, limit: int, now: float | None = None, *, skipped: Collection[str] = ()
) -> Assigned:
    """Give somebody the next answers to label. Until they are labelled or the lease ends, nobody else gets them.

    What is worth labelling, in this order: what the person has already; second opinions on one answer in
    `SECOND_OPINIONS`, to see how well people agree; the answers drawn for review, since valid figures need all of
    these; then, by turns, the answers that the model was least sure of and those with the largest share of unknown
    words, among the latest 10,000.

    Parameters
    ----------
    store : RecordStore
    labeller : str
        Name of the person.
    limit : int
        Maximum number of answers.
    now : float, optional
        Seconds since 1970.
    skipped : collection of str
        Ids of answers that the person leaves to others.
    """
    now = time.time() if now is None else now
    keeper = store.engines[-1]
    if skipped:
        mine_skipped = assignments.c.prediction_id.in_(skipped) & (assignments.c.labeller == labeller)
        with keeper.begin() as connection:
            connection.execute(sa.delete(assignments).where(mine_skipped, assignments.c.label.is_(None)))
    with keeper.connect() as connection:
        taken = connection.execute(sa.select(assignments).where(assignments.c.until >= now)).all()
        given = sa.select(sa.func.count()).where(assignments.c.labeller == labeller, assignments.c.label.is_not(None))
        labelled = connection.scalar(given) or 0
    mine = [row for row in taken if row.labeller == labeller and row.label is None]
    others = {row.prediction_id for row in taken if row.turn == _FIRST and row.labeller != labeller}
    others.update(skipped)
    candidates = _held(store, mine)
    candidates += _second_opinions(store, labeller, limit + len(skipped))
    review = store.review(limit + len(others))
    drawn = [
        AssignedAnswer(i.prediction_id, i.at, i.text, i.sentiment, i.score, i.version, i.purpose) for i in review.items
    ]
    answers = chain(drawn, _worth_learning(store, limit + len(others)))
    candidates += [_Candidate(answer, _FIRST) for answer in answers if answer.prediction_id not in others]
    # Without its text an answer cannot be labelled.
    by_id: dict[str, _Candidate] = {}
    for one in candidates:
        if one.answer.text and one.answer.prediction_id not in skipped:
            by_id.setdefault(one.answer.prediction_id, one)
    wanted = list(by_id.values())
    items: list[AssignedAnswer] = []
    while wanted and len(items) < limit:
        part, wanted = wanted[: limit - len(items)], wanted[limit - len(items) :]
        got = _take(keeper, labeller, part, now)
        items += [one.answer for one in part if (one.answer.prediction_id, one.turn) in got]
    return Assigned(review.waiting, labelled, items)


def _take(keeper: sa.Engine, labeller: str, wanted: Sequence[_Candidate], now: float) -> set[tuple[str, int]]:
    """Assign what nobody else has; return the keys of what was got."""
    insert: Any = postgresql.insert if keeper.dialect.name == "postgresql" else sqlite.insert
    rows = [
        {
            "prediction_id": one.answer.prediction_id,
            "turn": one.turn,
            "labeller": labeller,
            "purpose": one.answer.purpose,
            "until": now + LEASE_S,
        }
        for one in wanted
    ]
    added = insert(assignments).values(rows)
    free = (assignments.c.until < now) | (assignments.c.labeller == labeller)
    taken_over = added.on_conflict_do_update(
        index_elements=["prediction_id", "turn"],
        set_={name: added.excluded[name] for name in ("labeller", "purpose", "until")},
        where=assignments.c.label.is_(None) & free,
    )
    with keeper.begin() as connection:
        found = connection.execute(taken_over.returning(assignments.c.prediction_id, assignments.c.turn))
        return {(name, turn) for name, turn in found}


def label(
    store: RecordStore, labeller: str, prediction_id: str, given: str | None, now: float | None = None
) -> Outcome:
    """Store the label of an answer that somebody has, or take it back.

    Parameters
    ----------
    given : str or None
        None takes it back, and the person has the answer again.

    Returns
    -------
    {'new', 'same', 'other', 'unknown'}
        `other`: it has a different label; `unknown`: the person does not have the answer, or gave the label too long
        ago to take it back.
    """
    now = time.time() if now is None else now
    keeper = store.engines[-1]
    mine = (assignments.c.prediction_id == prediction_id) & (assignments.c.labeller == labeller)
    with keeper.connect() as connection:
        row = connection.execute(sa.select(assignments).where(mine)).first()
    if row is None:
        return "unknown"
    this = mine & (assignments.c.turn == row.turn)
    if given is None:
        return _take_back(store, row, this, now)
    if row.label is not None:
        return "same" if row.label == given else "other"
    outcome: Outcome = "new"
    if row.turn == _FIRST:
        outcome = store.add_feedback(prediction_id, given, now, _ORIGINS.get(row.purpose, "queue"))
    if outcome in ("new", "same"):
        with keeper.begin() as connection:
            connection.execute(sa.update(assignments).where(this).values(label=given, at=now, until=now + UNDO_S))
    return outcome


def _take_back(store: RecordStore, row: Any, this: sa.ColumnElement[bool], now: float) -> Outcome:
    if row.label is None:
        return "same"
    if now > row.at + UNDO_S:
        return "unknown"
    if row.turn == _FIRST:
        mine = (feedback.c.prediction_id == row.prediction_id) & (feedback.c.label == row.label)
        # The file first: a label that is shipped meanwhile is then deleted in the database.
        for engine in store.engines:
            with engine.begin() as connection:
                connection.execute(sa.delete(feedback).where(mine, feedback.c.origin != "volunteered"))
    with store.engines[-1].begin() as connection:
        back = sa.update(assignments).where(this)
        connection.execute(back.values(label=None, at=None, until=now + LEASE_S))
    return "new"


def agreement(store: RecordStore) -> Agreement:
    """How many labels each person gave, and how well people agree."""
    second = assignments.alias()
    both = sa.select(assignments.c.label, second.c.label).join(
        second,
        (second.c.prediction_id == assignments.c.prediction_id)
        & (assignments.c.turn == _FIRST)
        & (second.c.turn == _SECOND),
    )
    with store.engines[-1].connect() as connection:
        counts = sa.select(assignments.c.labeller, sa.func.count()).where(assignments.c.label.is_not(None))
        labels = dict(connection.execute(counts.group_by(assignments.c.labeller)).tuples().all())
        given = both.where(assignments.c.label.is_not(None), second.c.label.is_not(None))
        pairs = connection.execute(given).tuples().all()
    return Agreement(dict(sorted(labels.items())), len(pairs), sum(one == other for one, other in pairs), kappa(pairs))


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa (1960, A Coefficient of Agreement for Nominal Scales) of pairs of labels; None if not defined.

    Examples
    --------
    >>> kappa([("a", "a"), ("b", "b"), ("a", "b"), ("b", "b")])
    0.5
    >>> kappa([("a", "a")]) is None
    True
    """
    if not pairs:
        return None
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    agreeing = sum(one == other for one, other in pairs) / len(pairs)
    by_chance = sum(first[name] * second[name] for name in first) / len(pairs) ** 2
    return None if by_chance == 1 else (agreeing - by_chance) / (1 - by_chance)


def _held(store: RecordStore, rows: Iterable[Any]) -> list[_Candidate]:
    """The answers that somebody has."""
    by_id = {row.prediction_id: row for row in rows}
    unlabelled = {name for name, row in by_id.items() if row.turn == _FIRST} - _labelled(
        store, [name for name, row in by_id.items() if row.turn == _FIRST]
    )
    found = _answers(store, predictions.c.id.in_(by_id), len(by_id)) if by_id else []
    return [
        _Candidate(_assigned(answer, by_id[answer.id].purpose), by_id[answer.id].turn)
        for answer in found
        if by_id[answer.id].turn == _SECOND or answer.id in unlabelled
    ]


def _second_opinions(store: RecordStore, labeller: str, limit: int) -> list[_Candidate]:
    """Answers that somebody else has labelled, and of which a second opinion is wanted."""
    query = (
        sa.select(assignments.c.prediction_id)
        .where(assignments.c.turn == _FIRST, assignments.c.label.is_not(None), assignments.c.labeller != labeller)
        .order_by(assignments.c.at.desc())
        .limit(_RECENT)
    )
    second = sa.select(assignments.c.prediction_id).where(
        assignments.c.turn == _SECOND, assignments.c.label.is_not(None)
    )
    with store.engines[-1].connect() as connection:
        ids = [name for name in connection.scalars(query) if zlib.crc32(name.encode()) % SECOND_OPINIONS == 0]
        done = set(connection.scalars(second.where(assignments.c.prediction_id.in_(ids)))) if ids else set()
    wanted = [name for name in ids if name not in done][:limit]
    found = _answers(store, predictions.c.id.in_(wanted), limit) if wanted else []
    return [_Candidate(_assigned(answer, "agreement"), _SECOND) for answer in found]


def _worth_learning(store: RecordStore, limit: int) -> list[AssignedAnswer]:
    """The least sure and the most unlike the training tweets of the latest answers, by turns."""
    unlabelled = ~sa.exists().where(feedback.c.prediction_id == predictions.c.id)
    recent = sa.select(predictions.c.id).order_by(predictions.c.at.desc()).limit(_RECENT)
    wanted = predictions.c.id.in_(recent) & predictions.c.text.is_not(None) & unlabelled
    undrawn = wanted & sa.func.coalesce(predictions.c.drawn, sa.false()).is_(sa.false())
    unsure = _answers(store, undrawn, limit, order=predictions.c.score)
    unknown = undrawn & (predictions.c.unknown_share > 0)
    unusual = _answers(store, unknown, limit, order=predictions.c.unknown_share.desc())
    by_turns = zip_longest([_assigned(a, "unsure") for a in unsure], [_assigned(a, "unusual") for a in unusual])
    return [answer for pair in by_turns for answer in pair if answer is not None]


def _answers(store: RecordStore, condition: sa.ColumnElement[bool], limit: int, *, order: Any = None) -> list[Any]:
    by = predictions.c.at.desc() if order is None else order
    columns = [predictions.c[name] for name in ("id", "at", "text", "sentiment", "score", "version")]
    found: dict[str, Any] = {}
    for engine in store.engines:
        with engine.connect() as connection:
            for row in connection.execute(sa.select(*columns).where(condition).order_by(by).limit(limit)):
                found.setdefault(row.id, row)
    return list(found.values())


def _labelled(store: RecordStore, ids: Sequence[str]) -> set[str]:
    done: set[str] = set()
    for engine in store.engines if ids else ():
        with engine.connect() as connection:
            known = sa.select(feedback.c.prediction_id).where(feedback.c.prediction_id.in_(ids))
            done.update(connection.scalars(known))
    return done


def _assigned(answer: Any, purpose: Purpose) -> AssignedAnswer:
    return AssignedAnswer(answer.id, answer.at, answer.text, answer.sentiment, answer.score, answer.version, purpose)
