"""Azure AI Vision's image analysis 4.0, through azure-ai-vision-imageanalysis.

The key comes from ``AZURE_VISION_KEY`` (or ``VISION_KEY``, as in the vendor's samples),
the address from the settings or from ``AZURE_VISION_ENDPOINT`` (``VISION_ENDPOINT``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import require
from midhaul.federation.providers.answers import entries_of, entry, number
from midhaul.federation.providers.base import (
    Failure,
    MalformedAnswerError,
    failure_of_http,
    field_of,
    one_line,
    unreachable,
)
from midhaul.federation.providers.endpoints import checked_endpoint, from_environment
from midhaul.federation.providers.vendor import (
    ImageLimits,
    VendorProvider,
    VendorSettings,
)

if TYPE_CHECKING:
    from midhaul.federation.providers.answers import AnswerEntries, AnswerEntry
    from midhaul.federation.providers.vendor import Size

LIMITS = ImageLimits(
    formats=("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"),
    max_bytes=20_971_520,
    min_side_px=50,
    max_side_px=16_000,
)
"""learn.microsoft.com: input requirements of image analysis 4.0"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings(VendorSettings):
    """How image analysis is asked.

    Attributes:
        model_version: of the vendor's model, such as ``2023-10-01``; the latest where
            empty.
    """

    model_version: str = ""


def azure_provider(settings: AzureSettings, *, name: str = "azure") -> VendorProvider:
    """A provider that asks Azure AI Vision.

    PrerequisiteError without the SDK, the key or the endpoint; ConfigError where the
    endpoint is none that a key may be sent to.
    """
    sdk = require("azure.ai.vision.imageanalysis", "azure")
    core = require("azure.core.exceptions", "azure")
    key = from_environment(
        "AZURE_VISION_KEY", "VISION_KEY", what="the key of Azure AI Vision"
    )
    client = _client(settings, key)
    features = sdk.models.VisualFeatures

    def ask(data: bytes, size: Size, wait_s: float) -> AnswerEntries:
        del size
        answer = client.analyze(
            image_data=data,
            visual_features=[features.OBJECTS if settings.is_boxes else features.TAGS],
            model_version=settings.model_version or None,
            connection_timeout=wait_s,
            read_timeout=wait_s,
        ).as_dict()
        found = boxes_of(answer) if settings.is_boxes else tags_in(answer)
        return found.above(settings.min_score)

    return VendorProvider(
        name,
        settings,
        limits=LIMITS,
        ask=ask,
        close=client.close,
        errors=(core.AzureError, json.JSONDecodeError),
        failure_of=_failure_of,
        secrets=(key,),
    )


def _client(settings: AzureSettings, key: str) -> Any:
    """The SDK's client for an address and a key."""
    sdk = require("azure.ai.vision.imageanalysis", "azure")
    endpoint = settings.endpoint or from_environment(
        "AZURE_VISION_ENDPOINT",
        "VISION_ENDPOINT",
        what="the endpoint of Azure AI Vision",
    )
    credential = require("azure.core.credentials", "azure").AzureKeyCredential(key)
    return sdk.ImageAnalysisClient(
        endpoint=checked_endpoint(endpoint),
        credential=credential,
        retry_total=0,
        logging_enable=False,
    )


def boxes_of(answer: Any) -> AnswerEntries:
    """The objects of an answer; their boxes are in px."""

    def read(one: Any) -> list[AnswerEntry]:
        box = field_of(one, "boundingBox")
        x, y, w, h = (number(field_of(box, side), side) for side in "xywh")
        tag = field_of(one, "tags", 0)
        label = field_of(tag, "name")
        return [entry(label, field_of(tag, "confidence"), (x, y, x + w, y + h))]

    return entries_of(_values(answer, "objectsResult"), read)


def tags_in(answer: Any) -> AnswerEntries:
    """The tags of an answer."""

    def read(one: Any) -> list[AnswerEntry]:
        return [entry(field_of(one, "name"), field_of(one, "confidence"))]

    return entries_of(_values(answer, "tagsResult"), read)


def _values(answer: Any, result: str) -> list[Any]:
    values = field_of(answer, result, "values")
    if not isinstance(values, list):
        message = f"{result}.values is no list"
        raise MalformedAnswerError(message)
    return values


def _failure_of(error: Any) -> Failure:
    """What an exception of azure-core means."""
    core = require("azure.core.exceptions", "azure")
    if isinstance(error, (core.DecodeError, json.JSONDecodeError)):
        return Failure(status="malformed", message=one_line(error))
    if isinstance(error, core.HttpResponseError) and error.status_code:
        headers = dict(error.response.headers) if error.response is not None else {}
        return failure_of_http(error.status_code, one_line(error), headers)
    if isinstance(error, core.ServiceRequestError):  # "no request was sent"
        return unreachable(error)
    if isinstance(error, core.ServiceResponseTimeoutError) or (
        "timed out" in str(error)
    ):
        return Failure(status="timeout", message=one_line(error))
    return Failure(status="unavailable", message=one_line(error))
