"""What the pages of the documentation take for given: small data sets and a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from importlib import resources
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tests.support.family_table import MODELS

from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.model import GroundTruth
    from midhaul.vision.data.dataset import Dataset

N_IMAGES = 6


def give(what: str, folder: Path) -> None:
    """Put something into the folder of a page.

    Args:
        what: name of a function in ``GIFTS``.
        folder: where the page's commands run.
    """
    GIFTS[what](folder)


def _scenes() -> Dataset:
    return open_dataset("builtin", n_images=N_IMAGES, seed=3)


def _photos(folder: Path, dataset: Dataset) -> Path:
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for image in dataset.image_ids:
        (photos / f"{image}.jpg").write_bytes(dataset.read(image))
    return photos


def _coco(folder: Path) -> None:
    """``photos/`` and ``photos.json``."""
    dataset = _scenes()
    _photos(folder, dataset)
    images, annotations = [], []
    for number, image in enumerate(dataset.image_ids):
        width, height = dataset.size(image)
        images.append(
            {
                "id": number,
                "file_name": f"{image}.jpg",
                "width": width,
                "height": height,
            }
        )
        truth = dataset.truth[image]
        for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(dataset.names)]
    text = json.dumps(
        {"images": images, "annotations": annotations, "categories": categories}
    )
    (folder / "photos.json").write_text(text, encoding="utf-8")


def _yolo(folder: Path) -> None:
    """``photos/``, ``labels/`` and ``labels/classes.txt``."""
    dataset = _scenes()
    _photos(folder, dataset)
    labels = folder / "labels"
    labels.mkdir()
    for image in dataset.image_ids:
        lines = _yolo_lines(dataset.truth[image], dataset.size(image))
        (labels / f"{image}.txt").write_text("\n".join(lines), encoding="utf-8")
    (labels / "classes.txt").write_text("\n".join(dataset.names), encoding="utf-8")


def _yolo_lines(truth: GroundTruth, size: tuple[int, int]) -> list[str]:
    width, height = size
    lines: list[str] = []
    for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
        x1, y1, x2, y2 = box
        centre = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        extent = (x2 - x1) / width, (y2 - y1) / height
        numbers = " ".join(f"{value:.6f}" for value in (*centre, *extent))
        lines.append(f"{label} {numbers}")
    return lines


def _voc(folder: Path) -> None:
    """``photos/`` and ``xml/``."""
    dataset = _scenes()
    _photos(folder, dataset)
    xml = folder / "xml"
    xml.mkdir()
    for image in dataset.image_ids:
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = f"{image}.jpg"
        size = ET.SubElement(root, "size")
        width, height = dataset.size(image)
        for key, value in (("width", width), ("height", height), ("depth", 3)):
            ET.SubElement(size, key).text = str(value)
        truth = dataset.truth[image]
        for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
            thing = ET.SubElement(root, "object")
            ET.SubElement(thing, "name").text = dataset.names[label]
            bounds = ET.SubElement(thing, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ET.SubElement(bounds, key).text = str(round(value) + 1)
        ET.ElementTree(root).write(xml / f"{image}.xml", encoding="utf-8")


def _model(folder: Path) -> None:
    """``model.onnx`` and ``model.toml``: a detector of midhaul under another name."""
    weights = resources.files("midhaul.vision") / "weights"
    name = min(f.name for f in weights.iterdir() if f.name.endswith(".onnx"))
    with resources.as_file(weights / name) as source:
        shutil.copy(source, folder / "model.onnx")
    card = (weights / name.replace(".onnx", ".toml")).read_text(encoding="utf-8")
    (folder / "model.toml").write_text(card.replace(name, "model.onnx"), "utf-8")


def _exported(folder: Path) -> None:
    """``yolov8.onnx``, as Ultralytics exports it, of a network that is not one."""
    next(one for one in MODELS if one.name == "yolov8").write(folder)


def _killed_run(folder: Path) -> None:
    """``runs/`` with a run of ``long.toml`` that was killed after its first part."""
    command = [sys.executable, "-m", "midhaul", "run", "long.toml"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        parts = folder.glob("runs/*/tables/detections/*.parquet")
        while not any(parts) and process.poll() is None:
            time.sleep(0.02)
            parts = folder.glob("runs/*/tables/detections/*.parquet")
        process.kill()


GIFTS: dict[str, Callable[[Path], None]] = {
    "coco": _coco,
    "yolo": _yolo,
    "voc": _voc,
    "model": _model,
    "exported": _exported,
    "killed run": _killed_run,
}
"""What a page can ask for with ``<!-- given: NAME -->``."""
