"""Label Studio's protocol for models: predictions that it shows, and annotations that come back as feedback.

Label Studio asks for the predictions of tasks, and sends each annotation that people make. The region of a predicted
choice has the prediction's id; Label Studio keeps it when a person accepts or changes that choice. A task that was
imported with a `prediction_id` refers to that answer instead.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Annotated, Any, NamedTuple

import msgspec

from polarity.serving.batcher import WaitForDisconnect
from polarity.serving.contract import Contract, Headers, Refused, Reply
from polarity.serving.rules import MAX_TEXTS

PREFIX = "/label-studio"
_SOURCE = (b"x-source", b"label-studio")


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, Any] = {}


class SetupRequest(msgspec.Struct, frozen=True):
    """Body of POST /setup; only the labelling configuration is looked at."""

    schema: str = ""


class PredictTasksRequest(msgspec.Struct, frozen=True):
    """Body of POST /predict."""

    tasks: Annotated[list[_Data], msgspec.Meta(max_length=MAX_TEXTS)]
    label_config: str | None = None


class _Region(msgspec.Struct, frozen=True):
    id: str = ""
    type: str = ""
    value: dict[str, Any] = {}


class _Annotation(msgspec.Struct, frozen=True):
    result: list[_Region] = []


class _Project(msgspec.Struct, frozen=True):
    label_config: str | None = None


class WebhookRequest(msgspec.Struct, frozen=True):
    """Body of POST /webhook."""

    action: str
    task: _Data = _Data()
    annotation: _Annotation = _Annotation()
    project: _Project = _Project()


class Choices(NamedTuple):
    """How a labelling configuration names things.

    Attributes
    ----------
    from_name, to_name : str
        Names of the choices, and of what they are about.
    field : str
        The field of a task that holds the text.
    values : dict
        The choice for each label of the model.
    """

    from_name: str
    to_name: str
    field: str
    values: dict[str, str]

    @classmethod
    def read(cls, config: str | None, labels: tuple[str, ...]) -> Choices:
        """Read the first choices of a labelling configuration whose values are the model's labels, in any case.

        Raises
        ------
        Refused
            If it is not XML, or has no such choices.
        """
        if not config:
            return cls("sentiment", "text", "text", {label: label for label in labels})
        if "<!" in config.replace("<!--", ""):  # no entities
            raise Refused(400, "label_config")
        try:
            root = ET.fromstring(config)
        except ET.ParseError:
            raise Refused(400, "label_config") from None
        for found in root.iter("Choices"):
            values = {}
            for choice in found.iter("Choice"):
                for name in (choice.get("alias"), choice.get("value")):
                    if name and name.casefold() in labels:
                        values[name.casefold()] = choice.get("alias") or choice.get("value") or ""
            about = next((one for one in root.iter() if one.get("name") == found.get("toName")), None)
            if set(values) == set(labels) and about is not None:
                field = (about.get("value") or "$text").removeprefix("$")
                return cls(found.get("name") or "sentiment", found.get("toName") or "text", field, values)
        raise Refused(400, "label_config")


class LabelStudio:
    """The handlers of the protocol's routes.

    Parameters
    ----------
    contract : Contract
        Answers and stores.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._labels = tuple(contract.served.manifest.labels)

    async def setup(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /setup: whether the project's labelling configuration fits the model."""
        Choices.read((await self._contract.decoded(body, SetupRequest)).schema, self._labels)
        return Reply(200, msgspec.json.encode({"model_version": self._contract.served.version}))

    async def predict(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /predict: the choice for each task; none for a text that is refused."""
        given = await self._contract.decoded(body, PredictTasksRequest)
        choices = Choices.read(given.label_config, self._labels)
        found: list[dict[str, Any]] = []
        if given.tasks:
            texts = [task.data.get(choices.field) for task in given.tasks]
            found = await self._contract.predictions(texts, [*headers, _SOURCE], disconnected)
        version = self._contract.served.version
        results = [self._result(answer, choices, version) for answer in found]
        return Reply(200, msgspec.json.encode({"results": results}))

    async def webhook(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /webhook: an annotation as the true label of its answer; everything else is only acknowledged."""
        given = await self._contract.decoded(body, WebhookRequest)
        ignored = Reply(200, msgspec.json.encode({"status": "ignored"}))
        if given.action not in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED"):
            return ignored
        choices = Choices.read(given.project.label_config, self._labels)
        by_value = {value: label for label, value in choices.values.items()}
        for region in given.annotation.result:
            value = (region.value.get("choices") or [None])[0] if region.type == "choices" else None
            label = by_value.get(value) if isinstance(value, str) else None
            if label is not None:
                # An imported task is an item of GET /review; for others nobody knows how they were chosen.
                if imported := given.task.data.get("prediction_id"):
                    return await self._contract.store_label(str(imported), label, "review")
                return await self._contract.store_label(region.id, label, "queue")
        return ignored

    async def health(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /health."""
        return Reply(200, msgspec.json.encode({"status": "UP", "model_class": self._contract.served.manifest.family}))

    @staticmethod
    def _result(answer: dict[str, Any], choices: Choices, version: str) -> dict[str, Any]:
        if "error" in answer:
            return {"model_version": version, "result": []}
        region = {
            "id": answer["prediction_id"],
            "from_name": choices.from_name,
            "to_name": choices.to_name,
            "type": "choices",
            "value": {"choices": [choices.values[answer["sentiment"]]]},
            "score": answer["score"],
        }
        return {"model_version": version, "score": answer["score"], "result": [region]}
