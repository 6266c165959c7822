"""The check of the package before any server process starts."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from bentos.topology import MODEL, topology
from polarity.errors import PolarityError
from polarity.families.packaging import load_predictor


def package_problem() -> str | None:
    """Why the package cannot be served, or `None`.

    It is loaded and tried in a process of its own, because this one lives as long as the server and has no use for
    the model's memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        try:
            return process.submit(_problem).result()
        except BrokenProcessPool:
            return f"The process that loaded '{MODEL}' was killed; is there enough memory?"


def _problem() -> str | None:
    try:
        load_predictor(MODEL, placement=topology.placement(0)).warm_up()
    except PolarityError as error:
        return str(error)
    return None
