"""Model cards of the built-in detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit

from midhaul.vision.scenes.scene import LABELS

if TYPE_CHECKING:
    from pathlib import Path


def write_card(file: Path, record: dict[str, Any], *, mean: float, std: float) -> None:
    """Write the card that midhaul reads beside the ONNX file."""
    card = tomlkit.document()
    card.add(tomlkit.comment("Written by tools/train_builtin.py."))
    values = {
        "name": record["model"],
        "file": file.with_suffix(".onnx").name,
        "input_width": record["input_px"][0],
        "input_height": record["input_px"][1],
        "layout": "nchw",
        "colour": "rgb",
        "dtype": "float32",
        "mean": [mean] * 3,
        "std": [std] * 3,
        "fit": "letterbox",
        "letterbox_anchor": "top-left",
        "pad_value": 114,
        "interpolation": "linear",
        "decoder": "yolox",
        "strides": record["strides"],
        "score_threshold": 0.01,
        "nms_iou": 0.6,
        "max_detections": 100,
        "labels": list(LABELS),
        "licence": "Apache-2.0",
        "source": f"python tools/train_builtin.py --model {record['model']}",
    }
    for key, value in values.items():
        card.add(key, tomlkit.item(value))
    training = {"parameters": record["parameters"], "gmac": record["gmac"]}
    training |= {
        k: record["training"][k] for k in ("iterations", "batch", "seed", "cpu_s")
    }
    card.add("training", tomlkit.item(training))
    file.write_text(tomlkit.dumps(card))
