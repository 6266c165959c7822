"""The screen Ask: the sentiment of one text, or of many."""

from __future__ import annotations

import streamlit as st

from page import ask_one
from page.service import Service
from page.wording import Wording


def show(service: Service, wording: Wording) -> None:
    """Show the screen."""
    st.title(wording("ask.title"))
    kinds = ("one", "many")
    kind = st.segmented_control(
        wording("ask.kind"),
        kinds,
        default="one",
        required=True,
        key="ask_kind",
        bind="query-params",
        label_visibility="collapsed",
        format_func=lambda kind: wording(f"ask.{kind}"),
    )
    if kind == "one":
        ask_one.show(service, wording)
    else:
        from page import ask_many  # it takes a while to load

        ask_many.show(service, wording)
