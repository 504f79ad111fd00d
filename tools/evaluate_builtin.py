"""Judge the built-in detectors over JPEG quality and image size, on unseen scenes.

    python tools/evaluate_builtin.py

prints the tables of ``docs/explanation/builtin.md`` and writes the figures into the
training records beside the weights. Needs the ``detect`` extra. The scenes are those of
``data.kind = "builtin"``: the evaluation split, which training cannot reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.accuracy import judge
from midhaul.vision.builtin_data import builtin_dataset
from midhaul.vision.detector import load_detector
from midhaul.vision.images import Preprocessing, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Detections
    from midhaul.vision.data import Dataset
    from midhaul.vision.detector import Detector

WEIGHTS = Path(__file__).parent.parent / "src" / "midhaul" / "vision" / "weights"
QUALITIES = tuple(Preprocessing(encode=f"jpeg:{q}") for q in (95, 75, 50, 25, 10))
SIZES = tuple(Preprocessing(resize=share) for share in (1.0, 0.75, 0.5, 0.25))
N_TIMED = 40


def main() -> None:
    """Read the command line, judge every detector under every preprocessing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", help="all that are shipped by default")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    names: list[str] = options.models or [
        json.loads(file.read_text())["model"] for file in _records()
    ]
    dataset = builtin_dataset(options.scenes, seed=options.seed)
    detectors = {name: load_detector(f"builtin:{name}") for name in names}
    times_ms = _times_ms(detectors, dataset)
    scores: dict[tuple[str, str], dict[str, float]] = {}
    sizes: dict[str, float] = {}
    for preprocessing in dict.fromkeys((*SIZES, *QUALITIES)):
        answers, n_bytes = _answers(detectors, dataset, preprocessing)
        sizes[preprocessing.label] = n_bytes / len(dataset)
        for name in names:
            coco = judge(answers[name], dataset).coco()
            values = {key: round(float(getattr(coco, key)), 4) for key in _KEYS}
            scores[name, preprocessing.label] = values
    _print_models(names, scores, times_ms)
    _print_curves("quality", QUALITIES, names, scores, sizes)
    _print_curves("size", SIZES, names, scores, sizes)
    if not options.no_record:
        _record(names, scores, times_ms, options.scenes, options.seed)


_KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def _records() -> list[Path]:
    files = WEIGHTS.glob("*.json")
    return sorted(files, key=lambda f: json.loads(f.read_text())["gmac"])


def _answers(
    detectors: Mapping[str, Detector], dataset: Dataset, preprocessing: Preprocessing
) -> tuple[dict[str, dict[str, Detections]], int]:
    found: dict[str, dict[str, Detections]] = {name: {} for name in detectors}
    n_bytes = 0
    for image_id in dataset.image_ids:
        prepared = prepare(dataset.read(image_id), preprocessing, where=image_id)
        n_bytes += len(prepared.data)
        pixels, _ = prepared.see()
        for name, detector in detectors.items():
            seen = detector.detect(pixels, image_id=image_id)
            back = (1 / prepared.scale_x, 1 / prepared.scale_y)
            found[name][image_id] = seen.scaled(*back)
    return found, n_bytes


def _times_ms(detectors: Mapping[str, Detector], dataset: Dataset) -> dict[str, float]:
    """Median of one image, one thread; the detectors take turns."""
    images = [
        prepare(dataset.read(image_id), Preprocessing()).see()[0]
        for image_id in dataset.image_ids[:N_TIMED]
    ]
    taken: dict[str, list[float]] = {name: [] for name in detectors}
    for pixels in images:
        for name, detector in detectors.items():
            detector.detect(pixels)
            begin = time.perf_counter_ns()
            detector.detect(pixels)
            taken[name].append((time.perf_counter_ns() - begin) / 1e6)
    return {name: statistics.median(values) for name, values in taken.items()}


def _print_models(
    names: Sequence[str],
    scores: Mapping[tuple[str, str], Mapping[str, float]],
    times_ms: Mapping[str, float],
) -> None:
    print(
        "\n| detector | parameters | GMAC | ms | AP | AP50 | small | medium | large |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        record = json.loads((WEIGHTS / f"{name}.json").read_text())
        values = scores[name, Preprocessing().label]
        cells = [
            f"{record['parameters']:,}",
            f"{record['gmac']:.3f}",
            f"{times_ms[name]:.1f}",
            *(f"{values[k]:.3f}" for k in _KEYS if k != "ap75"),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _print_curves(
    title: str,
    settings: Sequence[Preprocessing],
    names: Sequence[str],
    scores: Mapping[tuple[str, str], Mapping[str, float]],
    sizes: Mapping[str, float],
) -> None:
    print(f"\nAP50 by {title}:\n\n| preprocessing | kB | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for setting in settings:
        values = [f"{scores[name, setting.label]['ap50']:.3f}" for name in names]
        kilobytes = sizes[setting.label] / 1000
        print(f"| {setting.label} | {kilobytes:.1f} | {' | '.join(values)} |")
    for name in names:
        curve = np.array([scores[name, s.label]["ap50"] for s in settings])
        falls = bool((np.diff(curve) <= 0).all())
        print(f"{name}: {'monotone' if falls else 'NOT monotone'}, {np.ptp(curve):.3f}")


def _record(
    names: Sequence[str],
    scores: Mapping[tuple[str, str], Mapping[str, float]],
    times_ms: Mapping[str, float],
    n_scenes: int,
    seed: int,
) -> None:
    for name in names:
        file = WEIGHTS / f"{name}.json"
        record = json.loads(file.read_text())
        record["evaluation"] = {
            "scenes": {"split": "evaluation", "seed": seed, "indices": [0, n_scenes]},
            "one_thread_ms": round(times_ms[name], 2),
            "by_preprocessing": {
                label: values for (of, label), values in scores.items() if of == name
            },
        }
        file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
