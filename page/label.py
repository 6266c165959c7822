"""The screen Label next: one tweet at a time, by keyboard, and several people at once."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass, field

import streamlit as st

from page.service import Service, ServiceRefused, ToLabel
from page.wording import Wording, plain

_CLAIMED = 10
_EXPORT_DAYS = 90
_MAX_NAME = 64
# Reached with the left hand; Streamlit reserves C and R.
_UNDO_KEY, _SKIP_KEY = "Z", "S"


@dataclass
class Queue:
    """What somebody has to label, and has labelled."""

    labeller: str
    items: list[ToLabel] = field(default_factory=list)
    done: list[ToLabel] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    waiting: int = 0
    labelled: int = 0
    remark: str | None = None

    def refill(self, service: Service, wording: Wording) -> None:
        """Ask for more when none is left."""
        if not self.items:
            claimed = service.claim(self.labeller, _CLAIMED, self.skipped, wording.language)
            self.items = claimed.items
            self.waiting, self.labelled = claimed.waiting, claimed.labelled

    def label(self, service: Service, wording: Wording, shown: str, label: str) -> None:
        """Label the answer that is shown; a second key press for the same one does nothing."""
        if not self.items or self.items[0].prediction_id != shown:
            return
        self.remark = None
        item = self.items[0]
        try:
            service.label(self.labeller, shown, label, wording.language)
        except ServiceRefused as error:
            if error.status not in (404, 409):
                raise
            self.remark = wording("label.lost")
        else:
            self.done.append(item)
            self.labelled += 1
        self.items.pop(0)

    def skip(self, shown: str) -> None:
        """Leave an answer to somebody else."""
        if self.items and self.items[0].prediction_id == shown:
            self.skipped.append(self.items.pop(0).prediction_id)
            self.remark = None

    def undo(self, service: Service, wording: Wording) -> None:
        """Take the last label back, and show its text again."""
        if not self.done:
            return
        item = self.done.pop()
        try:
            service.label(self.labeller, item.prediction_id, None, wording.language)
        except ServiceRefused as error:
            if error.status not in (404, 409):
                raise
            self.remark = wording("label.too_late")
            return
        self.items.insert(0, item)
        self.labelled -= 1
        self.remark = None


def show(service: Service, wording: Wording) -> None:
    """Show the screen."""
    st.title(wording("label.title"))
    labels = service.labels()
    name = _name(wording)
    if not name:
        st.info(wording("label.no_name"), icon=":material/person:")
        return
    queue: Queue = st.session_state.get("queue") or Queue(name)
    if queue.labeller != name:
        queue = Queue(name)
    st.session_state["queue"] = queue
    queue.refill(service, wording)
    if queue.remark:
        st.warning(queue.remark, icon=":material/info:")
    if queue.items:
        _show_item(queue, labels, service, wording)
    else:
        st.success(wording("label.empty" if not queue.waiting else "label.no_texts"), icon=":material/done_all:")
    if queue.done:
        st.button(
            wording("label.undo"),
            icon=":material/undo:",
            shortcut=_UNDO_KEY,
            on_click=_guarded,
            args=(queue.undo, service, wording),
        )
    st.caption(wording("label.progress", mine=wording.number(queue.labelled), waiting=wording.number(queue.waiting)))
    st.divider()
    _show_agreement(service, wording)
    _show_exchange(service, labels, wording)


def _name(wording: Wording) -> str:
    """Who labels; once it is known there is no field that would take the keys."""
    state = st.session_state
    if not state.get("labeller"):
        state["labeller"] = st.query_params.get("labeller", "").strip()[:_MAX_NAME]
    if name := state["labeller"]:
        st.query_params["labeller"] = name
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(wording("label.you_are", name=plain(name)), width="content")
            st.button(wording("label.not_you"), type="tertiary", on_click=_forget_name)
        return str(name)
    with st.form("name", border=False):
        help_text = wording("label.name_help")
        given = st.text_input(wording("label.name"), max_chars=_MAX_NAME, help=help_text).strip()
        if st.form_submit_button(wording("label.begin"), type="primary") and given:
            state["labeller"] = given
            st.rerun()
    return ""


def _forget_name() -> None:
    st.session_state["labeller"] = ""
    st.query_params.pop("labeller", None)


def _show_item(queue: Queue, labels: list[str], service: Service, wording: Wording) -> None:
    item = queue.items[0]
    with st.container(border=True, key="tweet"):
        st.text(item.text)
    st.caption(wording(f"label.purpose_{item.purpose}"))
    with st.container(horizontal=True):
        for number, label in enumerate(labels, start=1):
            st.button(
                wording.label(label),
                key=f"label-{label}",
                shortcut=str(number),
                type="primary",
                on_click=_guarded,
                args=(queue.label, service, wording, item.prediction_id, label),
            )
        st.button(
            wording("label.skip"),
            icon=":material/skip_next:",
            shortcut=_SKIP_KEY,
            on_click=queue.skip,
            args=(item.prediction_id,),
        )


def _guarded(change: object, *given: object) -> None:
    """Run a change of the queue; what goes wrong is shown by the run that follows."""
    assert callable(change)
    try:
        change(*given)
    except Exception as error:
        st.session_state["failure"] = error


def _show_agreement(service: Service, wording: Wording) -> None:
    with st.expander(wording("label.agreement")):
        found = service.agreement(wording.language)
        if not found["labels"]:
            st.caption(wording("label.no_labels"))
            return
        rows = [{wording("label.person"): name, wording("label.labels"): n} for name, n in found["labels"].items()]
        st.dataframe(rows, hide_index=True, alt=wording("label.agreement"))
        if not found["pairs"]:
            st.caption(wording("label.no_pairs"))
            return
        kappa = "–" if found["kappa"] is None else wording.number(found["kappa"], 2)
        share = wording.percent(found["agreeing"] / found["pairs"])
        st.markdown(wording("label.pairs", pairs=wording.number(found["pairs"]), share=share, kappa=kappa))


def _show_exchange(service: Service, labels: list[str], wording: Wording) -> None:
    with st.expander(wording("label.exchange")):
        st.download_button(
            wording("label.export"),
            lambda: _exported(service, wording),
            "labels.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        given = st.file_uploader(wording("label.import"), ["csv"], help=wording("label.import_help"))
        if given is not None and st.button(wording("label.import_now"), icon=":material/upload:"):
            _import(given.getvalue().decode("utf-8-sig", "replace"), service, labels, wording)


def _exported(service: Service, wording: Wording) -> bytes:
    answers = service.labelled(time.time() - _EXPORT_DAYS * 86_400, None, wording.language)
    written = io.StringIO()
    names = ("prediction_id", "label", "origin", "sentiment", "score", "version", "text")
    writer = csv.DictWriter(written, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(answers)
    return written.getvalue().encode("utf-8-sig")


def _import(content: str, service: Service, labels: list[str], wording: Wording) -> None:
    rows = list(csv.DictReader(io.StringIO(content)))
    if not rows or not {"prediction_id", "label"} <= set(rows[0]):
        st.error(wording("label.import_columns"), icon=":material/error:")
        return
    stored, problems = 0, 0
    bar = st.progress(0.0)
    for number, row in enumerate(rows, start=1):
        label = (row["label"] or "").strip()
        if label:  # a blank one has not been labelled
            try:
                if label not in labels:
                    raise ServiceRefused(422, label)
                service.import_label((row["prediction_id"] or "").strip(), label, wording.language)
                stored += 1
            except ServiceRefused:
                problems += 1
        bar.progress(number / len(rows))
    bar.empty()
    words = wording("label.imported", stored=wording.number(stored), problems=wording.number(problems))
    (st.warning if problems else st.success)(words)
