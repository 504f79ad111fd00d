"""Show what the thesis's ways of measuring do to data for which the truth is known.

    python tools/thesis_artefacts.py
    python tools/thesis_artefacts.py --kind coco --images DIR --annotations FILE \
        --detectors onnx:A.onnx onnx:B.onnx

Five tables, explained in docs/explanation/what-the-thesis-hid.md. Nothing is timed, so
equal arguments print equal numbers.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from midhaul.stats import bootstrap, paired_bootstrap
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.detector import load_detector, short_name
from midhaul.vision.images.image import Preprocessing, decode, prepare
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.judge.thresholds import THESIS_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.judge.accuracy import Judgement

MEDIANS_S = (0.3, 0.6, 0.9, 1.2, 2.0, 3.0, 5.0, 8.0, 12.0)
"""Medians of nine imagined models, a request each, in seconds."""

N_REQUESTS = 645
"""Requests per model behind the thesis's table: 129 bursts of 5."""

_SPREAD = 0.15
_N_RESAMPLES = 1000
_THRESHOLDS = (0.3, 0.5, THESIS_THRESHOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of a data set after one way of shrinking, by three ways of writing.

    Attributes:
        name: the way of shrinking.
        written: with the tables of the received file, or the quality named.
        thesis: as the thesis wrote it.
    """

    name: str
    written: int
    thesis: int


def wrapped_means(
    rng: np.random.Generator,
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Means of simulated request times, and means of the same modulo a second.

    Args:
        rng: the source of chance.

    Returns:
        Both in seconds, one entry for each of ``MEDIANS_S``.
    """
    spread = rng.lognormal(sigma=_SPREAD, size=(len(MEDIANS_S), N_REQUESTS))
    times_s = np.array(MEDIANS_S)[:, None] * spread
    return times_s.mean(axis=1), (times_s % 1.0).mean(axis=1)


def agreeing_pairs(
    a: Float64[np.ndarray, " m"], b: Float64[np.ndarray, " m"]
) -> tuple[int, int]:
    """How many pairs two lists order alike, and how many pairs there are."""
    first, second = np.triu_indices(len(a), 1)
    alike = np.sign(a[first] - a[second]) == np.sign(b[first] - b[second])
    return int(alike.sum()), len(first)


def save(image: Image.Image, quality: int) -> bytes:
    """A JPEG as Pillow writes it by default."""
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()


def sizes(dataset: Dataset) -> tuple[int, int, list[Sizes]]:
    """Bytes received, bytes of the thesis's baseline, and both ways of shrinking."""
    received = baseline = 0
    ways = {
        "as received": Preprocessing(),
        "quality 75": Preprocessing(encode="jpeg:75"),
        "resize 75 %": Preprocessing(resize=0.75),
        "resize 50 %": Preprocessing(resize=0.5),
    }
    written, thesis = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)
    for image_id in dataset.image_ids:
        data = dataset.read(image_id)
        image = Image.fromarray(decode(data))
        received += len(data)
        baseline += len(save(image, 100))
        for name, way in ways.items():
            written[name] += len(prepare(data, way).data)
            width = round(image.width * way.resize)
            small = image.resize((width, round(image.height * way.resize)))
            thesis[name] += len(save(small, way.quality or 100))
    rows = [Sizes(name=n, written=written[n], thesis=thesis[n]) for n in ways]
    return received, baseline, rows


def grays(dataset: Dataset) -> tuple[int, int, int]:
    """Bytes in colour, after ``draft`` on a loaded image, and really gray.

    All three at quality 75.
    """
    colour = drafted = gray = 0
    for image_id in dataset.image_ids:
        data = dataset.read(image_id)
        image = Image.open(io.BytesIO(data))
        image.load()
        colour += len(save(image.convert("RGB"), 75))
        image.draft("L", image.size)  # too late: the pixels are there
        drafted += len(save(image, 75))
        way = Preprocessing(gray=True, encode="jpeg:75")
        gray += len(prepare(data, way).data)
    return colour, drafted, gray


def judged(dataset: Dataset, spec: str) -> Judgement:
    """A detector's answers for a data set, held against the ground truth."""
    detector = load_detector(spec)
    answers = {
        image_id: detector.detect(decode(dataset.read(image_id)), image_id=image_id)
        for image_id in dataset.image_ids
    }
    return judge(answers, dataset)


def report_times(rng: np.random.Generator) -> None:
    """Print the first table: latency modulo one second."""
    true_s, wrapped_s = wrapped_means(rng)
    print("1  mean of request times, s")
    print("   true    modulo 1 s")
    for a, b in zip(true_s, wrapped_s, strict=True):
        print(f"   {a:6.3f}  {b:5.3f}")
    alike, n = agreeing_pairs(true_s, wrapped_s)
    print(f"   pairs of models in the right order: {alike} of {n}\n")


def report_bytes(dataset: Dataset) -> None:
    """Print the second and third table: sizes against a baseline, and gray."""
    received, baseline, rows = sizes(dataset)
    print("2  bytes left")
    print("   way           of the received file   the thesis: of a quality-100 copy")
    for row in rows:
        left, thesis = row.written / received, row.thesis / baseline
        print(f"   {row.name:12}  {left:20.0%}   {thesis:33.0%}")
    print(
        f"   the quality-100 copy has {baseline / received:.0%} of the bytes received\n"
    )
    colour, drafted, gray = grays(dataset)
    print("3  bytes at quality 75, gray over colour")
    print(f"   Image.draft on a loaded image  {drafted / colour:.1%}")
    print(f"   one channel of luma            {gray / colour:.1%}\n")


def report_f1(judgements: dict[str, Judgement], rng: np.random.Generator) -> None:
    """Print the fourth and fifth table: averaging, threshold and pairing."""
    print("4  F1 at a threshold: of the data set, and averaged the thesis's way")
    for name, judgement in judgements.items():
        for threshold in _THRESHOLDS:
            f1, thesis = judgement.f1(threshold), judgement.thesis_f1(threshold)
            print(f"   {name:20}  at {threshold:<4}  {f1:.3f}   {thesis:.3f}")
    print()
    (name_a, a), (name_b, b) = list(judgements.items())[:2]
    print(f"5  F1 at 0.5, {name_a} - {name_b}, with 95 % interval")
    n = len(a.image_ids)
    of_a, of_b = a.statistic("f1", 0.5), b.statistic("f1", 0.5)
    paired = paired_bootstrap(of_a, of_b, n, rng, n_resamples=_N_RESAMPLES).estimate
    alone = [bootstrap(f, n, rng, n_resamples=_N_RESAMPLES) for f in (of_a, of_b)]
    half = float(np.hypot(*[(e.high - e.low) / 2 for e in alone]))
    print(f"   other images for each detector  {paired.value:+.3f} ± {half:.3f}")
    half = (paired.high - paired.low) / 2
    print(f"   the same images for both        {paired.value:+.3f} ± {half:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", default="builtin")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--n", type=int, default=100, help="images to use")
    parser.add_argument("--seed", type=int, default=0)
    defaults = ["builtin:street-s", "builtin:street-n"]
    parser.add_argument("--detectors", nargs=2, default=defaults, metavar="SPEC")
    given = parser.parse_args(arguments)
    dataset = open_dataset(
        given.kind,
        images=given.images,
        annotations=given.annotations,
        n_images=given.n,
        seed=given.seed,
    ).sample(given.n, np.random.default_rng(given.seed))
    report_times(np.random.default_rng([given.seed, 1]))
    report_bytes(dataset)
    judgements = {short_name(spec): judged(dataset, spec) for spec in given.detectors}
    report_f1(judgements, np.random.default_rng([given.seed, 2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
