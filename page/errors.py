"""The screen Errors: what is answered wrongly, for the answers whose true label is known."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from page import topics
from page.quality import MIN_TEXTS, SLICES, Answer, identity_terms, interval, mentions_group
from page.service import Service
from page.wording import Wording, plain

_DAYS = {"week": 7, "month": 30, "quarter": 90}
_SHOWN, _SHOWN_WORDS = 20, 10


def show(service: Service, wording: Wording) -> None:
    """Show the screen."""
    st.title(wording("errors.title"))
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    chosen = left.selectbox(
        wording("errors.range"), list(_DAYS), index=1, format_func=lambda name: wording(f"errors.{name}")
    )
    found = service.labelled(time.time() - _DAYS[chosen] * 86_400, None, wording.language)
    versions = [None, *dict.fromkeys(answer["version"] for answer in found)]
    version = middle.selectbox(
        wording("watch.version"),
        versions,
        format_func=lambda one: wording("watch.all_versions") if one is None else one,
    )
    drawn_only = right.toggle(wording("errors.drawn_only"), value=False, help=wording("errors.drawn_only_help"))
    answers = [
        answer
        for answer in found
        if version in (None, answer["version"]) and (not drawn_only or answer["origin"] == "review")
    ]
    if not answers:
        st.info(wording("errors.empty"), icon=":material/label:")
        return
    if not drawn_only and any(answer["origin"] == "volunteered" for answer in answers):
        st.warning(wording("errors.caveat"), icon=":material/info:")
    _show_confusion(answers, wording)
    wrong = [answer for answer in answers if answer["label"] != answer["sentiment"]]
    if not wrong:
        st.success(wording("errors.none"), icon=":material/check:")
    else:
        _show_confident(wrong, wording)
        _show_words(answers, wrong, wording)
    _show_slices(answers, wording)
    _show_groups(answers, wording)


def _show_confusion(answers: list[Answer], wording: Wording) -> None:
    right = sum(answer["label"] == answer["sentiment"] for answer in answers)
    st.markdown(
        wording(
            "errors.summary",
            right=wording.number(right),
            of=wording.number(len(answers)),
            share=wording.percent(right / len(answers), 1),
        )
    )
    st.markdown(f"#### {wording('errors.confusion')}")
    labels = sorted({answer[side] for answer in answers for side in ("label", "sentiment")})
    counts = {(true, given): 0 for true in labels for given in labels}
    for answer in answers:
        counts[answer["label"], answer["sentiment"]] += 1
    for true in labels:
        for place, given in zip(st.columns(len(labels)), labels, strict=True):
            words = wording("errors.cell", true=wording.label(true), given=wording.label(given))
            sign = ":material/check:" if true == given else ":material/close:"
            count = counts[true, given]
            if place.button(
                f"**{wording.number(count)}**  {words}",
                key=f"cell-{true}-{given}",
                icon=sign,
                disabled=not count,
                width="stretch",
            ):
                st.session_state["cell"] = (true, given)
    true, given = st.session_state.get("cell", ("", ""))
    shown = [answer for answer in answers if (answer["label"], answer["sentiment"]) == (true, given)]
    if shown:
        title = wording("errors.cell", true=wording.label(true), given=wording.label(given))
        st.markdown(f"**{title}**")
        _show_tweets(shown, title, wording)
    else:
        st.caption(wording("errors.choose"))


def _show_tweets(answers: list[Answer], title: str, wording: Wording) -> None:
    rows = pd.DataFrame(
        {
            wording("many.text"): [answer["text"] or wording("errors.no_text") for answer in answers],
            wording("errors.truth"): [wording.label(answer["label"]) for answer in answers],
            wording("errors.given"): [wording.label(answer["sentiment"]) for answer in answers],
            wording("many.probability"): [round(answer["score"], 3) for answer in answers],
        }
    )
    percent = st.column_config.NumberColumn(format="percent")
    large = st.column_config.TextColumn(width="large")
    config = {wording("many.probability"): percent, wording("many.text"): large}
    st.dataframe(rows, hide_index=True, alt=title, column_config=config)


def _show_confident(wrong: list[Answer], wording: Wording) -> None:
    title = wording("errors.confident")
    st.markdown(f"#### {title}")
    _show_tweets(sorted(wrong, key=lambda answer: -answer["score"])[:_SHOWN], title, wording)


def _show_words(answers: list[Answer], wrong: list[Answer], wording: Wording) -> None:
    title = wording("errors.words")
    st.markdown(f"#### {title}")
    st.caption(wording("errors.words_note"))
    of_all = topics.words(answer["text"] for answer in answers if answer["text"])
    of_wrong = topics.words(answer["text"] for answer in wrong if answer["text"])
    found = topics.characteristic(of_wrong, of_all, _SHOWN_WORDS)
    if not found:
        st.caption(wording("many.no_words"))
        return
    rows = [
        {
            wording("many.word"): word,
            wording("errors.wrong_texts"): count,
            wording("errors.all_texts"): of_all[word],
        }
        for word, count, _ in found
    ]
    st.dataframe(rows, hide_index=True, alt=title, height="content")


def _show_slices(answers: list[Answer], wording: Wording) -> None:
    title = wording("errors.slices")
    st.markdown(f"#### {title}")
    groups = {wording("errors.all"): answers}
    for name, belongs in SLICES.items():
        groups[wording(f"slices.{name}")] = [answer for answer in answers if belongs(answer)]
    for source in sorted({answer["source"] for answer in answers if answer["source"]}):
        groups[wording("slices.source", name=source)] = [answer for answer in answers if answer["source"] == source]
    _show_groups_table(groups, title, wording("errors.slice"), wording)


def _show_groups(answers: list[Answer], wording: Wording) -> None:
    title = wording("errors.groups")
    st.markdown(f"#### {title}")
    st.caption(wording("errors.groups_note"))
    groups = {wording("errors.all"): answers}
    for group in identity_terms():
        groups[wording(f"groups.{group}")] = [answer for answer in answers if mentions_group(answer, group)]
    _show_groups_table(groups, title, wording("errors.group"), wording)


def _show_groups_table(groups: dict[str, list[Answer]], title: str, kind: str, wording: Wording) -> None:
    """Counts and shares of the groups that have texts; the others are named below."""
    rows = [{kind: name, **_figures(answers, wording)} for name, answers in groups.items() if answers]
    st.dataframe(rows, hide_index=True, alt=title, height="content")
    if absent := [name for name, answers in groups.items() if not answers]:
        st.caption(wording("errors.no_texts", names=", ".join(map(plain, absent))))


def _figures(answers: list[Answer], wording: Wording) -> dict[str, Any]:
    right, count = sum(answer["label"] == answer["sentiment"] for answer in answers), len(answers)
    low, high = interval(right, count)
    return {
        wording("many.texts"): count,
        wording("errors.right"): wording.percent(right / count, 1),
        wording("errors.interval"): f"{wording.percent(low)} – {wording.percent(high)}",
        wording("errors.remark"): wording("errors.few", least=MIN_TEXTS) if count < MIN_TEXTS else "",
    }
