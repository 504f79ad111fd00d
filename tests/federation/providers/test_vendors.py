"""Clients of AWS, Azure and Google against recorded answers on loopback."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tests.support.fake_vendors import (
    AWS,
    AZURE_OBJECTS,
    AZURE_TAGS,
    GOOGLE_LABELS,
    GOOGLE_OBJECTS,
    Vendor,
    serve,
)

from midhaul.errors import ConfigError, PrerequisiteError
from midhaul.federation.providers.aws import AwsSettings, aws_provider
from midhaul.federation.providers.azure import AzureSettings, azure_provider
from midhaul.federation.providers.catalogue import ProviderSpec, make_provider
from midhaul.federation.providers.checks import check_provider
from midhaul.federation.providers.google import GoogleSettings, google_provider
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.federation.providers.base import Provider
    from midhaul.model import Prediction

KEY = "AKIAVERYSECRET0123456789"
ERRORS: dict[str, dict[str, Any]] = {
    "aws": {"__type": "ThrottlingException", "message": f"slow down, {KEY}"},
    "azure": {"error": {"code": "InvalidRequest", "message": f"not so, {KEY}"}},
    "google": {
        "error": {"code": 429, "message": f"quota, {KEY}", "status": "SOME_STATUS"}
    },
}
ANSWERS = {"aws": AWS, "azure": AZURE_OBJECTS, "google": GOOGLE_OBJECTS}
VENDORS = ("aws", "azure", "google")


def image(width: int = 200, height: int = 100, kind: str = "JPEG") -> bytes:
    """An image that every vendor takes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 60)).save(file, kind)
    return file.getvalue()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of all vendors, in the environment and nowhere else."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AZURE_VISION_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Iterator[tuple[str, Vendor]]:
    """Each vendor, answering boxes."""
    name = str(request.param)
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    speaks = Vendor(answer=ANSWERS[name], content_type=kind, error=ERRORS[name])
    with serve(speaks) as served:
        yield name, served


def provider_of(name: str, url: str, task: str = "boxes") -> Provider:
    """A client of a vendor that asks a server on loopback."""
    features = {
        "aws": ("detect_labels", "labels"),
        "azure": ("objects", "tags"),
        "google": ("object_localization", "label_detection"),
    }
    feature = features[name][task == "tags"]
    spec = ProviderSpec(spec=f"{name}:{feature}", endpoint=url, transport="rest")
    return make_provider(spec)


def ask(provider: Provider, data: bytes, timeout_s: float = 20.0) -> Prediction:
    """One call."""

    async def once() -> Prediction:
        async with provider:
            return await provider.predict(data, item="photo 1", timeout_s=timeout_s)

    return asyncio.run(once())


def test_each_vendor_passes_the_conformance_suite(vendor: tuple[str, Vendor]) -> None:
    """Types, ranges, time-outs and nonsense are as for every other provider."""
    name, served = vendor
    items = [("a", image()), ("b", image(kind="PNG"))]
    found = asyncio.run(
        check_provider(lambda: provider_of(name, served.url), items, size_px=(200, 100))
    )
    assert all(one.latency_s > 0 for one in found)


def test_boxes_of_all_vendors_are_in_px_of_the_image(
    vendor: tuple[str, Vendor],
) -> None:
    """The car of the recorded answers stands at the same place for all three."""
    name, served = vendor
    found = ask(provider_of(name, served.url), image())
    assert isinstance(found.answer, Detections), found.message
    label = found.answer.names[found.answer.labels[0]].lower()
    assert label == "car"
    np.testing.assert_allclose(found.answer.boxes[0], [50, 50, 150, 75], atol=1e-3)
    scores = {"aws": 0.975, "azure": 0.912, "google": 0.9}
    assert found.answer.scores[0] == pytest.approx(scores[name], abs=1e-6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_that_exif_turns_is_sent_upright(
    vendor: tuple[str, Vendor], kind: str
) -> None:
    """The vendor sees what a person sees, and its parts of width and height are of it.

    Only one of the three documents what it does with EXIF, and for one format.
    """
    name, served = vendor
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.new("RGB", (100, 200), (90, 120, 60)).save(stored, kind, exif=exif.tobytes())
    found = ask(provider_of(name, served.url), stored.getvalue())
    assert isinstance(found.answer, Detections), found.message
    np.testing.assert_allclose(found.answer.boxes[0], [50, 50, 150, 75], atol=1e-3)
    ((_, _, body),) = served.seen
    if name == "aws":
        body = base64.b64decode(json.loads(body)["Image"]["Bytes"])
    elif name == "google":
        body = base64.b64decode(json.loads(body)["requests"][0]["image"]["content"])
    with Image.open(io.BytesIO(body)) as sent:
        assert sent.format == kind
        assert sent.size == (200, 100)
        assert sent.getexif().get(0x0112, 1) == 1


def test_a_box_beyond_the_border_is_cut_to_the_image() -> None:
    """Rekognition puts corners outside at times."""
    with serve(Vendor(answer=AWS, content_type="application/x-amz-json-1.1")) as served:
        found = ask(provider_of("aws", served.url), image())
    assert isinstance(found.answer, Detections)
    np.testing.assert_allclose(found.answer.boxes[2], [0, 0, 20, 10], atol=1e-3)


def test_coordinates_that_google_leaves_out_are_zero() -> None:
    """A vertex at the border has no x or no y on the wire."""
    with serve(Vendor(answer=GOOGLE_OBJECTS)) as served:
        found = ask(provider_of("google", served.url), image())
    assert isinstance(found.answer, Detections)
    np.testing.assert_allclose(found.answer.boxes[1], [0, 0, 20, 20], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("aws", AWS, {"Car": 0.9887, "Vehicle": 0.9887, "Person": 0.885}),
        ("azure", AZURE_TAGS, {"land vehicle": 0.995, "car": 0.99, "outdoor": 0.71}),
        ("google", GOOGLE_LABELS, {"Car": 0.97, "Vehicle": 0.95}),
    ],
)
def test_tags_have_the_vendors_words_and_scores(
    name: str, answer: dict[str, Any], expected: dict[str, float]
) -> None:
    """Labels without boxes, in each vendor's own words."""
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    with serve(Vendor(answer=answer, content_type=kind)) as served:
        found = ask(provider_of(name, served.url, "tags"), image())
    assert isinstance(found.answer, Tags), found.message
    words = [found.answer.names[label] for label in found.answer.labels]
    scores = dict(zip(words, found.answer.scores.tolist(), strict=True))
    assert scores == pytest.approx(expected, abs=1e-6)


def test_parents_that_are_not_listed_can_be_added() -> None:
    """Rekognition names Transportation as a parent and does not list it here."""
    with serve(Vendor(answer=AWS, content_type="application/x-amz-json-1.1")) as served:
        settings = AwsSettings(task="tags", endpoint=served.url, has_parents=True)
        found = ask(aws_provider(settings), image())
    assert isinstance(found.answer, Tags)
    words = {found.answer.names[label] for label in found.answer.labels}
    assert words == {"Car", "Vehicle", "Person", "Transportation"}


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("throttled", "throttled"),
        ("refused", "refused"),
        ("error", "unavailable"),
        ("html-error", "unavailable"),
        ("html", "malformed"),
        ("truncated", "malformed"),
        ("nothing", "malformed"),
        ("reset", "unavailable"),
        ("slow", "timeout"),
    ],
)
def test_faults_have_the_same_names_for_all_vendors(
    vendor: tuple[str, Vendor], fault: str, status: str
) -> None:
    """Whatever the SDK raises, it becomes a value; nothing is asked twice."""
    name, served = vendor
    served.fault = fault
    served.error = dict(ERRORS[name])
    if name == "aws" and fault in ("refused", "error"):
        code = "InvalidImageFormatException" if fault == "refused" else "InternalError"
        served.error["__type"] = code
    provider = provider_of(name, served.url)
    found = ask(provider, image(), 0.4 if fault == "slow" else 20.0)
    assert found.status == status, found.message
    assert found.answer is None
    assert found.message
    assert len(served.seen) == 1, "the SDK asked again"
    if fault == "throttled":
        assert found.retry_after_s == 7


@pytest.mark.parametrize("fault", ["throttled", "refused", "error"])
def test_no_message_shows_a_credential(vendor: tuple[str, Vendor], fault: str) -> None:
    """Even where the vendor's own message repeats the key."""
    name, served = vendor
    served.fault = fault
    found = ask(provider_of(name, served.url), image())
    assert found.message
    assert KEY not in found.message
    assert KEY not in repr(provider_of(name, served.url))


def test_no_log_shows_a_secret(
    vendor: tuple[str, Vendor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where everything is logged, and when a call fails."""
    name, served = vendor
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-is-no-secret")
    caplog.set_level(logging.DEBUG)
    ask(provider_of(name, served.url), image())
    served.fault, served.error = "error", {"message": "out of order"}
    ask(provider_of(name, served.url), image())
    assert caplog.records
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://127.0.0.1:9"])
def test_a_server_that_is_not_there_is_never_asked(name: str, url: str) -> None:
    """A connection refused is a value, and nothing was sent."""
    found = ask(provider_of(name, url), image())
    assert (found.status, found.is_sent) == ("unreachable", False), found.message


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("aws", image(200, 79), "sides of 80"),
        ("aws", image(kind="WEBP"), "JPEG, PNG"),
        ("aws", image() + bytes(5_242_880), "bytes"),
        ("azure", image(49, 60), "sides of 50"),
        ("azure", image() + bytes(20_971_520), "bytes"),
        ("google", image() + bytes(7_500_000), "bytes"),
        ("google", b"%PDF-1.4", "no image"),
    ],
)
def test_what_a_vendor_does_not_take_is_never_sent(
    name: str, data: bytes, why: str
) -> None:
    """Formats, bytes and sides are checked before a call costs money."""
    with serve(Vendor(answer=ANSWERS[name])) as served:
        found = ask(provider_of(name, served.url), data)
    assert found.status == "refused"
    assert why in found.message
    assert served.seen == []


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("aws", {"Labels": [{"Name": "Car", "Confidence": 250.0, "Instances": []}]}),
        ("aws", {"Labels": [{"Confidence": 50.0, "Instances": []}]}),
        ("aws", {"Labels": ["Car"]}),
        ("azure", {"metadata": {"width": 1, "height": 1}}),
        ("azure", {"tagsResult": {"values": [{"name": "", "confidence": 0.5}]}}),
        ("azure", {"tagsResult": {"values": [{"name": "car", "confidence": "high"}]}}),
        ("google", {"responses": []}),
        ("google", {"responses": [{"labelAnnotations": [{"score": 0.5}]}]}),
        ("google", {"responses": [{"labelAnnotations": [
            {"description": "Car", "score": "NaN"}]}]}),
    ],
)  # fmt: skip
def test_answers_that_make_no_sense_are_malformed(
    name: str, answer: dict[str, Any]
) -> None:
    """Scores beyond 1, labels without a name, answers without a result."""
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    with serve(Vendor(answer=answer, content_type=kind)) as served:
        found = ask(provider_of(name, served.url, "tags"), image())
    assert found.status == "malformed", found


_ODD_TAGS: dict[str, dict[str, Any]] = {
    "aws": {
        "Labels": [
            {"Name": "Car", "Confidence": 90.0},
            {"Name": "Cat", "Confidence": 250.0},
            {"Confidence": 90.0},
            {"Name": " ", "Confidence": 90.0},
        ]
    },
    "azure": {
        "tagsResult": {
            "values": [
                {"name": "car", "confidence": 0.9},
                {"name": "", "confidence": 0.9},
                {"name": "cat", "confidence": "high"},
                {"confidence": 0.9},
            ]
        }
    },
    "google": {
        "responses": [
            {
                "labelAnnotations": [
                    {"description": "Car", "score": 0.9},
                    {"description": "Cat", "score": "NaN"},
                    {"score": 0.9},
                    {"description": "Dog", "score": 7},
                ]
            }
        ]
    },
}


def _odd_boxes(name: str) -> dict[str, Any]:
    """A good box first, and copies of it of which something is odd."""
    answer = json.loads(json.dumps(ANSWERS[name]))
    if name == "aws":
        (good, *_), label = answer["Labels"][0]["Instances"], answer["Labels"][0]
        lost = {**good, "BoundingBox": {"Left": 0.5}}
        turned = {**good, "BoundingBox": {**good["BoundingBox"], "Width": -0.2}}
        odd = [lost, turned, {}]
        return {"Labels": [{**label, "Instances": [good, *odd]}]}
    if name == "azure":
        good = answer["objectsResult"]["values"][0]
        turned = {**good, "boundingBox": {"x": 9, "y": 9, "w": -5, "h": 5}}
        odd = [{"tags": good["tags"]}, turned, {**good, "tags": []}]
        answer["objectsResult"]["values"] = [good, *odd]
        return answer
    found = answer["responses"][0]["localizedObjectAnnotations"]
    corners = {"normalizedVertices": [{"x": 0.1}]}
    odd = [{**found[0], "boundingPoly": corners}, {**found[0], "score": 9}]
    answer["responses"][0]["localizedObjectAnnotations"] = [found[0], *odd, {}]
    return answer


@pytest.mark.parametrize("task", ["boxes", "tags"])
@pytest.mark.parametrize("name", VENDORS)
def test_one_odd_label_costs_that_label(name: str, task: str) -> None:
    """The answer is paid, and what else it says is kept; how much is lost is told."""
    answer = _ODD_TAGS[name] if task == "tags" else _odd_boxes(name)
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    with serve(Vendor(answer=answer, content_type=kind)) as served:
        found = ask(provider_of(name, served.url, task), image())
    assert found.answer is not None, found.message
    assert [found.answer.names[i].lower() for i in found.answer.labels] == ["car"]
    assert found.n_dropped == 3
    assert found.message.startswith("3 left out: ")


def _foreign(name: str, task: str, odd: object) -> dict[str, Any]:
    """A good entry first, and one that is of another type than the vendor says."""
    if name == "aws":
        if task == "tags":
            return {"Labels": [{"Name": "Car", "Confidence": 90.0}, odd]}
        (good, *_), label = AWS["Labels"][0]["Instances"], AWS["Labels"][0]
        return {"Labels": [{**label, "Instances": [good, odd]}]}
    if name == "azure":
        if task == "tags":
            return {"tagsResult": {"values": [{"name": "car", "confidence": 0.9}, odd]}}
        (good, *_) = AZURE_OBJECTS["objectsResult"]["values"]
        return {**AZURE_OBJECTS, "objectsResult": {"values": [good, odd]}}
    if task == "tags":
        good = {"description": "Car", "score": 0.9}
        return {"responses": [{"labelAnnotations": [good, odd]}]}
    (good, *_) = GOOGLE_OBJECTS["responses"][0]["localizedObjectAnnotations"]
    return {"responses": [{"localizedObjectAnnotations": [good, odd]}]}


_FOREIGN = ["Cat", 5, None, [], [{}], {"score": "high", "Confidence": "high"}]


@pytest.mark.parametrize("odd", _FOREIGN, ids=repr)
@pytest.mark.parametrize("task", ["boxes", "tags"])
@pytest.mark.parametrize("name", VENDORS)
def test_an_entry_that_no_sdk_can_read_costs_itself(
    name: str, task: str, odd: object
) -> None:
    """SDKs give up the whole answer for it, which is paid all the same."""
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    speaks = Vendor(answer=_foreign(name, task, odd), content_type=kind)
    with serve(speaks) as served:
        found = ask(provider_of(name, served.url, task), image())
    assert found.answer is not None, found.message
    assert [found.answer.names[i].lower() for i in found.answer.labels] == ["car"]
    assert found.n_dropped == 1
    assert found.message.startswith("1 left out: ")


@pytest.mark.parametrize("odd", ["cars", {"x": 1}, [5], None])
@pytest.mark.parametrize("name", VENDORS)
def test_an_answer_of_which_nothing_can_be_read_is_malformed(
    name: str, odd: object
) -> None:
    """It is not the empty answer of an image with nothing on it."""
    answers: dict[str, dict[str, Any]] = {
        "aws": {"Labels": odd},
        "azure": {"tagsResult": {"values": odd}},
        "google": {"responses": [{"labelAnnotations": odd or "no list"}]},
    }
    kind = "application/x-amz-json-1.1" if name == "aws" else "application/json"
    with serve(Vendor(answer=answers[name], content_type=kind)) as served:
        found = ask(provider_of(name, served.url, "tags"), image())
    assert found.status == "malformed", found


@pytest.mark.parametrize("code", ["401", "403", "404"])
def test_a_key_or_an_address_that_is_wrong_is_wrong_for_all(
    vendor: tuple[str, Vendor], code: str
) -> None:
    """So the federation leaves such a provider alone; nothing is billed."""
    name, served = vendor
    served.fault = code
    served.error = dict(ERRORS[name])
    served.error.pop("__type", None)
    assert ask(provider_of(name, served.url), image()).status == "denied"


def test_amazon_denies_with_another_status() -> None:
    """Wrong keys are HTTP 400 there, with a name."""
    for kind in ("UnrecognizedClientException", "AccessDeniedException"):
        error = {"__type": kind, "message": "no"}
        speaks = Vendor(answer={}, fault="refused", error=error)
        speaks.content_type = "application/x-amz-json-1.1"
        with serve(speaks) as served:
            assert ask(provider_of("aws", served.url), image()).status == "denied"


def test_an_empty_answer_is_an_answer() -> None:
    """Nothing on the image is not a failure."""
    for name, answer in {
        "aws": {"Labels": []},
        "azure": AZURE_OBJECTS | {"objectsResult": {"values": []}},
        "google": {"responses": [{}]},
    }.items():
        with serve(Vendor(answer=answer)) as served:
            found = ask(provider_of(name, served.url), image())
        assert found.is_ok, found.message
        assert found.answer is not None
        assert len(found.answer) == 0


def test_an_error_inside_of_googles_answer_has_its_status() -> None:
    """HTTP 200 with an error in place of annotations."""
    for code, status in ((3, "refused"), (8, "throttled"), (14, "unavailable")):
        answer = {"responses": [{"error": {"code": code, "message": "bad image"}}]}
        with serve(Vendor(answer=answer)) as served:
            found = ask(provider_of("google", served.url), image())
        assert found.status == status


def test_requests_say_what_they_should(vendor: tuple[str, Vendor]) -> None:
    """The right feature is asked for, and the key travels where the vendor wants it."""
    name, served = vendor
    ask(provider_of(name, served.url), image())
    ((path, headers, body),) = served.seen
    lower = {key.lower(): value for key, value in headers.items()}
    if name == "aws":
        assert lower["x-amz-target"] == "RekognitionService.DetectLabels"
        assert KEY not in lower["authorization"].replace(f"Credential={KEY}", "")
        assert json.loads(body)["MinConfidence"] == 0
    elif name == "azure":
        assert path.startswith("/computervision/imageanalysis:analyze?")
        assert "features=objects" in path
        assert lower["ocp-apim-subscription-key"] == KEY
        assert body == image()
    else:
        assert path.startswith("/v1/images:annotate")
        (asked,) = json.loads(body)["requests"]
        assert asked["features"][0]["type"] in ("OBJECT_LOCALIZATION", 19)
        assert lower["x-goog-api-key"] == KEY


def test_scores_below_the_least_one_are_left_out() -> None:
    """Azure and Google have no such option, so the client filters."""
    with serve(Vendor(answer=AZURE_OBJECTS)) as served:
        settings = AzureSettings(endpoint=served.url, min_score=0.6)
        found = ask(azure_provider(settings), image())
    assert found.answer is not None
    assert len(found.answer) == 1
    with serve(Vendor(answer=GOOGLE_OBJECTS)) as served:
        google = GoogleSettings(endpoint=served.url, transport="rest", min_score=0.7)
        found = ask(google_provider(google), image())
    assert found.answer is not None
    assert len(found.answer) == 1


@pytest.mark.parametrize("name", VENDORS)
def test_credentials_are_never_sent_in_clear_to_another_machine(name: str) -> None:
    """Plain HTTP is for loopback."""
    for url in ("http://vision.example.net", "https://user:pw@host", "ftp://host", "x"):
        with pytest.raises(ConfigError, match=r"https|token_env") as caught:
            provider_of(name, url)
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize("name", VENDORS)
def test_missing_credentials_say_which_variable_to_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out before the first call."""
    for variable in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AZURE_VISION_KEY",
        "GOOGLE_API_KEY",
    ):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    with pytest.raises(PrerequisiteError) as caught:
        provider_of(name, "http://127.0.0.1:9")
    assert "export" in caught.value.hint
