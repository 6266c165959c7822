"""The service over HTTP, as the page needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

MAX_TEXTS = 1_000
"""Texts that one call of /predict/batch may have."""
MAX_LABELLED = 10_000
MAX_SKIPPED = 500
# A 503 of these says that the record is off or away, not the service.
_OF_THE_RECORD = {"/feedback", "/review/claim", "/review/label", "/review/agreement", "/labelled", "/figures"}
_TIMEOUT_S, _CONNECT_TIMEOUT_S = 35.0, 3.0


class ServiceAway(Exception):
    """The service cannot be reached, or cannot answer now."""


class ServiceRefused(Exception):
    """The service refused the request; the message is its own, in the language of the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Prediction:
    """An answer of the service. `probabilities` is by label, `prediction_id` what a correction refers to."""

    prediction_id: str
    sentiment: str
    score: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Word:
    """A word, and how much it adds to the lead of the answered sentiment."""

    word: str
    share: float


@dataclass(frozen=True)
class ToLabel:
    """An answer that somebody is to label; `purpose` says what for."""

    prediction_id: str
    text: str
    purpose: str


@dataclass(frozen=True)
class Claimed:
    """What somebody is to label, how many drawn answers wait for anybody, and how many labels this person gave."""

    waiting: int
    labelled: int
    items: list[ToLabel]


class Service:
    """The service's routes; thread-safe.

    Parameters
    ----------
    url : str
    api_key : str
        Empty: none is sent.

    Raises
    ------
    ServiceAway, ServiceRefused
        By every method that asks the service.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        self.url = url
        self._api_key = api_key

    def prepare(self) -> None:
        """Load what the first call would have to wait for."""
        _ = self._client

    @cached_property
    def _client(self) -> httpx.Client:
        # Here, since the first screen is shown without it.
        import httpx

        headers = {"X-Source": "page", **({"X-API-Key": self._api_key} if self._api_key else {})}
        timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def labels(self) -> list[str]:
        """The classes of the served model."""
        return list(self._call("GET", "/")["labels"])

    def is_ready(self) -> bool:
        """Whether the service can answer; never raises."""
        import httpx

        try:
            return self._client.get("/readyz", timeout=3.0).status_code == 200
        except httpx.HTTPError:
            return False

    def predict(self, text: str, language: str) -> Prediction:
        """The sentiment of one text."""
        return _prediction(self._call("POST", "/predict", {"text": text}, language))

    def predict_batch(self, texts: Sequence[str], language: str) -> list[Prediction | str]:
        """The sentiments of at most `MAX_TEXTS` texts; for a refused one the reason."""
        found = self._call("POST", "/predict/batch", {"texts": list(texts)}, language)["predictions"]
        return [item["error"] if "error" in item else _prediction(item) for item in found]

    def explain(self, text: str, language: str) -> list[Word]:
        """What each word of a text adds."""
        found = self._call("POST", "/explain", {"text": text}, language)["words"]
        return [Word(item["word"], item["share"]) for item in found]

    def correct(self, prediction_id: str, label: str, language: str) -> None:
        """Send the true label of an answer."""
        self._call("POST", "/feedback", {"prediction_id": prediction_id, "label": label}, language)

    def status(self, language: str) -> dict[str, Any]:
        """What is served, the last hour, and which alerts fire."""
        return self._call("GET", "/status", None, language)

    def claim(self, labeller: str, limit: int, skipped: Sequence[str], language: str) -> Claimed:
        """The next answers for somebody to label, which nobody else gets meanwhile, without those left to others."""
        body = {"labeller": labeller, "limit": limit, "skipped": list(skipped[-MAX_SKIPPED:])}
        found = self._call("POST", "/review/claim", body, language)
        items = [
            ToLabel(item["prediction_id"], item["text"], item["purpose"]) for item in found["items"] if item["text"]
        ]
        return Claimed(found["waiting"], found["labelled"], items)

    def label(self, labeller: str, prediction_id: str, label: str | None, language: str) -> None:
        """Store the label of an answer that somebody has; None takes it back."""
        body = {"labeller": labeller, "prediction_id": prediction_id, "label": label}
        self._call("POST", "/review/label", body, language)

    def agreement(self, language: str) -> dict[str, Any]:
        """Who labelled how much, and how well people agree."""
        return self._call("GET", "/review/agreement", None, language)

    def import_label(self, prediction_id: str, label: str, language: str) -> None:
        """Store the label of an answer of the review, labelled elsewhere."""
        body = {"prediction_id": prediction_id, "label": label, "review": True}
        self._call("POST", "/feedback", body, language)

    def labelled(self, since: float, version: str | None, language: str) -> list[dict[str, Any]]:
        """The answers since a time that have true labels, the latest labels first."""
        query = {"since": since, "limit": MAX_LABELLED, **({"version": version} if version else {})}
        answers: list[dict[str, Any]] = self._call("GET", "/labelled", None, language, query)["answers"]
        return answers

    def figures(self, since: float, step_s: float, version: str | None, language: str) -> dict[str, Any]:
        """What was answered, how fast, what was estimated and noticed, step by step."""
        query = {"since": since, "step": step_s, **({"version": version} if version else {})}
        return self._call("GET", "/figures", None, language, query)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        language: str = "en",
        query: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        import httpx

        headers = {"Accept-Language": language}
        try:
            response = self._client.request(method, path, json=body, params=query, headers=headers)
        except httpx.HTTPError as error:
            raise ServiceAway(str(error)) from error
        if response.status_code in (502, 504) or (response.status_code == 503 and path not in _OF_THE_RECORD):
            raise ServiceAway(_detail(response))
        if not response.is_success:
            raise ServiceRefused(response.status_code, _detail(response))
        answer: dict[str, Any] = response.json()
        return answer


def _prediction(given: dict[str, Any]) -> Prediction:
    return Prediction(given["prediction_id"], given["sentiment"], given["score"], given["probabilities"])


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
    return str(detail[0]["msg"] if isinstance(detail, list) else detail)
