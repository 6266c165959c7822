"""One text: its sentiment, why, and its correction."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import streamlit as st

from page.service import Prediction, Service, ServiceRefused, Word
from page.wording import Wording, is_unsure

# A word that moves the lead (a difference of logarithms) by this much is stressed.
_MUCH, _LITTLE = 0.5, 0.05


@dataclass(frozen=True)
class Answered:
    """A text with its answer."""

    text: str
    prediction: Prediction
    words: list[Word]


def show(service: Service, wording: Wording) -> None:
    """Ask for a text, and show the answer to the last one."""
    with st.form("ask", border=False):
        text = st.text_area(wording("ask.text"), placeholder=wording("ask.example"), max_chars=2_000)
        asked = st.form_submit_button(wording("ask.submit"), type="primary")
    if asked:
        st.session_state.pop("answered", None)
        try:
            prediction = service.predict(text, wording.language)
            st.session_state["answered"] = Answered(text, prediction, service.explain(text, wording.language))
        except ServiceRefused as error:
            if error.status in (400, 422):
                st.warning(str(error), icon=":material/edit:")
            else:
                raise
    if (answered := st.session_state.get("answered")) is not None:
        _show_answer(answered, wording)
        _ask_for_correction(answered.prediction, service, wording)
    elif not asked:
        st.caption(wording("ask.empty"))


def _show_answer(answered: Answered, wording: Wording) -> None:
    """All of it in one element, which a browser draws sooner than six."""
    prediction = answered.prediction
    unsure = is_unsure(prediction.probabilities)
    parts = [
        f"<h2>{escape(wording.verdict(prediction.probabilities))}</h2>",
        f'<p class="unsure">{escape(wording("ask.unsure"))}</p>' if unsure else "",
        _probability_bars(prediction, wording),
        f"<h3>{escape(wording('ask.why'))}</h3>",
        _coloured_words(answered, wording),
        f'<p class="note">{escape(wording("ask.why_note", label=wording.label(prediction.sentiment)))}</p>',
    ]
    st.html(f'<div class="answer">{"".join(parts)}</div>')


def _probability_bars(prediction: Prediction, wording: Wording) -> str:
    ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    kinds = {label: "bar" if label == prediction.sentiment else "bar other" for label, _ in ordered}
    rows = [
        f'<tr><th scope="row">{escape(wording.label(label))}</th>'
        f'<td><div class="{kinds[label]}" style="width:{share * 100:.1f}%"></div>'
        f'</td><td class="figure">{wording.percent(share, 1)}</td></tr>'
        for label, share in ordered
    ]
    return f'<table class="shares"><tbody>{"".join(rows)}</tbody></table>'


def _coloured_words(answered: Answered, wording: Wording) -> str:
    words = []
    for word in answered.words:
        kind = "" if abs(word.share) < _LITTLE else " for" if word.share > 0 else " against"
        much = " much" if abs(word.share) >= _MUCH else ""
        sign = "+" if word.share > 0 else "\u2212"
        figure = f"{sign}{wording.number(abs(word.share), 1)}" if kind else "\u00a0"
        words.append(f'<span class="word{kind}{much}">{escape(word.word)}<small>{figure}</small></span>')
    return f'<div class="words">{" ".join(words)}</div>'


def _ask_for_correction(prediction: Prediction, service: Service, wording: Wording) -> None:
    """Right or wrong, and the true label; sent once."""
    corrected: dict[str, str] = st.session_state.setdefault("corrected", {})
    if (label := corrected.get(prediction.prediction_id)) is not None:
        st.success(wording("ask.thanks", label=wording.label(label)), icon=":material/check:")
        return
    st.markdown(f"**{wording('ask.is_it_right')}**")
    with st.container(horizontal=True):
        given = None
        for label in sorted(prediction.probabilities, key=lambda label: label != prediction.sentiment):
            is_answer = label == prediction.sentiment
            words = wording("ask.right" if is_answer else "ask.wrong", label=wording.label(label))
            icon = ":material/thumb_up:" if is_answer else ":material/thumb_down:"
            if st.button(words, key=f"correct-{label}", icon=icon):
                given = label
    if given is not None:
        try:
            service.correct(prediction.prediction_id, given, wording.language)
        except ServiceRefused as error:
            st.warning(wording("ask.not_stored", message=error), icon=":material/error:")
            return
        corrected[prediction.prediction_id] = given
        st.rerun()
