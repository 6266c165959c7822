"""The measures of production, read from the stored record at one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache

from polarity.bento import store as bento_store
from polarity.inference.package import ModelManifest
from polarity.record import durations
from polarity.record.history import (
    SECONDS_PER_HOUR,
    Span,
    TrafficTotal,
    answer_counts,
    answer_numbers,
    hourly_counts,
    last_minute,
    reviewed_answers,
    traffic_total,
    waiting_rows,
)
from polarity.record.store import RecordStore
from polarity.record.windows import last_window
from polarity.watch.accuracy_drop import evidence_of_a_drop
from polarity.watch.labelled_sample import LabelledSample, labels_only
from polarity.watch.measure import Measure, Unit
from polarity.watch.rules import BelowReference, Rule, Unusual
from polarity.watch.unusual import HOURS_PER_WEEK, compare_hour

_MINUTE_S = 60.0
# The evidence at which an alert of the accuracy ends, as a share of that at which it starts: evidence that hovers about
# one limit would start and end the alert with every other label.
_OVER_AT = 0.01


@dataclass(frozen=True)
class Finding:
    """What a rule found: a measure, and whether it is beyond the rule's limit.

    Attributes
    ----------
    alarming : bool or None
        None if there is too little to tell; then nothing changes.
    limit : str
        The rule's limit, in words.
    """

    measure: Measure
    alarming: bool | None
    limit: str


@dataclass(frozen=True)
class Champion:
    """The model that should be served.

    Attributes
    ----------
    bento, version : str
    test_accuracy : float or None
        On its test tweets, if that is known.
    since : float
        When it was promoted, in seconds since 1970.
    """

    bento: str
    version: str
    test_accuracy: float | None
    since: float = 0.0

    @classmethod
    def find(cls) -> Champion | None:
        """The model of `sentiment:latest`.

        Raises
        ------
        ArtifactError
            If its Bento is damaged.
        """
        tag = bento_store.latest()
        if tag is None:
            return None
        card = ModelManifest.read(bento_store.model_folder(tag), check=False).card
        accuracy = card.get("metrics", {}).get("test", {}).get("accuracy")
        since = bento_store.created(tag).timestamp()
        return cls(tag, str(card.get("version") or tag.partition(":")[2]), accuracy, since)


class Production:
    """Reads measures at one moment.

    Parameters
    ----------
    store : RecordStore or None
        None if the database does not answer; then only local measures can be read.
    local : RecordStore
        The local file alone: the spool, or the record itself.
    shipped : bool
        Whether the record is moved on to a database.
    champion : callable
        Returns the model that should be served; None if there is none.
    now : float, optional
        Seconds since 1970.
    """

    def __init__(
        self,
        store: RecordStore | None,
        *,
        local: RecordStore,
        shipped: bool,
        champion: Callable[[], Champion | None],
        now: float | None = None,
    ) -> None:
        self._given = store
        self._local = local
        self._shipped = shipped
        self._champion = champion
        self.now = time.time() if now is None else now
        # Several rules have the same window.
        self._traffic: Callable[[Span], TrafficTotal] = cache(lambda span: traffic_total(self._store, span))

    def findings(self, rule: Rule, sources: Collection[str] = ()) -> list[Finding]:
        """Evaluate a rule.

        Parameters
        ----------
        rule : Rule
        sources : collection of str
            That the rule fires for. A rule by source looks at them although the window may have nothing of them; the
            rule without one has the source "".
        """
        if rule.unusual is not None:
            return [self._unusual(rule, rule.unusual)]
        if rule.below_reference is not None:
            return [self._below_reference(rule, rule.below_reference, fires=bool(sources))]
        return [_beyond(rule, measure) for measure in self._measures(rule, sources)]

    def _measures(self, rule: Rule, sources: Collection[str]) -> list[Measure]:
        span = Span(self.now - rule.window, self.now)
        match rule.measure:
            case "answers" | "answer_share":
                return self._of_answers(rule, span, sources)
            case "silence":
                return [self._silence()]
            case "spool_age":
                return [self._spool_age()]
            case "record_away":
                return [Measure(rule.measure, span, float(self._given is None), "yes or no", 1, "asked by the monitor")]
            case "drift":
                return [self._drift()]
            case "other_model_served":
                return [self._other_model_served(span)]
            case _:
                return [self._of_traffic(rule, span)]

    @property
    def _store(self) -> RecordStore:
        assert self._given is not None, "only local measures are read without the database"
        return self._given

    def _of_answers(self, rule: Rule, span: Span, sources: Collection[str]) -> list[Measure]:
        counts = answer_counts(self._store, span)
        method = f"{rule.label} answers"
        found = []
        value: float | None
        unit: Unit
        for source in sorted({*sources, *(source for source, _ in counts)}) if rule.by_source else [""]:
            mine = {key: count for key, count in counts.items() if not rule.by_source or key[0] == source}
            part = sum(count for (_, sentiment), count in mine.items() if sentiment == rule.label)
            whole = sum(mine.values())
            if rule.measure == "answers":
                value, unit = float(part), "answers"
            else:
                value, unit = (part / whole if whole else None), "share"
            found.append(Measure(rule.measure, span, value, unit, whole, method, source=source))
        return found

    def _of_traffic(self, rule: Rule, span: Span) -> Measure:
        # The minute that is not over yet is not recorded.
        total = self._traffic(Span(span.since - _MINUTE_S, span.until))
        value: float | None
        unit: Unit
        match rule.measure:
            case "requests":
                value, unit, method = float(total.requests), "requests", "requests answered"
                if not total.minutes:
                    value = None  # no server, which is another matter than no requests
            case "p95_latency":
                value, unit = durations.quantile(total.seconds, 0.95), "seconds"
                method = "95th percentile of the durations of requests, at most 26 % above the exact one"
            case "error_share":
                value, unit, method = _ratio(total.errors, total.requests), "share", "requests answered with a 5xx"
            case _:
                value, unit, method = _ratio(total.refused, total.requests), "share", "requests answered with a 4xx"
        return Measure(rule.measure, span, value, unit, total.minutes if unit == "requests" else total.requests, method)

    def _silence(self) -> Measure:
        latest = last_minute(self._store)
        seconds = None if latest is None else max(0.0, self.now - latest[0] - _MINUTE_S)
        span = Span(self.now - (seconds or 0.0), self.now)
        return Measure("silence", span, seconds, "seconds", 1, "since the last minute that a server recorded")

    def _other_model_served(self, span: Span) -> Measure:
        champion = self._champion()
        served = self._traffic(span).bentos
        value = None if champion is None or not served else float(champion.bento not in served)
        if value and champion is not None and champion.since > span.since:
            value = None  # servers take a moment to follow, and record minutes when they are over
        method = f"{', '.join(sorted(served)) or 'nothing'} is served, {champion.bento if champion else 'none'} is due"
        return Measure("other_model_served", span, value, "yes or no", max(1, len(served)), method)

    def _drift(self) -> Measure:
        champion = self._champion()
        window = None if champion is None else last_window(self._store, champion.version)
        if window is None:
            nothing = "no complete window of the champion's answers has been judged"
            return Measure("drift", Span(self.now, self.now), None, "times the threshold", 0, nothing)
        span = Span(window.since, window.until)
        return Measure("drift", span, window.effect, "times the threshold", window.answers, window.summary)

    def _spool_age(self) -> Measure:
        age = 0.0
        if self._shipped:
            _, oldest = waiting_rows(self._local)
            age = 0.0 if oldest is None else max(0.0, self.now - oldest)
        span = Span(self.now - age, self.now)
        return Measure(
            "spool_age", span, age, "seconds", 1, f"age of the oldest row in '{self._local.engines[0].url.database}'"
        )

    def _unusual(self, rule: Rule, condition: Unusual) -> Finding:
        over = int(self.now // SECONDS_PER_HOUR)
        span = Span((over - 1) * SECONDS_PER_HOUR, over * SECONDS_PER_HOUR)
        by_hour = hourly_counts(self._store, over - 1 - condition.weeks * HOURS_PER_WEEK, over, self.now)
        counts = {hour: (found[rule.label or ""], sum(found.values())) for hour, found in by_hour.items()}
        found = compare_hour(
            counts,
            over - 1,
            weeks=condition.weeks,
            minimum=rule.minimum,
            false_alarms_per_year=condition.false_alarms_per_year,
        )
        part, whole = counts.get(over - 1, (0, 0))
        method = f"{rule.label} answers, in the last full hour"
        measure = Measure(rule.measure, span, _ratio(part, whole), "share", whole, method)
        if found is None:
            return Finding(measure, None, f"the same hour of the last {condition.weeks} weeks has too few answers")
        limit = (
            f"{found.low * 100:.1f} to {found.high * 100:.1f} % is usual for this hour "
            f"(mean of {found.weeks} weeks: {found.usual * 100:.1f} %)"
        )
        return Finding(measure, found.unusual, limit)

    def _below_reference(self, rule: Rule, condition: BelowReference, *, fires: bool) -> Finding:
        span = Span(self.now - rule.window, self.now)
        champion = self._champion()
        reference = condition.reference or (champion.test_accuracy if champion else None)
        reviewed = reviewed_answers(self._store, span, champion.version) if champion else []
        if champion is None or reference is None or len(reviewed) < max(rule.minimum, 1):
            nothing = Measure("accuracy", span, None, "share", len(reviewed), "labels of answers drawn for review")
            return Finding(
                nothing, None, "no champion with a known test accuracy" if reference is None else "few labels"
            )
        correct = [answer.label == answer.sentiment for answer in reviewed]
        inclusion = [answer.draw_probability or 0.0 for answer in reviewed]
        bound = max(reference - condition.margin, 0.01)
        evidence = float(evidence_of_a_drop(correct, inclusion, bound)[-1])
        answered, drawn = answer_numbers(self._store, span, champion.version)
        sample = LabelledSample(answered, range(len(reviewed)), inclusion, correct, drawn)
        estimate = labels_only(sample)
        measure = Measure(
            "accuracy", span, estimate.value, "share", len(reviewed), estimate.method, estimate.low, estimate.high
        )
        enough = condition.labels_between_false_alarms
        over = enough * _OVER_AT
        limit = (
            f"the limit is {bound * 100:.1f} %, {condition.margin * 100:g} points below {reference * 100:.1f} %; the "
            f"evidence of a drop is {evidence:,.3g}; {enough:,.0f} alarms, and below {over:,.3g} it is over"
        )
        return Finding(measure, evidence >= (over if fires else enough), limit)


def _beyond(rule: Rule, measure: Measure) -> Finding:
    """Whether a measure is beyond the fixed limit of a rule."""
    if rule.at_least is not None:
        limit, beyond = f"at least {rule.at_least:g}", measure.value is not None and measure.value >= rule.at_least
    else:
        at_most = rule.at_most or 0.0
        limit, beyond = f"at most {at_most:g}", measure.value is not None and measure.value <= at_most
    # A count of answers is exact, however few there are.
    few = measure.of < rule.minimum and measure.unit != "answers"
    return Finding(measure, None if measure.value is None or few else beyond, limit)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
