"""What Streamlit runs: the language, the navigation, and what is shown while the service is away."""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from pathlib import Path

import streamlit as st

from page.service import Service, ServiceAway, ServiceRefused
from page.settings import Settings
from page.style import FRENCH, STYLE
from page.wording import LANGUAGES, Language, Wording, closest_language

# A file: Streamlit would load a named icon from the internet.
ICON = Path(__file__).with_name("icon.svg")
_logger = logging.getLogger("page")
# Name of a screen, its module and its address -> icon.
SCREENS = {
    "ask": ":material/forum:",
    "watch": ":material/monitoring:",
    "errors": ":material/troubleshoot:",
    "label": ":material/label:",
    "runs": ":material/model_training:",
}


@st.cache_resource
def service() -> Service:
    """The service, shared by everybody who looks at the page."""
    settings = Settings.read()
    return Service(settings.service_url, settings.api_key)


def main() -> None:
    """Show the screen that the address names."""
    language: Language = st.session_state.setdefault("language", closest_language(_wanted_language()))
    wording = Wording(language)
    st.set_page_config(page_title="Polarity", page_icon=ICON, layout="wide")
    st.html(f"<style>{STYLE}{FRENCH if language == 'fr' else ''}</style>")
    pages = [
        st.Page(
            partial(guarded, name, wording),
            title=wording(f"screens.{name}"),
            icon=icon,
            url_path=name,
            default=name == "ask",
        )
        for name, icon in SCREENS.items()
    ]
    chosen = st.navigation(pages)
    with st.sidebar:
        st.selectbox(
            wording("page.language"), LANGUAGES, key="language", format_func=lambda code: wording(f"languages.{code}")
        )
    chosen.run()
    service().prepare()  # now that the screen is shown


def guarded(name: str, wording: Wording) -> None:
    """Show a screen; if the service is away, say so, and show it again when the service is back."""
    try:
        if (failure := st.session_state.pop("failure", None)) is not None:  # of a callback, which shows nothing
            raise failure
        # Here, so that the first screen does not wait for the libraries of the others.
        import_module(f"page.{name}").show(service(), wording)
    except ServiceAway:
        st.error(wording("page.away", url=service().url), icon=":material/cloud_off:")
        st.button(wording("page.try_again"))
        _wait_for_service()
    except ServiceRefused as error:
        if error.status == 503:
            st.warning(wording("page.no_record"), icon=":material/database_off:")
            _wait_for_record()
        elif error.status == 401:
            st.error(wording("page.no_key"), icon=":material/key_off:")
        else:
            st.error(wording("page.refused", message=error), icon=":material/error:")
    except Exception:
        # Streamlit would offer to ask search engines and assistants.
        _logger.exception("The screen could not be shown.")
        st.error(wording("page.broken"), icon=":material/error:")


@st.fragment(run_every=2.0)
def _wait_for_service() -> None:
    if service().is_ready():
        st.rerun()


@st.fragment(run_every=2.0)
def _wait_for_record() -> None:
    try:
        if service().status("en")["problem"] is None:
            st.rerun()
    except (ServiceAway, ServiceRefused):
        st.rerun()


def _wanted_language() -> str | None:
    return st.query_params.get("lang") or st.context.locale


main()
