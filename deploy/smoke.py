"""The smoke test: the short form of the HTTP contract's tests, which a version has to pass before it is live."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from deploy.errors import SmokeTestFailed

TEXTS = ("what a lovely day", "this is the worst service ever :(", "not bad at all", "\U0001f600 see you @home #monday")
REFUSED: tuple[tuple[int, dict[str, Any]], ...] = (
    (400, {"text": " "}),
    (400, {"text": "42"}),
    (422, {"text": 42}),
    (422, {"texts": "x"}),
    (422, {}),
)
_REQUEST_TIMEOUT_S = 15.0
_PAUSE_S = 0.1
# A proxy of the environment is not on the way to a container of this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def smoke_test(
    url: str,
    *,
    expect: str | None = None,
    key: str | None = None,
    timeout_s: float = 120.0,
    ended: Callable[[], str | None] = lambda: None,
    patient: bool = False,
    direct: bool = True,
) -> dict[str, Any]:
    """Wait until a server is ready, and hold its answers against the contract.

    Parameters
    ----------
    url : str
    expect : str, optional
        Tag of the Bento that the server must serve.
    key : str, optional
        An API key, if the server requires one.
    timeout_s : float
        Maximum time until it is ready.
    ended : callable
        Returns why the server will never be ready, or None.
    patient : bool
        Wait until it serves `expect`: what answers at first may be the version before.
    direct : bool
        False: the environment's proxies apply, as for a server in the internet.

    Returns
    -------
    dict
        What the server says of the model that it serves.

    Raises
    ------
    SmokeTestFailed
    """
    server = _Server(url.rstrip("/"), key, _OPENER.open if direct else urllib.request.urlopen)
    until = time.monotonic() + timeout_s
    while (found := server.status("/readyz")) != 200 or (patient and server.bento() != expect):
        if reason := ended():
            raise SmokeTestFailed(f"{url} ended before it was ready. The end of its log:\n{reason}")
        if time.monotonic() > until:
            raise SmokeTestFailed(f"{url} was not ready within {timeout_s:g} s: GET /readyz gave {found}.")
        time.sleep(_PAUSE_S)
    for path in ("/healthz", "/livez", "/metrics", "/model", "/openapi.json"):
        server.ask(200, path)
    index = _json(server.ask(200, "/"))
    try:
        model, labels = index["model"], list(index["labels"])
        if expect is not None and model["bento"] != expect:
            raise SmokeTestFailed(f"{url} serves {model['bento']}, not {expect}.")
        for text in TEXTS:
            _check(_json(server.ask(200, "/predict", {"text": text})), labels, model)
        batch = _json(server.ask(200, "/predict/batch", {"texts": [*TEXTS, ""]}))["predictions"]
        for prediction in batch[:-1]:
            _check(prediction, labels, model)
        if len(batch) != len(TEXTS) + 1 or list(batch[-1]) != ["error"]:
            raise SmokeTestFailed(f"{url}: a batch with an empty text was answered with {batch}.")
        for status, body in REFUSED:
            server.ask(status, "/predict", body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SmokeTestFailed(f"{url} violates the HTTP contract: {error!r}.") from error
    return dict(model)


class _Server:
    """A server that is asked over HTTP."""

    def __init__(self, url: str, key: str | None, send: Callable[..., Any]) -> None:
        self._url = url
        self._headers = {"content-type": "application/json", "x-source": "smoke-test"}
        if key:
            self._headers["x-api-key"] = key
        self._send = send

    def status(self, path: str) -> int | str:
        """The status of a GET, or why there is none."""
        try:
            return self._request(path, None)[0]
        except OSError as error:
            return str(error)

    def bento(self) -> str | None:
        """The Bento that is served, or None if that cannot be said now."""
        try:
            bento: str = json.loads(self._request("/", None)[1])["model"]["bento"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return bento

    def ask(self, status: int, path: str, body: Any = None) -> bytes:
        """The content of a response that has to have this status."""
        try:
            found, content = self._request(path, body)
        except OSError as error:
            raise SmokeTestFailed(f"{self._url}{path} does not respond: {error}.") from error
        if found != status:
            raise SmokeTestFailed(f"{self._url}{path} gave {found}, not {status}: {content[:500]!r}")
        return content

    def _request(self, path: str, body: Any) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=self._headers)
        try:
            with self._send(request, timeout=_REQUEST_TIMEOUT_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise SmokeTestFailed(f"Got {content[:500]!r}, which is no JSON.") from error


def _check(prediction: Any, labels: list[str], model: Any) -> None:
    shares = prediction["probabilities"]
    good = (
        list(shares) == labels
        and math.isclose(sum(shares.values()), 1, abs_tol=1e-4)
        and prediction["score"] == shares[prediction["sentiment"]] == max(shares.values())
        and bool(prediction["prediction_id"])
        and all(prediction["model"][name] == model[name] for name in ("family", "version", "bento"))
    )
    if not good:
        raise SmokeTestFailed(f"Got {prediction}; expected a prediction of {labels} by {model}.")
