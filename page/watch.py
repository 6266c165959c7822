"""The screen Watch: how things are going, from the service's figures."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from page import charts
from page.service import Service, ServiceAway, ServiceRefused
from page.wording import Wording, plain

# Length of the range and of its steps, in seconds.
RANGES = {"hour": (3_600, 60), "day": (86_400, 1_800), "week": (604_800, 10_800), "month": (2_592_000, 43_200)}
_REFRESH_S = 15.0
_SEVERITIES = {"critical": ":material/error:", "warning": ":material/warning:"}


def show(service: Service, wording: Wording) -> None:
    """Show the screen; it reads the figures again every few seconds."""
    st.title(wording("watch.title"))
    left, right = st.columns(2)
    chosen = left.segmented_control(
        wording("watch.range"),
        list(RANGES),
        default="day",
        required=True,
        key="range",
        bind="query-params",
        format_func=lambda name: wording(f"watch.{name}"),
    )
    known = _read(service, wording, chosen, None)["versions"]
    options = [None, *(one["version"] for one in known)]
    version = right.selectbox(
        wording("watch.version"), options, format_func=lambda one: wording("watch.all_versions") if one is None else one
    )
    _show_figures(service, wording, chosen, version)


def _read(service: Service, wording: Wording, chosen: str, version: str | None) -> dict[str, Any]:
    length, step = RANGES[chosen]
    return service.figures(time.time() - length, step, version, wording.language)


@st.fragment(run_every=_REFRESH_S)
def _show_figures(service: Service, wording: Wording, chosen: str, version: str | None) -> None:
    try:
        figures = _read(service, wording, chosen, version)
        status = service.status(wording.language)
    except (ServiceAway, ServiceRefused):
        st.rerun()  # the whole page says it
    _show_alerts(figures, wording)
    _show_served(status, figures, wording)
    if not figures["answers"] and not figures["requests"]:
        st.info(wording("watch.empty"), icon=":material/hourglass_empty:")
        return
    _show_versions(figures, wording)
    _show_answers(figures, wording)
    _show_requests(figures, wording)
    left, right = st.columns(2)
    with left:
        _show_accuracy(figures, wording)
    with right:
        _show_drift(figures, wording)


def _show_alerts(figures: dict[str, Any], wording: Wording) -> None:
    firing = [alert for alert in figures["alerts"] if alert["ended_at"] is None]
    for alert in firing:
        words = wording("watch.firing", rule=_name(alert), summary=alert["summary"], since=_when(alert["started_at"]))
        show = st.error if alert["severity"] == "critical" else st.warning
        show(words, icon=_SEVERITIES.get(alert["severity"], ":material/info:"))
    if not firing:
        st.success(wording("watch.no_alert"), icon=":material/check_circle:")
    over = [alert for alert in figures["alerts"] if alert["ended_at"] is not None]
    if over:
        with st.expander(wording("watch.over", count=wording.number(len(over)))):
            rows = [
                {
                    wording("watch.alert"): _name(alert),
                    wording("watch.found"): alert["summary"],
                    wording("watch.from"): _when(alert["started_at"]),
                    wording("watch.to"): _when(alert["ended_at"]),
                }
                for alert in over
            ]
            st.dataframe(rows, hide_index=True, alt=wording("watch.over", count=""))


def _show_served(status: dict[str, Any], figures: dict[str, Any], wording: Wording) -> None:
    record = status["record"]
    cards = []
    since = record["served_since"] if record else None
    cards.append(
        (
            wording("watch.served"),
            status["model"]["version"],
            wording("watch.since", at=_when(since)) if since else status["model"]["family"],
        )
    )
    answers = sum(one["answers"] for one in figures["answers"])
    requests = sum(one["requests"] for one in figures["requests"])
    below = wording("watch.requests", count=wording.number(requests))
    cards.append((wording("watch.volume"), wording.number(answers), below))
    if (accuracy := _last_accuracy(figures)) is not None:
        bounds = {"low": wording.percent(accuracy["low"], 1), "high": wording.percent(accuracy["high"], 1)}
        value = wording.percent(accuracy["value"], 1)
        cards.append((wording("watch.accuracy"), value, wording("watch.between", **bounds)))
    if (challenger := figures["challenger"]) is not None:
        phase = wording("watch.canary", phase=challenger["phase"], share=wording.percent(challenger["clients"]))
        cards.append((wording("watch.challenger"), challenger["version"] or "–", f"{phase} {challenger['reason']}"))
    for place, card in zip(st.columns(len(cards)), cards, strict=True):
        with place:
            _show_card(*card)
    if status["problem"]:
        st.warning(status["problem"], icon=":material/database_off:")
    if status["following"] and status["following"]["problem"]:
        st.warning(status["following"]["problem"], icon=":material/sync_problem:")


def _show_versions(figures: dict[str, Any], wording: Wording) -> None:
    title = wording("watch.versions")
    with st.expander(title):
        rows = [
            {
                wording("watch.version"): one["version"],
                wording("watch.from"): _when(one["first_at"]),
                wording("watch.to"): _when(one["last_at"]),
                wording("watch.volume"): one["answers"],
            }
            for one in figures["versions"]
        ]
        st.dataframe(rows, hide_index=True, alt=title)


def _show_card(label: str, value: str, below: str) -> None:
    with st.container(border=True, height="stretch"):
        st.caption(label)
        st.markdown(f"#### {plain(value)}")
        st.caption(plain(below))


def _last_accuracy(figures: dict[str, Any]) -> dict[str, Any] | None:
    known = [one for one in figures["measures"] if one["name"] == "accuracy" and not one["source"]]
    return known[-1] if known else None


def _show_answers(figures: dict[str, Any], wording: Wording) -> None:
    answers = pd.DataFrame(figures["answers"])
    if not len(answers):
        return
    answers["at"] = pd.to_datetime(answers["at"], unit="s", utc=True)
    answers["sum"] = answers["confidence"] * answers["answers"]
    by = answers.groupby(["at", "sentiment"])[["answers", "sum"]].sum().reset_index()
    labels = sorted(by["sentiment"].unique())
    names = {label: wording.label(label) for label in labels}
    total = by.groupby("at")[["answers", "sum"]].sum()
    by["share"] = by["answers"] / by["at"].map(total["answers"])
    time_name = wording("watch.time")

    left, right = st.columns(2)
    with left:
        counts = by.pivot(index="at", columns="sentiment", values="answers").fillna(0).astype(int)
        chart = charts.stacked_by_time(
            by, time="at", kind="sentiment", value="answers", order=labels, names=names, step_s=figures["step_s"]
        )
        numbers = _numbers(counts.rename(columns=names), time_name)
        charts.show_chart(chart, numbers, wording("watch.volume"), wording, "vol")
    with right:
        shares = by.pivot(index="at", columns="sentiment", values="share").fillna(0)
        curves = charts.lines(by, time="at", kind="sentiment", value="share", order=labels, names=names, percent=True)
        numbers = _numbers(shares.rename(columns=names), time_name)
        charts.show_chart(curves, numbers, wording("watch.shares"), wording, "shares", percent=True)

    title = wording("watch.confidence")
    confidence = (total["sum"] / total["answers"]).rename(title)
    named = confidence.rename("confidence").reset_index().assign(kind=title)
    curves = charts.lines(
        named, time="at", kind="kind", value="confidence", order=[title], names={}, percent=True, zero=False
    )
    numbers = _numbers(confidence.to_frame(), time_name)
    left, right = st.columns(2)
    with left:
        charts.show_chart(curves, numbers, wording("watch.confidence_title"), wording, "confidence", percent=True)
    with right:
        _show_latency(figures, wording)


def _show_latency(figures: dict[str, Any], wording: Wording) -> None:
    requests = _requests(figures)
    if not len(requests):
        st.markdown(f"#### {wording('watch.latency')}")
        st.caption(wording("watch.no_requests"))
        return
    quantiles = {"p50": wording("watch.p50"), "p95": wording("watch.p95")}
    requests[list(quantiles)] = requests[list(quantiles)].astype(float) * 1_000
    latency = requests.melt("at", list(quantiles), "kind", "ms").dropna()
    chart = charts.lines(latency, time="at", kind="kind", value="ms", order=list(quantiles), names=quantiles)
    numbers = requests[["at", *quantiles]].set_index("at").rename(columns=quantiles).round(1)
    charts.show_chart(chart, _numbers(numbers, wording("watch.time")), wording("watch.latency"), wording, "latency")


def _show_requests(figures: dict[str, Any], wording: Wording) -> None:
    requests = _requests(figures)
    if not len(requests):
        return
    if not (requests["refused"].any() or requests["errors"].any()):
        st.markdown(f"#### {wording('watch.refusals')}")
        st.caption(wording("watch.no_refusals", count=wording.number(int(requests["requests"].sum()))))
        return
    refusals = {"refused": wording("watch.refused"), "errors": wording("watch.failed")}
    counts = requests.melt("at", list(refusals), "kind", "count")
    chart = charts.stacked_by_time(
        counts, time="at", kind="kind", value="count", order=list(refusals), names=refusals, step_s=figures["step_s"]
    )
    columns = {"requests": wording("watch.all_requests"), **refusals}
    numbers = requests[["at", *columns]].set_index("at").rename(columns=columns)
    charts.show_chart(chart, _numbers(numbers, wording("watch.time")), wording("watch.refusals"), wording, "refusals")


def _requests(figures: dict[str, Any]) -> pd.DataFrame:
    found = pd.DataFrame(figures["requests"])
    if len(found):
        found["at"] = pd.to_datetime(found["at"], unit="s", utc=True)
    return found


def _show_accuracy(figures: dict[str, Any], wording: Wording) -> None:
    last = _last_accuracy(figures)
    if last is None:
        st.markdown(f"#### {wording('watch.accuracy')}")
        st.info(wording("watch.no_accuracy"), icon=":material/label:")
        return
    found = pd.DataFrame([one for one in figures["measures"] if one["name"] == "accuracy" and not one["source"]])
    found["at"] = pd.to_datetime(found["until"], unit="s", utc=True)
    columns = {
        "at": wording("watch.time"),
        "version": wording("watch.version"),
        "value": wording("watch.accuracy"),
        "low": wording("watch.low"),
        "high": wording("watch.high"),
        "of": wording("watch.labels"),
        "method": wording("watch.method"),
    }
    charts.show_chart(
        charts.intervals(found, time="at"),
        found[list(columns)].rename(columns=columns),
        wording("watch.accuracy_chart"),
        wording,
        "accuracy",
        percent=True,
    )
    st.caption(
        wording(
            "watch.accuracy_now",
            value=wording.percent(last["value"], 1),
            low=wording.percent(last["low"], 1),
            high=wording.percent(last["high"], 1),
            labels=wording.number(last["of"]),
            method=plain(last["method"]),
        )
    )


def _show_drift(figures: dict[str, Any], wording: Wording) -> None:
    title = wording("watch.drift")
    if not figures["drift"]:
        st.markdown(f"#### {title}")
        st.caption(wording("watch.no_drift"))
        return
    found = pd.DataFrame(figures["drift"])
    found["at"] = pd.to_datetime(found["until"], unit="s", utc=True)
    columns = {
        "at": wording("watch.time"),
        "answers": wording("watch.volume"),
        "effect": wording("watch.times"),
        "summary": wording("watch.found"),
    }
    numbers = found.round({"effect": 2})[list(columns)].rename(columns=columns)
    charts.show_chart(charts.threshold(found, time="at", value="effect"), numbers, title, wording, "drift")
    last = figures["drift"][-1]
    state = "watch.drifted" if last["effect"] >= 1 else "watch.not_drifted"
    st.caption(wording(state, effect=wording.number(last["effect"], 2), summary=plain(last["summary"])))


def _numbers(table: pd.DataFrame, time_name: str) -> pd.DataFrame:
    found = table.reset_index().rename(columns={"at": time_name})
    found.columns.name = None
    return found


def _name(alert: dict[str, Any]) -> str:
    return plain(f"{alert['rule']} ({alert['source']})" if alert["source"] else alert["rule"])


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
