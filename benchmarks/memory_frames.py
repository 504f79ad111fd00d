"""Which frames should a camera upload when its world changes, and what do they teach?

The smallest built-in detector, which is made to know no buses, watches streets by day
without any; the last eighth of the stream is another world: dark nights, streets with
buses, or the view of a camera that has moved. Two per cent of the frames may be
uploaded: by the priority sampler over strata of novelty, at random, or those on which
the detector is least sure of what it finds. They are labelled, and the detector goes on
learning from them and from the same known scenes, as many steps for all. AP is that of
other frames of the changed world and of the old one; intervals are of 95 %, over seeds
and images, paired.

    python benchmarks/memory_frames.py [--quick] [--choose-only]

Needs the extras ``memory`` and ``learn``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from frame_nets import detector_of, forget, learnt_on, opened
from frame_worlds import CHANGES, NEW_CLASS, Frame, draw_worlds
from threadpoolctl import threadpool_limits

from midhaul.memory.frames import FrameNovelty, frame_inputs, frame_samples
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins, Samples
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.selectors.reservoir import Reservoir
from midhaul.memory.selectors.score import ScoreSelector
from midhaul.vision.images import decode
from midhaul.vision.judge.average_precision import average_precision
from midhaul.vision.judge.coco_scores import coco_scores
from midhaul.vision.judge.matching import JudgeRules, Matches, match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builtin_net import StreetNet

    from midhaul.memory.selectors.base import Selector
    from midhaul.model import Detections
    from midhaul.vision.detectors.onnx import OnnxDetector

WAYS = ("ours", "random", "uncertainty")
UPLOADED = 0.02
BATCH = 50
"""Frames offered at once."""
SEED = 15
N_DRAWS = 200
UNIFORM_SHARE = 0.25
N_SURE = 5
"""Scores that say how sure the detector is of a frame: the best so many."""
TWICE = 2.0
SURE = Bins.of_classes(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is drawn, watched and learnt.

    Attributes:
        n_known: scenes that novelty is told from.
        n_base: those of them that it learns on from.
        n_pool: old and changed frames that streams are drawn from.
        n_stream: old and changed frames in a stream.
        n_test: frames of each world that are judged.
        n_steps: of learning on.
        n_seeds: streams for each change.
    """

    n_known: int = 300
    n_base: int = 60
    n_pool: tuple[int, int] = (1500, 300)
    n_stream: tuple[int, int] = (1225, 175)
    n_test: int = 150
    n_steps: int = 80
    n_seeds: int = 3


QUICK = Sizes(
    n_known=80,
    n_base=20,
    n_pool=(262, 38),
    n_stream=(262, 38),
    n_test=20,
    n_steps=15,
    n_seeds=1,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """Frames, and what the first detector makes of them.

    Attributes:
        frames: as they were taken.
        found: its detections.
        samples: what a memory is offered.
    """

    frames: Sequence[Frame]
    found: Sequence[Detections]
    samples: Samples

    def take(self, rows: np.ndarray) -> Seen:
        """Some of them."""
        return Seen(
            frames=[self.frames[i] for i in rows],
            found=[self.found[i] for i in rows],
            samples=self.samples.take(rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learnt:
    """A detector that went on learning, judged.

    Attributes:
        changed: matches on frames of the changed world.
        old: matches on those of the old one.
        ap_new: AP of the class that was new.
    """

    changed: Matches
    old: Matches
    ap_new: float


@dataclass(slots=True, kw_only=True)
class Results:
    """What is printed, and whether a bar was missed."""

    is_short: bool = False
    lines: list[str] = field(default_factory=list[str])

    def figure(self, name: str, value: float, unit: str, bar: float) -> None:
        """A figure that is to reach a bar."""
        is_met = value >= bar
        self.is_short |= not is_met
        verdict = "ok" if is_met else "short"
        self.lines.append(f"figure {name} {value:.4g} {unit} bar >={bar:g} {verdict}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """What all learning on begins with, and where.

    Attributes:
        folder: for nets that are exported.
        first: the detector's net before.
        base: known scenes.
        tests: frames of each world to judge by.
        sizes: how much is learnt.
    """

    folder: Path
    first: StreetNet
    base: Sequence[Frame]
    tests: dict[str, list[Frame]]
    sizes: Sizes


def main() -> int:
    """Draw, choose, learn, judge; fail when a figure is short of its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few frames and steps")
    parser.add_argument("--choose-only", action="store_true", help="learn nothing")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = Results()
    first = opened()
    forget(first, NEW_CLASS)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:
        detector = detector_of(first, Path(name))
        known = draw_worlds(SEED, "calibration", {"old": sizes.n_known})["old"]
        novelty = learnt_novelty(detector, known)
        n_old, n_changed = (n + sizes.n_test for n in sizes.n_pool)
        wanted = {"old": n_old, **dict.fromkeys(CHANGES, n_changed)}
        worlds = draw_worlds(SEED, "evaluation", wanted)
        pools = {
            name: seen(detector, frames[sizes.n_test :], novelty)
            for name, frames in worlds.items()
        }
        place = Place(
            folder=Path(name),
            first=first,
            base=known[: sizes.n_base],
            tests={name: all_[: sizes.n_test] for name, all_ in worlds.items()},
            sizes=sizes,
        )
        for change in CHANGES:
            chosen = uploads(change, pools, sizes, results)
            if not options.choose_only:
                judged(change, learning(change, chosen, place), sizes, results)
    print("\n".join(results.lines))
    return int(results.is_short)


def learnt_novelty(detector: OnnxDetector, known: Sequence[Frame]) -> FrameNovelty:
    """How far frames are from those of the old world."""
    rows: list[np.ndarray] = []
    for frame in known:
        pixels = decode(frame.jpeg)
        rows.append(frame_inputs(pixels, detector.detect(pixels)))
    return FrameNovelty.fitted(np.stack(rows), np.random.default_rng(SEED))


def seen(
    detector: OnnxDetector, frames: Sequence[Frame], novelty: FrameNovelty
) -> Seen:
    """What the detector makes of frames."""
    found = [detector.detect(decode(frame.jpeg)) for frame in frames]
    pixels = (decode(frame.jpeg) for frame in frames)
    samples = frame_samples(pixels, found, novelty)
    return Seen(frames=frames, found=found, samples=samples)


def stream_of(
    change: str, pools: dict[str, Seen], sizes: Sizes, seed: int
) -> tuple[list[Frame], Samples, Samples]:
    """Frames of the old world, then of a changed one, with both kinds of predictions.

    The second are of what is sure and what is not, for uncertainty.
    """
    rng = np.random.default_rng([SEED, seed, CHANGES.index(change)])
    frames: list[Frame] = []
    inputs, predictions, sure = [], [], []
    for name, n in zip(("old", change), sizes.n_stream, strict=True):
        part = pools[name].take(rng.permutation(len(pools[name].frames))[:n])
        frames += part.frames
        inputs.append(part.samples.x)
        predictions.append(part.samples.prediction)
        sure.append([np.sort(f.scores)[-N_SURE:].sum() / N_SURE for f in part.found])
    x, score = np.concatenate(inputs), np.concatenate(sure)
    prediction = np.concatenate(predictions)
    by_score = np.stack([1 + score, 1 - score], axis=1) / 2
    return (
        frames,
        Samples.of(x, prediction=prediction, model_version=0),
        Samples.of(x, prediction=by_score, model_version=0),
    )


def uploads(
    change: str, pools: dict[str, Seen], sizes: Sizes, results: Results
) -> dict[str, list[list[Frame]]]:
    """Frames that each way chooses of each stream; says what they are."""
    n, (n_old, n_changed) = sum(sizes.n_stream), sizes.n_stream
    n_kept = round(UPLOADED * n)
    chosen: dict[str, list[list[Frame]]] = {way: [] for way in WAYS}
    shares: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(sizes.n_seeds):
        frames, by_novelty, by_score = stream_of(change, pools, sizes, seed)
        bins = Bins.of_classes(by_novelty.prediction.shape[1])
        ways: dict[str, tuple[Selector, Samples, Bins]] = {
            "ours": (
                PrioritySampler(
                    capacity=n_kept, bins=bins, uniform_share=UNIFORM_SHARE, seed=seed
                ),
                by_novelty,
                bins,
            ),
            "random": (Reservoir(capacity=n_kept), by_novelty, bins),
            "uncertainty": (
                ScoreSelector(
                    capacity=n_kept, bins=SURE, of="confidence", temperature=1e-3
                ),
                by_score,
                SURE,
            ),
        }
        for way, (selector, samples, of) in ways.items():
            memory = SampleMemory(selector, of, seed=seed)
            for start in range(0, n, BATCH):
                memory.offer(samples.take(slice(start, start + BATCH)))
            rows = np.sort(memory.get().time_s.astype(np.int64))
            chosen[way].append([frames[i] for i in rows])
            shares[way].append(float((rows >= n_old).mean()))
    print(f"\n{change}: {n_kept} of {n:,} frames uploaded, {n_changed} changed")
    for way in WAYS:
        sent = np.mean([sum(len(frame.jpeg) for frame in one) for one in chosen[way]])
        each = ", ".join(f"{share:.0%}" for share in shares[way])
        print(f"  {way:12} {np.mean(shares[way]):6.1%} changed ({each}), ", end="")
        print(f"{sent / 1e3:,.0f} kB", flush=True)
    name = f"{change.replace(' ', '_')}_share_of_ours_over_chance"
    over_chance = float(np.mean(shares["ours"])) / (n_changed / n)
    results.figure(name, over_chance, "x", TWICE)
    return chosen


def learning(
    change: str, chosen: dict[str, list[list[Frame]]], place: Place
) -> dict[str, list[Learnt]]:
    """Detectors that went on learning from what each way uploaded."""
    worlds = (place.tests[change], place.tests["old"])
    n_steps = place.sizes.n_steps
    learnt = {"before": [looked(place, place.first, worlds)]}
    for way, kept in chosen.items():
        nets = (
            learnt_on(place.first, [*place.base, *frames], seed=seed, steps=n_steps)
            for seed, frames in enumerate(kept)
        )
        learnt[way] = [looked(place, net, worlds) for net in nets]
    return learnt


def judged(
    change: str, learnt: dict[str, list[Learnt]], sizes: Sizes, results: Results
) -> None:
    """Say what the uploaded frames were worth."""
    rng, n = np.random.default_rng(SEED), sizes.n_test
    weights = rng.multinomial(n, np.full(n, 1 / n), N_DRAWS).astype(np.float64)
    which = rng.integers(sizes.n_seeds, size=(N_DRAWS, sizes.n_seeds))
    for world in ("changed", "old"):
        values = {
            way: means([getattr(one, world) for one in ones], weights, which)
            for way, ones in learnt.items()
        }
        print(f"  AP on the {world} world, and by how much ours is better")
        for way, (mean, draws) in values.items():
            better, beside = values["ours"][0] - mean, values["ours"][1] - draws
            low, high = np.quantile(beside, (0.025, 0.975))
            print(f"    {way:12} {mean:.4f}  {better:+.4f} ({low:+.4f} to {high:+.4f})")
            if way == "random":
                name = f"{change.replace(' ', '_')}_{world}_ap_over_random_at_most"
                results.figure(name, float(high), "AP", 0.0)
    if change == "new class":
        told = {way: np.mean([one.ap_new for one in o]) for way, o in learnt.items()}
        print("  AP of the new class:", end=" ")
        print(", ".join(f"{way} {ap:.4f}" for way, ap in told.items()), flush=True)


def looked(
    place: Place, net: StreetNet, worlds: tuple[Sequence[Frame], Sequence[Frame]]
) -> Learnt:
    """What a net finds on frames of the changed world and of the old one."""
    detector, rules = detector_of(net, place.folder), JudgeRules()
    matches: list[Matches] = []
    ap_new = np.nan
    for frames in worlds:
        truths = [frame.truth for frame in frames]
        answers = [detector.detect(decode(frame.jpeg)) for frame in frames]
        matches.append(match(truths, answers, rules))
        if not matches[1:]:
            ap_new = float(coco_scores(truths, answers).class_ap[NEW_CLASS])
    changed, old = matches
    return Learnt(changed=changed, old=old, ap_new=ap_new)


def means(
    ones: Sequence[Matches], weights: np.ndarray, which: np.ndarray
) -> tuple[float, np.ndarray]:
    """AP over seeds as it is, and for each draw of images and seeds."""
    even = np.ones((1, weights.shape[1]))
    statistics = [average_precision(one) for one in ones]
    mean = float(np.mean([statistic(even)[0] for statistic in statistics]))
    of_seed = np.stack([statistic(weights) for statistic in statistics])
    drawn = of_seed[which.T % len(ones), np.arange(len(weights))]
    return mean, drawn.mean(axis=0)


if __name__ == "__main__":
    sys.exit(main())
