"""Workloads of a live run: street scenes as JPEG and sounds as WAV, with scores.

*Images* are street scenes as JPEG messages, and a detector is scored on them.

The knob is the share of a scene's area that is left after a resize. The quality of an
answer is its F1 at an IoU of 0.5 against the scene's known boxes.

*Sounds* are made-up events as WAV messages, and a classifier is scored on them.

Eight classes share a hum and differ by one sound each between 0.7 and 10 kHz: a tone, a
chirp, clicks or a band of noise. The knob is the share of the sampling rate that
is left; a clip is resampled by cutting its spectrum, so that nothing is aliased. What
lies above half the rate that is left is gone, and with it the difference between
classes. The quality of an answer is 1 where the class is right and 0 otherwise.

*QoS curves* of both are measured before the loop begins. For each knob, messages that
are never sent afterwards are made, answered and scored. The rate of a step is the 90th
percentile of their sizes, with what the transport adds and 5 % more, so that no lane is
loaded to its last bit. On the gateway an analytic sees whole messages and uploads its
answers alone: one step.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.transport import publish_bytes
from midhaul.deploy.live.channel import UP, Header, encode_answer, pack
from midhaul.model import Detections
from midhaul.vision.data.names import map_labels
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.codecs import decode, write
from midhaul.vision.images.image import Preprocessing, transform
from midhaul.vision.judge.matching import match
from midhaul.vision.scenes.scene import HEIGHT, LABELS, WIDTH, make_scene

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.deploy.live.config import WorkloadConfig
    from midhaul.model import GroundTruth
    from midhaul.runs.progress import Task
    from midhaul.vision.scenes.scene import Scene, Split

IMAGE_KNOBS = (0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0)
JPEG_QUALITY = 75
_MAX_BOXES = 60
_N_CACHED = 512


class Images:
    """Scenes of a seed, and a detector for them; curves use the split ``calibration``.

    ``threshold`` is the score from which a detection counts; see
    :func:`best_threshold`.
    """

    name = "images"

    def __init__(
        self,
        detector: str,
        *,
        seed: int,
        split: Split = "evaluation",
        threshold: float = 0.2,
    ) -> None:
        self._spec = detector
        self.seed = seed
        self.split: Split = split
        self.threshold = threshold
        self._detector = load_detector(detector, threads=1)
        self._scene = lru_cache(_N_CACHED)(self._draw)

    @property
    def knobs(self) -> tuple[float, ...]:
        """Shares of the area."""
        return IMAGE_KNOBS

    def message(self, content: int, knob: float) -> bytes:
        """A scene as a JPEG file of a share of its area."""
        pixels = self._scene(content).pixels
        small = transform(pixels, Preprocessing(resize=knob**0.5))
        return write(small, "jpeg", JPEG_QUALITY)

    def answer(self, message: bytes) -> Any:
        """Boxes in px of the whole scene, scores and labels; the best come first."""
        pixels = decode(message)
        found = self._detector.detect(pixels)
        found = map_labels(found, LABELS)[0]
        found = found.take(found.scores >= self.threshold)
        found = found.take(np.argsort(-found.scores)[:_MAX_BOXES].astype(np.int32))
        height, width = pixels.shape[:2]
        found = found.scaled(WIDTH / width, HEIGHT / height)
        return {
            "boxes": found.boxes.round(1).tolist(),
            "scores": found.scores.round(3).tolist(),
            "labels": found.labels.tolist(),
        }

    def score(self, content: int, answer: Any) -> float:
        """F1 at an IoU of 0.5."""
        scores = np.array(answer["scores"], np.float32)
        found = Detections(
            boxes=np.array(answer["boxes"], np.float32).reshape(-1, 4),
            scores=scores,
            labels=np.array(answer["labels"], np.int32),
            names=LABELS,
        )
        truth = self.truth(content)
        return f1(truth_count=len(truth), **_hits(truth, found, self.threshold))

    def fresh(self) -> Images:
        """The same with a detector of its own, loaded now."""
        return Images(
            self._spec, seed=self.seed, split=self.split, threshold=self.threshold
        )

    def truth(self, content: int) -> GroundTruth:
        """The known boxes of a scene."""
        return self._scene(content).truth

    def _draw(self, content: int) -> Scene:
        return make_scene(self.seed, content, self.split)


def f1(*, truth_count: int, n_true: int, n_found: int) -> float:
    """Harmonic mean of precision and recall; 1 where nothing was to be found or is."""
    total = truth_count + n_found
    return 2 * n_true / total if total else 1.0


def _hits(truth: GroundTruth, found: Detections, threshold: float) -> dict[str, int]:
    matches = match([truth], [found])
    counts = matches.scores >= threshold
    n_true = int((matches.is_true[0] & counts).sum())
    return {"n_true": n_true, "n_found": int(counts.sum())}


def best_threshold(images: Images, n: int) -> float:
    """The score from which detections should count, on ``n`` scenes of calibration."""
    grid = np.round(np.arange(0.1, 0.75, 0.05), 2)
    images.threshold = float(grid[0])
    answers = [images.answer(images.message(i, 1.0)) for i in range(n)]
    means: list[float] = []
    for threshold in grid:
        images.threshold = float(threshold)
        scores = [images.score(i, a) for i, a in enumerate(answers)]
        means.append(float(np.mean(scores)))
    images.threshold = float(grid[int(np.argmax(means))])
    return images.threshold


SOUND_KNOBS = (0.1, 0.2, 0.3, 0.4, 4 / 7, 0.7, 6 / 7, 1.0)
"""Shares of the rate whose clips have lengths that are quick to transform."""
RATE_HZ = 22_050
CLIP_S = 4
CLASSES = ("engine", "horn", "siren", "saw", "glass", "brakes", "steam", "bat")
"""In the order of the frequencies that tell them."""

_N = RATE_HZ * CLIP_S
_BANDS_HZ = (700.0, 1_500.0, 2_700.0, 3_900.0, 5_200.0, 6_600.0, 8_200.0, 9_700.0)
_N_FEATURES = 32
_LOWEST_HZ = 100.0
_FIT_SEED = 0x50
_N_FIT = 10


_PEAK = 32_000


class Sounds:
    """Sound events of a seed, and a classifier that was fitted on others.

    ``stream`` chooses among disjoint series of events: 0 to send, 1 for curves.
    """

    name = "sounds"

    def __init__(self, *, seed: int, stream: int = 0) -> None:
        self._seed = [seed, stream]
        self._clip = lru_cache(_N_CACHED)(self._make)

    @property
    def knobs(self) -> tuple[float, ...]:
        """Shares of the sampling rate."""
        return SOUND_KNOBS

    def message(self, content: int, knob: float) -> bytes:
        """A clip as a WAV file: mono, 16 bit."""
        rate_hz = round(RATE_HZ * knob)
        clip = resample(self._clip(content), rate_hz * CLIP_S)
        samples = np.clip(clip * _PEAK, -_PEAK, _PEAK).astype("<i2")
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(samples.tobytes())
        return target.getvalue()

    def answer(self, message: bytes) -> Any:
        """The name of the class whose spectrum is nearest, where there is one."""
        with wave.open(io.BytesIO(message)) as file:
            rate_hz = file.getframerate()
            raw = file.readframes(file.getnframes())
        found = features(np.frombuffer(raw, "<i2") / _PEAK, rate_hz)
        seen = np.isfinite(found)
        centroids, spreads = _fit()
        gaps = (centroids[:, seen] - found[seen]) / spreads[seen]
        gaps = (gaps**2).sum(axis=1)
        return {"label": CLASSES[int(np.argmin(gaps))]}

    def score(self, content: int, answer: Any) -> float:
        """1 where the class is right."""
        return float(answer["label"] == CLASSES[self.label(content)])

    def label(self, content: int) -> int:
        """The class of an event."""
        return int(np.random.default_rng([*self._seed, content]).integers(len(CLASSES)))

    def fresh(self) -> Sounds:
        """The same, fitted anew."""
        return Sounds(seed=self._seed[0], stream=self._seed[1])

    def _make(self, content: int) -> Float64[np.ndarray, " n"]:
        rng = np.random.default_rng([*self._seed, content])
        return make_sound(int(rng.integers(len(CLASSES))), rng)


def make_sound(label: int, rng: np.random.Generator) -> Float64[np.ndarray, " n"]:
    """Four seconds of an event at the full rate, between -1 and 1."""
    t = np.arange(_N) / RATE_HZ
    hum_hz = rng.uniform(60, 160)
    sound = sum(
        rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * (h * hum_hz * t + rng.uniform()))
        for h in range(1, 6)
    )
    sound = sound + rng.normal(0.0, 1.0, _N) * rng.uniform(0.15, 0.6)
    signature = _signature(label, t, rng)
    signature *= rng.uniform(0.08, 0.5) / np.sqrt(np.mean(signature**2))
    sound = sound + signature * _bursts(t, rng)
    return sound / np.abs(sound).max()


def _signature(
    label: int, t: Float64[np.ndarray, " n"], rng: np.random.Generator
) -> Float64[np.ndarray, " n"]:
    """What tells a class: a tone, a chirp, clicks or noise, around one frequency."""
    at_hz = _BANDS_HZ[label] * rng.uniform(0.95, 1.05)
    match label % 4:
        case 0:
            return np.sin(2 * np.pi * at_hz * t)
        case 1:  # a chirp, up and down
            swing = 0.04 * at_hz * np.sin(2 * np.pi * rng.uniform(0.5, 2) * t)
            return np.sin(2 * np.pi * np.cumsum(at_hz + swing) / RATE_HZ)
        case 2:  # clicks that ring
            phase = np.mod(t * rng.uniform(4, 12), 1.0)
            return np.sin(2 * np.pi * at_hz * t) * np.exp(-8 * phase)
        case _:  # a band of noise
            noise = np.fft.rfft(rng.normal(0.0, 1.0, _N))
            bins = np.fft.rfftfreq(_N, 1 / RATE_HZ)
            noise[np.abs(bins - at_hz) > 0.06 * at_hz] = 0
            return np.fft.irfft(noise, _N)


def _bursts(
    t: Float64[np.ndarray, " n"], rng: np.random.Generator
) -> Float64[np.ndarray, " n"]:
    """When an event is to be heard within its clip."""
    begin = rng.uniform(0.0, 2.0)
    return ((t >= begin) & (t < begin + rng.uniform(1.0, 2.0))).astype(np.float64)


def resample(clip: Float64[np.ndarray, " n"], n: int) -> Float64[np.ndarray, " m"]:
    """A clip with ``n`` samples: what lies above half the new rate is cut off."""
    if n == len(clip):
        return clip
    spectrum = np.fft.rfft(clip)[: n // 2 + 1].copy()
    if n % 2 == 0:
        spectrum[-1] = spectrum[-1].real
    return np.fft.irfft(spectrum, n) * (n / len(clip))


def features(
    clip: Float64[np.ndarray, " n"], rate_hz: int
) -> Float64[np.ndarray, " f"]:
    """Logarithms of power in bands of equal ratio, less their median; NaN beyond."""
    edges = np.geomspace(_LOWEST_HZ, RATE_HZ / 2, _N_FEATURES + 1)
    power = np.abs(np.fft.rfft(clip)) ** 2 / len(clip)
    places = np.ceil(edges * len(clip) / rate_hz).astype(np.int64)
    found = np.full(_N_FEATURES, np.nan)
    for band, (begin, end) in enumerate(pairwise(places)):
        if end <= len(power):
            found[band] = np.log10(power[begin : max(end, begin + 1)].mean() + 1e-9)
    return found - np.nanmedian(found)


@lru_cache(1)
def _fit() -> tuple[Float64[np.ndarray, "c f"], Float64[np.ndarray, " f"]]:
    """Mean features of each class and their spread, on sounds that are never sent."""
    rng = np.random.default_rng(_FIT_SEED)
    found = np.array(
        [
            [features(make_sound(label, rng), RATE_HZ) for _ in range(_N_FIT)]
            for label in range(len(CLASSES))
        ]
    )
    means = found.mean(axis=1)
    return means, np.sqrt(((found - means[:, None]) ** 2).mean(axis=(0, 1)))


class Workload(Protocol):
    """Messages of one sort, the program that answers them, and who knows the truth."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def knobs(self) -> tuple[float, ...]:
        """Settings from the cheapest to the best, which is 1."""
        ...

    def message(self, content: int, knob: float) -> bytes:
        """A message as a file: which one, and how much of it is sent."""
        ...

    def answer(self, message: bytes) -> Any:
        """What the analytic finds in a message, as what JSON can hold."""
        ...

    def score(self, content: int, answer: Any) -> float:
        """How good an answer is, from 0 to 1."""
        ...

    def fresh(self) -> Workload:
        """The same with a program of its own, loaded now."""
        ...


WORKLOADS = ("images", "sounds")
"""Names of the two workloads."""


def workload_named(name: str, config: WorkloadConfig, seed: int) -> Workload:
    """``images`` or ``sounds``, made from a seed."""
    if name == "images":
        return Images(str(config.detector), seed=seed)

    return Sounds(seed=seed)


def message_hz(name: str, config: WorkloadConfig) -> float:
    """Messages per second of one analytic."""
    period_s = config.image_period_s if name == "images" else config.sound_period_s
    return 1 / period_s


USUAL_NAME = "yolo-12.1000"
"""An analytic whose name is as long as most."""

_HEADROOM = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCurves:
    """The two curves of a workload, quality by upload rate, and payloads of the steps.

    ``n`` messages are behind each step; ``threshold`` is the score from which a
    detection counts, 0 for sounds.
    """

    workload: str
    threshold: float
    n: int
    cloud: QosCurve
    gateway: QosCurve
    cloud_bytes: tuple[float, ...]
    gateway_bytes: tuple[float, ...]

    @property
    def saved_bps(self) -> float:
        """What the best quality in the cloud costs more than on the gateway."""
        return float(self.cloud.rates_bps[-1] - self.gateway.rates_bps[-1])

    def plain(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "workload": self.workload,
            "threshold": self.threshold,
            "n": self.n,
            "hz": self.cloud.message_hz,
            "knobs": self.cloud.knobs.tolist(),
            "bytes": list(self.cloud_bytes),
            "qualities": self.cloud.qualities.tolist(),
            "result_bytes": self.gateway_bytes[0],
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> MeasuredCurves:
        """What :meth:`plain` gave."""
        name, hz, sizes = plain["workload"], plain["hz"], plain["bytes"]
        best = plain["qualities"][-1]
        return cls(
            workload=name,
            threshold=plain["threshold"],
            n=plain["n"],
            cloud=_curve(name, "cloud", plain["knobs"], sizes, plain["qualities"], hz),
            gateway=_curve(name, "gateway", [1.0], [plain["result_bytes"]], [best], hz),
            cloud_bytes=tuple(sizes),
            gateway_bytes=(plain["result_bytes"],),
        )

    def rows(self) -> list[dict[str, object]]:
        """Rows of the table ``curves``."""
        pairs = (("cloud", self.cloud, self.cloud_bytes),)
        pairs += (("gateway", self.gateway, self.gateway_bytes),)
        return [
            {
                "curve": f"{self.workload} {place}",
                "knob": float(curve.knobs[step]),
                "message_bytes": sizes[step],
                "rate_bps": float(curve.rates_bps[step]),
                "quality": float(curve.qualities[step]),
                "n": self.n,
                "is_on_frontier": bool(curve.on_frontier[step]),
            }
            for place, curve, sizes in pairs
            for step in range(len(curve))
        ]


def link_bps(payload_bytes: float, hz: float) -> float:
    """What messages of a size are granted: MQTT, TCP, IP and Ethernet, and 5 %."""
    topic = f"{UP}/10"
    return _HEADROOM * 8 * hz * publish_bytes(round(payload_bytes), topic, qos=1)


def _curve(
    workload: str,
    place: str,
    knobs: list[float],
    sizes: list[float],
    qualities: list[float],
    hz: float,
) -> QosCurve:
    return QosCurve.of(
        f"{workload} {place}",
        np.array(knobs),
        np.array([link_bps(size, hz) for size in sizes]),
        np.array(qualities),
        message_hz=hz,
    )


_PERCENTILE = 90


def measure_curves(
    config: WorkloadConfig, seed: int, task: Task
) -> tuple[MeasuredCurves, ...]:
    """Measure both workloads on messages of which none is sent later."""
    images = Images(str(config.detector), seed=seed, split="calibration")
    threshold = best_threshold(images, config.n_curve_images)
    sounds = Sounds(seed=seed, stream=1)
    return (
        _measure(images, config.n_curve_images, threshold, config, task),
        _measure(sounds, config.n_curve_sounds, 0.0, config, task),
    )


def _measure(
    workload: Workload, n: int, threshold: float, config: WorkloadConfig, task: Task
) -> MeasuredCurves:
    sizes: list[float] = []
    qualities: list[float] = []
    results: list[int] = []
    for knob in workload.knobs:
        bodies = [workload.message(content, knob) for content in range(n)]
        answers = [workload.answer(body) for body in bodies]
        scores = [workload.score(i, answer) for i, answer in enumerate(answers)]
        header = _header(workload.name, knob)
        found = [len(pack(header, body)) for body in bodies]
        sizes.append(float(np.percentile(found, _PERCENTILE)))
        qualities.append(float(np.mean(scores)))
        results = [len(pack(header, encode_answer(answer))) for answer in answers]
        task.advance()
    return MeasuredCurves.of(
        {
            "workload": workload.name,
            "threshold": threshold,
            "n": n,
            "hz": message_hz(workload.name, config),
            "knobs": list(workload.knobs),
            "bytes": sizes,
            "qualities": qualities,
            "result_bytes": float(np.percentile(results, _PERCENTILE)),
        }
    )


def _header(workload: str, knob: float) -> Header:
    """A header of the usual length."""
    return Header(
        analytic=USUAL_NAME,
        workload=workload,
        number=10,
        content=10,
        place="gateway",
        knob=knob,
        planned_ns=10**13,
        sent_ns=10**13,
    )
