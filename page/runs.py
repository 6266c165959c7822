"""The screen Trainings: the finished ones side by side, and a training on a file of one's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

from page.service import Service
from page.settings import Settings
from page.trainings import NotThere, Progress, Trainings
from page.tweets_file import UnreadableFile, guess_label_column, guess_text_column, read_table
from page.wording import Wording, plain

_TYPES = ["csv", "tsv", "parquet", "jsonl", "ndjson", "json"]
_REFRESH_S = 2.0
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@st.cache_resource
def trainings() -> Trainings:
    """Where trainings are, shared by everybody who looks at the page."""
    settings = Settings.read()
    return Trainings(settings.runs_url, settings.prefect_url, settings.prefect_login)


def show(service: Service, wording: Wording) -> None:
    """Show the screen."""
    st.title(wording("runs.title"))
    known = trainings()
    try:
        finished = known.finished()
    except NotThere:
        st.warning(wording("runs.away", url=known.runs_url), icon=":material/cloud_off:")
    else:
        if finished:
            _show_table(finished, wording)
            _show_training(finished, wording)
        else:
            st.info(wording("runs.empty"), icon=":material/model_training:")
    st.divider()
    st.markdown(f"#### {wording('runs.new')}")
    if not known.can_start():
        st.info(wording("runs.no_prefect", url=known.prefect_url), icon=":material/cloud_off:")
    elif (run := st.session_state.get("flow_run")) is not None:
        _follow(known, run, wording)
    else:
        _ask_for_file(known, wording)


def _show_table(finished: list[dict[str, Any]], wording: Wording) -> None:
    rows = [
        {
            wording("runs.training"): _when(one["started"]),
            wording("runs.model"): model["name"],
            wording("runs.accuracy"): round(model["test"]["accuracy"], 3),
            wording("runs.macro_f1"): round(model["test"]["macro_f1"], 3),
            wording("runs.train_rows"): model["train_rows"],
            wording("runs.fit"): wording("runs.cached") if model["cached"] else f"{model['train_seconds']:.0f} s",
            wording("runs.latency"): model["latency_ms_p95"],
            wording("runs.size"): model["size_bytes"] / 1e6,
            wording("runs.verdict"): _verdict(one, model["name"], wording),
        }
        for one in finished
        for model in one["models"]
    ]
    number, percent = st.column_config.NumberColumn, st.column_config.NumberColumn(format="percent")
    config = {
        wording("runs.accuracy"): percent,
        wording("runs.macro_f1"): percent,
        wording("runs.latency"): number(format="%.1f"),
        wording("runs.size"): number(format="%.1f"),
    }
    st.dataframe(rows, hide_index=True, alt=wording("runs.title"), column_config=config)


def _verdict(one: dict[str, Any], model: str, wording: Wording) -> str:
    if one["verdict"]["selected"] != model:
        return ""
    return wording("runs.promoted" if one["verdict"]["promoted"] else "runs.selected")


def _show_training(finished: list[dict[str, Any]], wording: Wording) -> None:
    names = {one["run_id"]: f"{_when(one['started'])} · {one['data']['source']}" for one in finished}
    chosen = st.selectbox(wording("runs.choose"), list(names), format_func=names.__getitem__)
    one = next(one for one in finished if one["run_id"] == chosen)
    data, verdict = one["data"], one["verdict"]
    with st.container(border=True):
        if verdict["selected"]:
            key = "runs.is_champion" if verdict["promoted"] else "runs.is_selected"
            st.markdown(f"**{wording(key, model=plain(verdict['selected']))}**")
        else:
            st.markdown(f"**{wording('runs.none_selected')}**")
        st.text(verdict["reason"])
        rows, left_out = wording.number(data["rows"]), wording.number(data["quarantined"])
        minutes = wording.number(one["seconds"] / 60, 1)
        st.caption(wording("runs.data", source=plain(data["source"]), rows=rows, left_out=left_out, minutes=minutes))
        with st.container(horizontal=True):
            for name, link in one["links"].items():
                st.link_button(wording(f"runs.link_{name}"), link, icon=":material/open_in_new:")


def _ask_for_file(known: Trainings, wording: Wording) -> None:
    st.caption(wording("runs.new_help"))
    uploaded = st.file_uploader(wording("runs.file"), _TYPES)
    if uploaded is None:
        return
    content = uploaded.getvalue()
    try:
        table = read_table(uploaded.name, content)
    except UnreadableFile as error:
        st.error(wording("many.unreadable", name=plain(uploaded.name), reason=error), icon=":material/error:")
        return
    columns = [str(column) for column in table.columns]
    if len(columns) < 2:
        st.warning(wording("runs.two_columns"), icon=":material/error:")
        return
    text = guess_text_column(table)
    left, right = st.columns(2)
    text = left.selectbox(wording("many.text_column"), columns, index=columns.index(text))
    label = guess_label_column(table, text)
    others = [column for column in columns if column != text]
    label = right.selectbox(wording("runs.label_column"), others, index=others.index(label))
    counts = table[label].astype(str).value_counts().head(6)
    blank = wording("runs.blank")
    labels = ", ".join(f"{plain(name.strip() or blank)} ({wording.number(count)})" for name, count in counts.items())
    st.caption(wording("runs.labels", rows=wording.number(len(table)), labels=labels))
    if st.button(wording("runs.start"), type="primary", icon=":material/play_arrow:"):
        try:
            path = _stored(uploaded.name, content)
            st.session_state["flow_run"] = known.start({"path": str(path), "text_column": text, "label_column": label})
        except OSError as error:
            st.error(wording("runs.not_stored", reason=error), icon=":material/error:")
        except NotThere as error:
            st.error(wording("runs.not_started", reason=error), icon=":material/error:")
        else:
            st.rerun()


def _stored(name: str, content: bytes) -> Path:
    """Keep an uploaded file where the worker reads it."""
    folder = Settings.read().uploads
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{_UNSAFE.sub('_', name)[-80:]}"
    path.write_bytes(content)
    return path


@st.fragment(run_every=_REFRESH_S)
def _follow(known: Trainings, run: str, wording: Wording) -> None:
    try:
        progress = known.progress(run)
    except NotThere:
        st.warning(wording("runs.prefect_away"), icon=":material/cloud_off:")
        return
    if not progress.over:
        _show_steps(progress, wording)
        return
    if progress.report is not None:
        st.success(wording("runs.finished"), icon=":material/check_circle:")
        st.link_button(wording("runs.link_report"), progress.report, icon=":material/open_in_new:", type="primary")
    elif progress.state == "COMPLETED":
        st.info(wording("runs.skipped", reason=plain(progress.message)), icon=":material/info:")
    else:
        st.error(wording("runs.failed", reason=plain(progress.message)), icon=":material/error:")
    if st.button(wording("runs.another")):
        del st.session_state["flow_run"]
        st.rerun()


def _show_steps(progress: Progress, wording: Wording) -> None:
    with st.status(wording("runs.running", done=wording.number(len(progress.done))), state="running", expanded=True):
        if not progress.done and not progress.running:
            st.text(wording("runs.waiting"))
        for name in progress.done[-_SHOWN_STEPS:]:
            st.text(f"✓ {name}")
        for name in progress.running:
            st.text(f"… {name}")


_SHOWN_STEPS = 8


def _when(started: str) -> str:
    return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
