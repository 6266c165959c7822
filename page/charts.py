"""Charts with a plain title, and their numbers as a table on request."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from page.wording import Wording

Chart = alt.Chart | alt.LayerChart | alt.FacetChart
# Told apart also by those who see no red and green, on light and on dark ground; a legend names each.
_COLOURS = {"positive": "#2f7ed8", "neutral": "#8a8f98", "negative": "#d97706"}
_OTHERS = ("#7c5cc4", "#0f9d8a", "#c2418c", "#6b8e23")
_TIME_IN_TABLES = "YYYY-MM-DD HH:mm"
# Vega would write hours as in the United States.
_TIME_LABEL = "utcFormat(datum.value, utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : '%-d %b')"
_FRENCH = alt.Locale(
    number=alt.NumberLocale(decimal=",", thousands="\u202f", grouping=[3], currency=["", "\u00a0€"], percent="\u202f%"),
    time=alt.TimeLocale(
        dateTime="%A %e %B %Y à %X",
        date="%d/%m/%Y",
        time="%H:%M:%S",
        periods=["AM", "PM"],
        days=["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        shortDays=["dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."],
        months=[
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
        shortMonths=["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    ),
)


def colours(names: Sequence[str]) -> alt.Scale:
    """A colour for each name, the same for a label everywhere."""
    others = iter(_OTHERS * len(names))
    return alt.Scale(domain=list(names), range=[_COLOURS.get(name) or next(others) for name in names])


def show_chart(
    chart: Chart,
    numbers: pd.DataFrame,
    title: str,
    wording: Wording,
    key: str,
    *,
    percent: bool = False,
) -> None:
    """A chart below its title, and a switch for its numbers; `percent` says that these are shares."""
    st.markdown(f"#### {title}")
    if wording.language == "fr":
        chart = chart.configure(locale=_FRENCH)
    st.altair_chart(chart.properties(height=240), alt=title, key=key)
    if st.toggle(wording("charts.numbers"), key=f"{key}-numbers"):
        shares = numbers.select_dtypes("float").columns if percent else []
        times = numbers.select_dtypes(["datetime", "datetimetz"]).columns
        config = {name: st.column_config.NumberColumn(format="percent") for name in shares}
        config |= {name: st.column_config.DatetimeColumn(format=_TIME_IN_TABLES, timezone="UTC") for name in times}
        shown = numbers.round(dict.fromkeys(shares, 3))
        st.dataframe(shown, hide_index=True, alt=title, column_config=config)


def stacked_by_time(
    counts: pd.DataFrame,
    *,
    time: str,
    kind: str,
    value: str,
    order: Sequence[str],
    names: dict[str, str],
    step_s: float,
) -> alt.Chart:
    """Bars over time, each as wide as its step, stacked by kind."""
    # Vega-Lite does not stack bars that have a width of their own.
    place = counts[kind].map(list(order).index)
    shown = counts.assign(place=place).sort_values([time, "place"])
    shown["top"] = shown.groupby(time)[value].cumsum()
    shown["bottom"] = shown["top"] - shown[value]
    shown["end"] = shown[time] + pd.Timedelta(seconds=0.9 * step_s)
    shown[kind] = shown[kind].map(lambda name: names.get(name, name))
    chart: alt.Chart = (
        alt.Chart(shown[shown[value] > 0])
        .mark_bar()
        .encode(
            x=_time_axis(time),
            x2="end:T",
            y=alt.Y("bottom:Q", title=None, axis=alt.Axis(tickMinStep=1)),
            y2="top:Q",
            color=_colour(kind, order, names, "square"),
            tooltip=[_time_tip(time), f"{kind}:N", f"{value}:Q"],
        )
    )
    return chart


def lines(
    figures: pd.DataFrame,
    *,
    time: str,
    kind: str,
    value: str,
    order: Sequence[str],
    names: dict[str, str],
    percent: bool = False,
    zero: bool = True,
) -> Chart:
    """A line over time for each kind, distinguished by its dashes as well as its colour."""
    shown = figures.assign(**{kind: figures[kind].map(lambda name: names.get(name, name))})
    axis = alt.Axis(format=".0%", tickMinStep=0.01) if percent else alt.Axis()
    base = alt.Chart(shown).encode(
        x=_time_axis(time),
        y=alt.Y(f"{value}:Q", title=None, axis=axis, scale=alt.Scale(zero=zero)),
        color=_colour(kind, order, names, "stroke"),
        tooltip=[_time_tip(time), f"{kind}:N", alt.Tooltip(f"{value}:Q", format=".1%" if percent else ".3~g")],
    )
    dashes = alt.StrokeDash(f"{kind}:N", title=None, sort=[names.get(name, name) for name in order], legend=None)
    return alt.layer(base.mark_line().encode(strokeDash=dashes), base.mark_point(filled=True, size=25, opacity=1))


def intervals(figures: pd.DataFrame, *, time: str) -> Chart:
    """Shares (`value`) over time with their intervals (`low`, `high`)."""
    base = alt.Chart(figures).encode(
        x=_time_axis(time),
        tooltip=[_time_tip(time), *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("value", "low", "high"))],
    )
    scale, colour = alt.Scale(zero=False), _OTHERS[0]
    bars = base.mark_rule(strokeWidth=2, color=colour).encode(
        y=alt.Y("low:Q", title=None, scale=scale, axis=alt.Axis(format=".0%", tickMinStep=0.01)), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=80, opacity=1, color=colour).encode(y=alt.Y("value:Q", scale=scale))
    return alt.layer(bars, points)


def threshold(figures: pd.DataFrame, *, time: str, value: str) -> Chart:
    """Multiples of a threshold over time, with a line at 1."""
    line = alt.Chart(pd.DataFrame({"limit": [1.0]})).mark_rule(strokeDash=[6, 4], color=_COLOURS["negative"])
    points = (
        alt.Chart(figures)
        .mark_point(filled=True, size=80, opacity=1, color=_OTHERS[0])
        .encode(
            x=_time_axis(time),
            y=alt.Y(f"{value}:Q", title=None),
            tooltip=[_time_tip(time), alt.Tooltip(f"{value}:Q", format=".2f")],
        )
    )
    return alt.layer(points, line.encode(y="limit:Q"))


def _time_axis(name: str) -> alt.X:
    # The same times as in the tables, wherever the browser is.
    return alt.X(
        f"{name}:T",
        title=None,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(labelOverlap=True, tickCount=6, labelExpr=_TIME_LABEL),
    )


def _time_tip(name: str) -> alt.Tooltip:
    return alt.Tooltip(f"{name}:T", title="UTC", formatType="utc", format="%Y-%m-%d %H:%M")


def _colour(kind: str, order: Sequence[str], names: dict[str, str], symbol: str) -> alt.Color:
    scale = colours(order)
    scale.domain = [names.get(name, name) for name in order]
    legend = alt.Legend(orient="top", symbolType=symbol, labelLimit=0, offset=4, padding=0) if len(order) > 1 else None
    return alt.Color(f"{kind}:N", title=None, scale=scale, legend=legend)
