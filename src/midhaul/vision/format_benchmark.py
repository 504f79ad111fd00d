"""Format benchmark: one model by every runtime and precision: AP, time and size.

Each image is answered by all formats in turn before the next one, so that whatever else
the machine does meets all of them alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError, MidhaulError
from midhaul.model import Verdict
from midhaul.vision.detectors.detector import assumptions, load_detector
from midhaul.vision.images.image import decode
from midhaul.vision.judge.accuracy import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.model import Detections
    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.detectors.detector import Detector

_N_WARM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatResult:
    """One model in one format.

    Attributes:
        runtime: what runs it.
        precision: of its numbers.
        spec: how an experiment names it.
        ap: COCO's AP in 0..1; None if it could not be run.
        ap50: the same at an IoU of 0.5.
        median_ms: time of an image, from pixels to boxes.
        low_ms: a quarter of the images took less.
        high_ms: a quarter took more.
        size_bytes: of its files.
        why_not: why it could not be run; empty if it was.
    """

    runtime: str
    precision: str
    spec: str
    ap: float | None = None
    ap50: float | None = None
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    size_bytes: int | None = None
    why_not: str = ""


def formats_of(model: str, calibration: Path | None) -> tuple[FormatResult, ...]:
    """The formats that a model can be asked for, none of them tried.

    ``model`` is a file of ONNX, TensorFlow Lite or OpenVINO, with options of a spec
    behind it; files of the same name and another ending belong to it. ConfigError if
    it is something else; DataError if it is not there.
    """
    path, mark, options = model.partition("?")
    file = Path(path)
    if file.suffix not in (".onnx", ".tflite", ".xml"):
        message = f"{model} is no file of a model"
        raise ConfigError(message, "name one that ends in .onnx, .tflite or .xml")
    if not file.is_file():
        message = f"{file} does not exist"
        raise DataError(message, "give the path of a model")
    rest = mark + options
    found: list[tuple[str, str, str, str]] = []
    onnx, lite, xml = (file.with_suffix(end) for end in (".onnx", ".tflite", ".xml"))
    if onnx.is_file():
        joint = f"onnx:{onnx}{rest}{'&' if rest else '?'}precision="
        found.append(("onnx", "fp32", f"{joint}fp32", ""))
        found.append(("onnx", "int8-dynamic", f"{joint}int8-dynamic", ""))
        no_images = "" if calibration else "it needs a folder of images to calibrate"
        spec = f"{joint}int8&calibration={calibration}"
        found.append(("onnx", "int8", spec if calibration else "", no_images))
    if xml.is_file() or onnx.is_file():
        read = xml if xml.is_file() else onnx
        found.append(("openvino", "fp32", f"openvino:{read}{rest}", ""))
    if lite.is_file():
        found.append(("tflite", "as in its file", f"tflite:{lite}{rest}", ""))
    return tuple(
        FormatResult(runtime=runtime, precision=precision, spec=spec, why_not=why)
        for runtime, precision, spec, why in found
    )


def benchmark_formats(
    formats: tuple[FormatResult, ...],
    dataset: Dataset,
    *,
    threads: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> tuple[tuple[FormatResult, ...], Verdict]:
    """Ask all formats about all images; a format that cannot be run says why.

    The verdict is on the first one that could, and holds what was assumed of the model
    and mended in the data. ``advance`` is called after each image. DataError if an
    image cannot be read, or no format can be run.
    """
    loaded: dict[int, Detector] = {}
    results = list(formats)
    for place, one in enumerate(formats):
        if one.why_not:
            continue
        try:
            loaded[place] = load_detector(one.spec, threads=threads)
        except MidhaulError as error:
            results[place] = _refused(one, error.message)
    if not loaded:
        reasons = "; ".join(f"{one.runtime}: {one.why_not}" for one in results)
        message = f"the model runs in no format: {reasons}"
        raise DataError(message, "midhaul models inspect FILE says what it needs")
    answers, times_s = _asked(loaded, dataset, advance)
    verdict: Verdict | None = None
    for place, detector in loaded.items():
        judged = judge(answers[place], dataset, None)
        if verdict is None:
            verdict = Verdict.of(*dataset.tallies, *assumptions(detector))
        low, median, high = np.percentile(np.array(times_s[place]) * 1e3, (25, 50, 75))
        scores = judged.coco()
        one = formats[place]
        results[place] = FormatResult(
            runtime=one.runtime,
            precision=one.precision,
            spec=one.spec,
            ap=scores.ap,
            ap50=scores.ap50,
            median_ms=float(median),
            low_ms=float(low),
            high_ms=float(high),
            size_bytes=getattr(detector, "size_bytes", None),
        )
    return tuple(results), verdict or Verdict()


def _refused(one: FormatResult, why: str) -> FormatResult:
    return FormatResult(
        runtime=one.runtime, precision=one.precision, spec=one.spec, why_not=why
    )


def _asked(
    loaded: dict[int, Detector], dataset: Dataset, advance: Callable[[], object]
) -> tuple[dict[int, dict[str, Detections]], dict[int, list[float]]]:
    """Answers and times of every detector, image by image."""
    answers: dict[int, dict[str, Detections]] = {place: {} for place in loaded}
    times_s: dict[int, list[float]] = {place: [] for place in loaded}
    for number, image in enumerate(dataset.image_ids):
        pixels = decode(dataset.read(image), where=image)
        for place, detector in loaded.items():
            for _ in range(_N_WARM if number == 0 else 0):
                detector.detect(pixels, image_id=image)
            begin = time.perf_counter()
            answers[place][image] = detector.detect(pixels, image_id=image)
            times_s[place].append(time.perf_counter() - begin)
        advance()
    return answers, times_s
