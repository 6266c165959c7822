"""Many texts: a file or a pasted list, classified with a progress bar, then counted, drawn, filtered and downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import streamlit as st

from page import charts, topics
from page.batch_job import BatchJob
from page.service import Prediction, Service, ServiceAway
from page.tweets_file import (
    TYPES,
    UnreadableFile,
    days,
    guess_date_column,
    guess_text_column,
    pasted_table,
    read_table,
)
from page.wording import Wording

MAX_ROWS = 500_000
_SHOWN_WORDS = 10


@dataclass
class Given:
    """The texts of a job with their days; `day` is NaT throughout where there are no dates."""

    texts: list[str]
    days: pd.Series


@dataclass
class Classified:
    """Answered texts: columns `text`, `day`, `sentiment`, `probability`; refused ones: `text`, `reason`."""

    rows: pd.DataFrame
    refused: pd.DataFrame

    @classmethod
    def of(cls, given: Given, answers: list[Prediction | str]) -> Classified:
        """Put answers to their texts."""
        known = [(n, answer) for n, answer in enumerate(answers) if isinstance(answer, Prediction)]
        rows = pd.DataFrame(
            {
                "text": [given.texts[n] for n, _ in known],
                "day": given.days.iloc[[n for n, _ in known]].to_numpy(),
                "sentiment": [answer.sentiment for _, answer in known],
                "probability": [answer.score for _, answer in known],
            }
        )
        refused = [(given.texts[n], answer) for n, answer in enumerate(answers) if isinstance(answer, str)]
        return cls(rows, pd.DataFrame(refused, columns=["text", "reason"]))

    @cached_property
    def hashtags(self) -> pd.DataFrame:
        """The most frequent hashtags, with the share of each sentiment."""
        found = topics.hashtags(self.rows["text"])
        by = {label: topics.hashtags(part["text"]) for label, part in self.rows.groupby("sentiment")}
        top = found.most_common(_SHOWN_WORDS)
        return pd.DataFrame(
            {"hashtag": [tag for tag, _ in top], "texts": [n for _, n in top]}
            | {label: [round(counts[tag] / n, 3) for tag, n in top] for label, counts in by.items()}
        )

    @cached_property
    def words(self) -> dict[str, pd.DataFrame]:
        """The words that are characteristic of each sentiment."""
        by = {str(label): topics.words(part["text"]) for label, part in self.rows.groupby("sentiment")}
        whole = sum(by.values(), start=type(next(iter(by.values())))()) if by else None
        return {
            label: pd.DataFrame(
                [(word, n) for word, n, _ in topics.characteristic(counts, whole, _SHOWN_WORDS)],
                columns=["word", "texts"],
            )
            for label, counts in by.items()
            if whole is not None
        }


def show(service: Service, wording: Wording) -> None:
    """Take texts, classify them, and show what came out."""
    state = st.session_state
    if (job := state.get("job")) is not None:
        _watch_job(job, wording)
        return
    table = _given_table(wording)
    if table is not None:
        given = _chosen_columns(table, wording)
        classify = wording("many.classify", count=wording.number(len(given.texts)))
        if given.texts and st.button(classify, type="primary", icon=":material/play_arrow:"):
            state["given"] = given
            state["job"] = BatchJob(service, given.texts, wording.language)
            state.pop("classified", None)
            st.rerun()
    if (classified := state.get("classified")) is not None:
        st.divider()
        _show_result(classified, wording)


@st.fragment(run_every=0.5)
def _watch_job(job: BatchJob, wording: Wording) -> None:
    done, total = len(job.answers), job.total
    words = wording("many.progress", done=wording.number(done), total=wording.number(total))
    st.progress(done / total, text=words)
    if job.waiting:
        st.warning(wording("many.waiting"), icon=":material/hourglass:")
    stopped = st.button(wording("many.stop"), icon=":material/stop:")
    if stopped:
        job.stop()
    if stopped or not job.running:
        state = st.session_state
        state["classified"] = Classified.of(state.pop("given"), job.answers)
        state["job_remark"] = _remark(job, wording)
        del state["job"]
        st.rerun()


def _remark(job: BatchJob, wording: Wording) -> str | None:
    if len(job.answers) == job.total:
        return None
    numbers = {"done": wording.number(len(job.answers)), "total": wording.number(job.total)}
    if job.problem is None:
        return wording("many.stopped", **numbers)
    reason = wording("many.service_went") if isinstance(job.problem, ServiceAway) else str(job.problem)
    return wording("many.broken_off", reason=reason, **numbers)


def _given_table(wording: Wording) -> pd.DataFrame | None:
    uploaded = st.file_uploader(wording("many.file"), TYPES, help=wording("many.file_help"))
    if uploaded is not None:
        state = st.session_state
        if state.get("table_of") != uploaded.file_id:
            try:
                state["table"], state["table_of"] = read_table(uploaded.name, uploaded.getvalue()), uploaded.file_id
            except UnreadableFile as error:
                st.error(wording("many.unreadable", name=uploaded.name, reason=error), icon=":material/error:")
                return None
        table: pd.DataFrame = state["table"]
    else:
        table = pasted_table(st.text_area(wording("many.paste"), placeholder=wording("many.paste_example")))
    if not len(table):
        if uploaded is not None:
            st.warning(wording("many.no_rows"), icon=":material/error:")
        return None
    if len(table) > MAX_ROWS:
        st.warning(wording("many.too_many", limit=wording.number(MAX_ROWS)), icon=":material/error:")
        return table.head(MAX_ROWS)
    return table


def _chosen_columns(table: pd.DataFrame, wording: Wording) -> Given:
    columns = [str(column) for column in table.columns]
    text_column, date_column = columns[0], None
    if len(columns) > 1:
        guessed = guess_text_column(table)
        left, right = st.columns(2)
        text_column = left.selectbox(wording("many.text_column"), columns, index=columns.index(guessed))
        dates = guess_date_column(table, text_column)
        no_date = wording("many.no_date")
        options = [no_date, *(column for column in columns if column != text_column)]
        chosen = right.selectbox(wording("many.date_column"), options, index=options.index(dates) if dates else 0)
        date_column = None if chosen == no_date else chosen
        with st.expander(wording("many.preview")):
            st.dataframe(table.head(5), hide_index=True, alt=wording("many.preview"))
    texts = ["" if text is None else str(text) for text in table[text_column].tolist()]
    none = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns]")
    return Given(texts, none if date_column is None else days(table[date_column]))


def _show_result(classified: Classified, wording: Wording) -> None:
    rows = classified.rows
    if remark := st.session_state.get("job_remark"):
        st.warning(remark, icon=":material/info:")
    if not len(rows):
        st.info(wording("many.nothing"), icon=":material/info:")
    else:
        _show_counts(classified, wording)
        _show_by_day(rows, wording)
        _show_topics(classified, wording)
        _show_table(rows, wording)
    if len(classified.refused):
        with st.expander(wording("many.refused", count=wording.number(len(classified.refused)))):
            st.dataframe(classified.refused, hide_index=True, alt=wording("many.refused", count=""))


def _show_counts(classified: Classified, wording: Wording) -> None:
    counts = classified.rows["sentiment"].value_counts()
    with st.container(horizontal=True):
        st.metric(wording("many.answered"), wording.number(len(classified.rows)), border=True)
        for label, count in counts.items():
            share = wording.percent(count / len(classified.rows), 1)
            st.metric(wording.label(str(label)), f"{wording.number(count)} ({share})", border=True)


def _show_by_day(rows: pd.DataFrame, wording: Wording) -> None:
    dated = rows[rows["day"].notna()]
    if not len(dated):
        st.caption(wording("many.no_days"))
        return
    counts = dated.groupby(["day", "sentiment"]).size().rename("texts").reset_index()
    order = sorted(rows["sentiment"].unique())
    names = {label: wording.label(label) for label in order}
    chart = charts.stacked_by_time(
        counts, time="day", kind="sentiment", value="texts", order=order, names=names, step_s=86_400
    )
    numbers = counts.pivot(index="day", columns="sentiment", values="texts").fillna(0).astype(int).reset_index()
    charts.show_chart(chart, numbers.rename(columns=names), wording("many.by_day"), wording, "by-day")


def _show_topics(classified: Classified, wording: Wording) -> None:
    st.markdown(f"#### {wording('many.topics')}")
    words = classified.words
    for place, (label, found) in zip(st.columns(max(len(words), 1)), words.items(), strict=False):
        title = wording("many.words_of", label=wording.label(label))
        place.markdown(f"**{title}**")
        if len(found):
            columns = {"word": wording("many.word"), "texts": wording("many.texts")}
            place.dataframe(found.rename(columns=columns), hide_index=True, alt=title, height="content")
        else:
            place.caption(wording("many.no_words"))
    if len(classified.hashtags):
        st.markdown(f"**{wording('many.hashtags')}**")
        shares = {label: st.column_config.NumberColumn(wording.label(label), format="percent") for label in words}
        named = {"hashtag": wording("many.hashtag"), "texts": wording("many.texts")}
        st.dataframe(
            classified.hashtags,
            hide_index=True,
            column_config={**named, **shares},
            alt=wording("many.hashtags"),
            height="content",
        )


def _show_table(rows: pd.DataFrame, wording: Wording) -> None:
    st.markdown(f"#### {wording('many.table')}")
    labels = sorted(rows["sentiment"].unique())
    left, middle, right = st.columns(3)
    kept = left.multiselect(
        wording("many.filter_sentiment"), labels, format_func=wording.label, placeholder=wording("many.any_sentiment")
    )
    least = middle.slider(wording("many.filter_probability"), 0, 100, 0, format="%d %%")
    containing = right.text_input(wording("many.filter_text"))
    found = rows
    if kept:
        found = found[found["sentiment"].isin(kept)]
    if least:
        found = found[found["probability"] >= least / 100]
    if containing:
        found = found[found["text"].str.contains(containing, case=False, regex=False)]
    st.caption(wording("many.found", count=wording.number(len(found)), total=wording.number(len(rows))))
    if not found["day"].notna().any():
        found = found.drop(columns="day")
    shown = found.assign(
        sentiment=found["sentiment"].map({label: wording.label(label) for label in labels}),
        probability=found["probability"].round(3),
    )
    st.dataframe(
        shown,
        hide_index=True,
        lazy=True,
        alt=wording("many.table"),
        column_config={
            "text": st.column_config.TextColumn(wording("many.text"), width="large"),
            "day": st.column_config.DateColumn(wording("many.day")),
            "sentiment": wording("many.sentiment"),
            "probability": st.column_config.ProgressColumn(
                wording("many.probability"), format="percent", min_value=0, max_value=1
            ),
        },
    )
    st.download_button(
        wording("many.download"),
        lambda: found.to_csv(index=False).encode("utf-8-sig"),
        "sentiments.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
