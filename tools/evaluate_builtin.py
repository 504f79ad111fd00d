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
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_scores import session

from midhaul.vision.data.builtin_data import builtin_dataset
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import Preprocessing, prepare
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.scenes.scene import HEIGHT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Detections
    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.detectors.detector import Detector

WEIGHTS = Path(__file__).parent.parent / "src" / "midhaul" / "vision" / "weights"
QUALITIES = tuple(Preprocessing(encode=f"jpeg:{q}") for q in (95, 75, 50, 25, 10))
SIZES = tuple(Preprocessing(resize=share) for share in (1.0, 0.75, 0.5, 0.25))
N_TIMED = 40
Scores = dict[str, float]


def main() -> None:
    """Read the command line, judge, record, print the tables of all records."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", help="all that are shipped by default")
    options = parser.parse_args()
    shipped = [str(record["model"]) for record in _records()]
    judged = shipped if options.models is None else options.models
    dataset = builtin_dataset(options.scenes, seed=options.seed)
    detectors = {name: load_detector(f"builtin:{name}") for name in shipped}
    times_ms = _times_ms(detectors, dataset)
    results: dict[str, dict[str, Scores]] = {name: {} for name in judged}
    for preprocessing in dict.fromkeys((*SIZES, *QUALITIES)) if judged else ():
        wanted = {name: detectors[name] for name in judged}
        answers, n_bytes = _answers(wanted, dataset, preprocessing)
        for name in judged:
            coco = judge(answers[name], dataset).coco()
            values = {key: round(float(getattr(coco, key)), 4) for key in _KEYS}
            values["mean_bytes"] = round(n_bytes / len(dataset), 1)
            results[name][preprocessing.label] = values
    for name in shipped:
        record = json.loads((WEIGHTS / f"{name}.json").read_text())
        if name in results:
            scenes = {"split": "evaluation", "seed": options.seed}
            scenes["indices"] = [0, options.scenes]
            by = results[name]
            record["evaluation"] = {"scenes": scenes, "by_preprocessing": by}
        record["cpu_ms"], record["network_cpu_ms"] = times_ms[name]
        text = json.dumps(record, indent=2) + "\n"
        (WEIGHTS / f"{name}.json").write_text(text)
    _print_models(_records())
    _print_curves("quality", QUALITIES, _records())
    _print_curves("size", SIZES, _records())


_KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def _records() -> list[dict[str, Any]]:
    records = [json.loads(file.read_text()) for file in WEIGHTS.glob("*.json")]
    return sorted(records, key=lambda record: record["gmac"])


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


def _times_ms(
    detectors: Mapping[str, Detector], dataset: Dataset
) -> dict[str, tuple[float, float]]:
    """Median CPU time of one image: in ``detect``, and in the network alone.

    Everything runs in this thread, and the detectors take turns.
    """
    images = [
        prepare(dataset.read(image_id), Preprocessing()).see()[0]
        for image_id in dataset.image_ids[:N_TIMED]
    ]
    nets = {name: session(WEIGHTS / f"{name}.onnx") for name in detectors}
    x = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in detectors}
    for pixels in images:
        for name, detector in detectors.items():
            detector.detect(pixels)
            begin = time.thread_time_ns()
            detector.detect(pixels)
            middle = time.thread_time_ns()
            nets[name].run(None, {"images": x})
            taken[name].append((middle - begin, time.thread_time_ns() - middle))
    return {
        name: (
            round(statistics.median(whole for whole, _ in values) / 1e6, 2),
            round(statistics.median(net for _, net in values) / 1e6, 2),
        )
        for name, values in taken.items()
    }


def _print_models(records: Sequence[dict[str, Any]]) -> None:
    titles = (
        "parameters",
        "GMAC",
        "ms",
        "net",
        "AP",
        "AP50",
        *(k[3:] for k in _KEYS[3:]),
    )
    print(f"\n| detector | {' | '.join(titles)} |")
    print("|---" * (len(titles) + 1) + "|")
    for record in records:
        values = record["evaluation"]["by_preprocessing"][Preprocessing().label]
        cells = [
            f"{record['parameters']:,}",
            f"{record['gmac']:.3f}",
            f"{record['cpu_ms']:.1f}",
            f"{record['network_cpu_ms']:.1f}",
            *(f"{values[k]:.3f}" for k in _KEYS if k != "ap75"),
        ]
        print(f"| {record['model']} | {' | '.join(cells)} |")


def _print_curves(
    title: str, settings: Sequence[Preprocessing], records: Sequence[dict[str, Any]]
) -> None:
    names = [record["model"] for record in records]
    curves = [record["evaluation"]["by_preprocessing"] for record in records]
    print(f"\nAP50 by {title}:\n\n| preprocessing | kB | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for setting in settings:
        values = [f"{curve[setting.label]['ap50']:.3f}" for curve in curves]
        kilobytes = curves[0][setting.label]["mean_bytes"] / 1000
        print(f"| {setting.label} | {kilobytes:.1f} | {' | '.join(values)} |")
    print()
    for name, curve in zip(names, curves, strict=True):
        ap50 = np.array([curve[setting.label]["ap50"] for setting in settings])
        falls = bool((np.diff(ap50) <= 0).all())
        verdict = "falls at every step" if falls else "does NOT fall at every step"
        print(f"{name}: {verdict}, by {np.ptp(ap50):.3f} in all")


if __name__ == "__main__":
    main()
