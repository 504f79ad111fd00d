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
"""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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
    from midhaul.vision.scenes.scene import Scene, Split

IMAGE_KNOBS = (0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0)
JPEG_QUALITY = 75
_MAX_BOXES = 60
_N_CACHED = 512


class Images:
    """Scenes of a seed, and a detector for them.

    Args:
        detector: its spec.
        seed: of the scenes.
        split: ``calibration`` for those that nothing but QoS curves is measured on.
        threshold: score from which a detection counts; see :func:`best_threshold`.
    """

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
    def name(self) -> str:
        """What tables call it."""
        return "images"

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
    """The score from which detections should count, on whole scenes.

    Args:
        images: the scenes to look at; use those of the split ``calibration``.
        n: how many.
    """
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
CLASSES = (
    "engine",
    "horn",
    "siren",
    "saw",
    "glass",
    "brakes",
    "steam",
    "bat",
)
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

    Args:
        seed: of the events.
        stream: which of several disjoint series of events: 0 to send, 1 for curves.
    """

    def __init__(self, *, seed: int, stream: int = 0) -> None:
        self._seed = [seed, stream]
        self._clip = lru_cache(_N_CACHED)(self._make)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "sounds"

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
    """Messages of one sort, the program that answers them, and who knows the truth.

    Attributes:
        name: what tables call it.
        knobs: settings from the cheapest to the best; the last is 1.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def knobs(self) -> tuple[float, ...]:
        """Settings from the cheapest to the best, which is 1."""
        ...

    def message(self, content: int, knob: float) -> bytes:
        """A message as a file.

        Args:
            content: which one; every number stands for another.
            knob: how much of it is sent.
        """
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
    """One of the two workloads, made from a seed.

    Args:
        name: ``images`` or ``sounds``.
        config: which detector answers images.
        seed: of the messages.
    """
    if name == "images":
        return Images(str(config.detector), seed=seed)

    return Sounds(seed=seed)


def message_hz(name: str, config: WorkloadConfig) -> float:
    """Messages per second of one analytic."""
    period_s = config.image_period_s if name == "images" else config.sound_period_s
    return 1 / period_s
