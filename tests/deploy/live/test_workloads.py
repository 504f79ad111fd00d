"""Messages follow their knob in size, and answers to them in quality."""

from __future__ import annotations

import io
import wave
from functools import lru_cache

import numpy as np
import pytest

from midhaul.deploy.live.channel import Header, content_of, pack, unpack
from midhaul.deploy.live.config import WorkloadConfig
from midhaul.deploy.live.workload import (
    CLASSES,
    CLIP_S,
    RATE_HZ,
    SOUND_KNOBS,
    WORKLOADS,
    Images,
    MeasuredCurves,
    Sounds,
    Workload,
    best_threshold,
    link_bps,
    measure_curves,
    resample,
    workload_named,
)
from midhaul.errors import DataError
from midhaul.runs.progress import SilentProgress

CONFIG = WorkloadConfig.model_validate({"n_curve_images": 12, "n_curve_sounds": 32})


@lru_cache(2)
def workload(name: str) -> Workload:
    """A workload, made once."""
    return workload_named(name, CONFIG, seed=3)


def quality(one: Workload, knob: float, n: int) -> float:
    """Mean score of some messages."""
    scores = [one.score(i, one.answer(one.message(i, knob))) for i in range(n)]
    return float(np.mean(scores))


@pytest.mark.parametrize("name", WORKLOADS)
def test_sizes_rise_with_the_knob(name: str) -> None:
    """A higher knob makes a larger message, of whatever content."""
    one = workload(name)
    for content in (0, 7):
        sizes = [len(one.message(content, knob)) for knob in one.knobs]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", WORKLOADS)
def test_quality_falls_with_the_knob(name: str) -> None:
    """Little of a message makes bad answers, all of it good ones."""
    one = workload(name)
    assert quality(one, one.knobs[0], 24) < 0.75 * quality(one, 1.0, 24)


@pytest.mark.parametrize("name", WORKLOADS)
def test_messages_are_the_same_in_every_process(name: str) -> None:
    """Content and knob say everything, so a consumer knows what was sent."""
    fresh = workload_named(name, CONFIG, seed=3)
    assert fresh.message(5, 0.4) == workload(name).message(5, 0.4)
    other = workload_named(name, CONFIG, seed=4)
    assert other.message(5, 0.4) != fresh.message(5, 0.4)


def test_a_perfect_answer_scores_one_and_none_scores_zero() -> None:
    """F1 is 1 for the known boxes and 0 for no box at all."""
    images = Images("builtin:street-n", seed=3)
    truth = images.truth(2)
    assert len(truth)
    answer = {
        "boxes": truth.boxes.tolist(),
        "scores": [0.9] * len(truth),
        "labels": truth.labels.tolist(),
    }
    assert images.score(2, answer) == 1.0
    assert images.score(2, {"boxes": [], "scores": [], "labels": []}) == 0.0


def test_the_threshold_is_the_best_of_those_tried() -> None:
    """A detection counts from the score that serves whole scenes best."""
    images = Images("builtin:street-n", seed=3, split="calibration")
    best = best_threshold(images, 10)
    at_best = quality(images, 1.0, 10)
    for threshold in (0.1, 0.7):
        images.threshold = threshold
        assert quality(images, 1.0, 10) <= at_best + 1e-9
    assert 0.1 <= best <= 0.7


def test_a_clip_is_a_wav_of_the_stated_rate() -> None:
    """Four seconds, mono, 16 bit, at the knob's share of 22,050 Hz."""
    sounds = Sounds(seed=3)
    for knob in SOUND_KNOBS:
        with wave.open(io.BytesIO(sounds.message(1, knob))) as file:
            assert file.getframerate() == round(RATE_HZ * knob)
            assert file.getnframes() == file.getframerate() * CLIP_S
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)


def test_resampling_aliases_nothing() -> None:
    """A tone below half of the new rate stays; one above it is gone, not folded."""
    t = np.arange(RATE_HZ * CLIP_S) / RATE_HZ
    n = RATE_HZ // 2 * CLIP_S
    low, high = (np.sin(2 * np.pi * hz * t) for hz in (1000.0, 8000.0))
    kept = resample(low, n)
    wanted = np.sin(2 * np.pi * 1000.0 * np.arange(n) / (RATE_HZ // 2))
    assert np.abs(kept - wanted).max() < 1e-6
    assert np.abs(resample(high, n)).max() < 1e-6


def test_the_classifier_knows_all_classes() -> None:
    """On whole clips no class is beyond it, and most answers are right."""
    sounds = Sounds(seed=9)
    right = dict.fromkeys(CLASSES, 0)
    for content in range(64):
        answer = sounds.answer(sounds.message(content, 1.0))
        right[answer["label"]] += bool(sounds.score(content, answer))
    assert sum(right.values()) > 0.6 * 64
    assert sum(n > 0 for n in right.values()) >= 7


def test_curves_rise_and_survive_being_written() -> None:
    """Rates include what transports add, and JSON brings the same curves back."""
    with SilentProgress().task("") as task:
        measured = measure_curves(CONFIG, 3, task)
    assert [one.workload for one in measured] == list(WORKLOADS)
    for one in measured:
        assert one.cloud.frontier().qualities[-1] > one.cloud.qualities[0]
        payload_bps = 8 * one.cloud.message_hz * np.array(one.cloud_bytes)
        assert (one.cloud.rates_bps > payload_bps).all()
        assert one.gateway.rates_bps[-1] < one.cloud.rates_bps[0]
        assert one.saved_bps > 0
        again = MeasuredCurves.of(one.plain())
        assert again.plain() == one.plain()
        assert np.array_equal(again.cloud.rates_bps, one.cloud.rates_bps)
        assert len(one.rows()) == len(one.cloud) + 1
    assert link_bps(1000, 2.0) > 8 * 1000 * 2.0


def test_a_header_travels_with_its_body() -> None:
    """What is packed can be unpacked, and a stranger's message is refused."""
    header = Header(
        analytic="yolo-1.3",
        workload="images",
        number=4,
        content=content_of("yolo-1.3", 4),
        place="cloud",
        knob=0.25,
        planned_ns=1,
        sent_ns=2,
    )
    assert unpack(pack(header, b"\x00\nbody")) == (header, b"\x00\nbody")
    for strange in (b"", b"hello", b"{}\nbody", b"[1]\n"):
        with pytest.raises(DataError, match="header"):
            unpack(strange)
