"""Azure AI Vision's image analysis 4.0, through azure-ai-vision-imageanalysis.

The key comes from ``AZURE_VISION_KEY`` (or ``VISION_KEY``, as in the vendor's samples),
the address from the settings or from ``AZURE_VISION_ENDPOINT`` (``VISION_ENDPOINT``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from midhaul.errors import require
from midhaul.federation.providers.answers import (
    Words,
    detections_of,
    entry,
    number,
    tags_of,
)
from midhaul.federation.providers.blocking import BlockingCalls
from midhaul.federation.providers.endpoints import checked_endpoint, from_environment
from midhaul.federation.providers.failures import (
    Failure,
    MalformedAnswerError,
    failure_of_http,
    field_of,
    one_line,
)
from midhaul.federation.providers.image_limits import ImageLimits

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from midhaul.federation.providers.answers import Entry
    from midhaul.federation.providers.image_limits import Size
    from midhaul.model import Detections, Prediction, Tags

LIMITS = ImageLimits(
    formats=("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"),
    max_bytes=20_971_520,
    min_side_px=50,
    max_side_px=16_000,
)
"""learn.microsoft.com: input requirements of image analysis 4.0"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings:
    """How image analysis is asked.

    Attributes:
        task: ``boxes`` asks for objects, ``tags`` for tags.
        endpoint: address of the resource; the environment's where empty.
        model_version: of the vendor's model, such as ``2023-10-01``; the latest where
            empty.
        min_score: objects and tags below are left out, 0 to 1.
        n_threads: most calls at the same time.
        longest_s: when the SDK gives up on its own.
    """

    task: Literal["boxes", "tags"] = "boxes"
    endpoint: str = ""
    model_version: str = ""
    min_score: float = 0.0
    n_threads: int = 16
    longest_s: float = 30.0


class AzureProvider:
    """Asks Azure AI Vision.

    Args:
        settings: how.
        name: its name.

    Raises:
        PrerequisiteError: the SDK, the key or the endpoint is missing.
        ConfigError: the endpoint is none that a key may be sent to.
    """

    def __init__(self, settings: AzureSettings, *, name: str = "azure") -> None:
        self._settings = settings
        self._name = name
        self._words = Words()
        sdk = require("azure.ai.vision.imageanalysis", "azure")
        core = require("azure.core.exceptions", "azure")
        key = from_environment(
            "AZURE_VISION_KEY", "VISION_KEY", what="the key of Azure AI Vision"
        )
        endpoint = settings.endpoint or from_environment(
            "AZURE_VISION_ENDPOINT",
            "VISION_ENDPOINT",
            what="the endpoint of Azure AI Vision",
        )
        features = sdk.models.VisualFeatures
        self._feature = features.OBJECTS if self._is_boxes else features.TAGS
        self._client = sdk.ImageAnalysisClient(
            endpoint=checked_endpoint(endpoint),
            credential=require("azure.core.credentials", "azure").AzureKeyCredential(
                key
            ),
            retry_total=0,
            logging_enable=False,
        )
        self._calls = BlockingCalls(
            name,
            n_threads=settings.n_threads,
            errors=(core.AzureError, json.JSONDecodeError),
            failure_of=_failure_of,
            secrets=(key,),
        )

    async def __aenter__(self) -> Self:
        """Connections open with the first calls."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close connections and threads."""
        self._calls.close()
        self._client.close()

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that it has answered so far."""
        return self._words.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one image; see :class:`~..base.Provider`."""
        checked = LIMITS.check(data, item)
        if isinstance(checked, Failure):
            return checked.prediction(self._name, item, 0.0)
        wait_s = min(timeout_s, self._settings.longest_s)
        return await self._calls.call(
            lambda: self._ask(data, checked, wait_s), item=item, timeout_s=timeout_s
        )

    @property
    def _is_boxes(self) -> bool:
        return self._settings.task == "boxes"

    def _ask(self, data: bytes, size: Size, wait_s: float) -> Detections | Tags:
        answer = self._client.analyze(
            image_data=data,
            visual_features=[self._feature],
            model_version=self._settings.model_version or None,
            connection_timeout=wait_s,
            read_timeout=wait_s,
        ).as_dict()
        if self._is_boxes:
            return detections_of(self._kept(boxes_of(answer)), self._words, *size)
        return tags_of(self._kept(tags_in(answer)), self._words)

    def _kept(self, entries: list[Entry]) -> list[Entry]:
        return [one for one in entries if one.score >= self._settings.min_score]


def boxes_of(answer: Any) -> list[Entry]:
    """The objects of an answer; their boxes are in px.

    Raises:
        MalformedAnswerError: the answer has no objects.
    """
    found: list[Entry] = []
    for one in _values(answer, "objectsResult"):
        box = field_of(one, "boundingBox")
        x, y, w, h = (number(field_of(box, side), side) for side in "xywh")
        tag = field_of(one, "tags", 0)
        label = field_of(tag, "name")
        found.append(entry(label, field_of(tag, "confidence"), (x, y, x + w, y + h)))
    return found


def tags_in(answer: Any) -> list[Entry]:
    """The tags of an answer.

    Raises:
        MalformedAnswerError: the answer has no tags.
    """
    return [
        entry(field_of(one, "name"), field_of(one, "confidence"))
        for one in _values(answer, "tagsResult")
    ]


def _values(answer: Any, result: str) -> list[Any]:
    values = field_of(answer, result, "values")
    if not isinstance(values, list):
        message = f"{result}.values is no list"
        raise MalformedAnswerError(message)
    return values


def _failure_of(error: Any) -> Failure:
    """What an exception of azure-core means."""
    core = require("azure.core.exceptions", "azure")
    timeouts = (core.ServiceRequestTimeoutError, core.ServiceResponseTimeoutError)
    if isinstance(error, (core.DecodeError, json.JSONDecodeError)):
        return Failure(status="malformed", message=one_line(error))
    if isinstance(error, core.HttpResponseError) and error.status_code:
        headers = dict(error.response.headers) if error.response is not None else {}
        return failure_of_http(error.status_code, one_line(error), headers)
    if isinstance(error, timeouts) or "timed out" in str(error):
        return Failure(status="timeout", message=one_line(error))
    return Failure(status="unavailable", message=one_line(error))
