"""Metadata of model files: Ultralytics, Hugging Face, TensorFlow Lite, lists of labels.

Read are the texts inside of an ONNX file, the files that TensorFlow Lite's metadata
append to a model as a ZIP archive, and what lies beside: ``config.json`` and
``preprocessor_config.json`` of Hugging Face, also one folder above,
``metadata.yaml`` of Ultralytics, and lists of labels.
"""

from __future__ import annotations

import ast
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midhaul.vision.detectors.recognition.facts import ModelFacts

_LABEL_FILES = ("labels.txt", "labelmap.txt", "classes.txt", "coco.names")
_EMPTY = frozenset({"", "???", "n/a", "background", "__background__", "no person"})
_MAX_TEXT = 1_000_000
_MAX_CLASSES = 100_000
_PIXELS = 255.0


@dataclass(slots=True, kw_only=True)
class Said:
    """What a model's file and the files beside it say of it.

    Attributes:
        names: label of each class number, empty where a number is not in use; None if
            nothing names them.
        names_from: where they stand.
        size: width and height of the input in px; None where not said.
        task: what the model is for, in Ultralytics' words; empty where not said.
        family: what made or trained it: ``ultralytics``, a model type of Hugging Face,
            or empty.
        feeding: keys of a card about the input.
        feeding_from: where they stand.
        licence: of the weights; empty where not said.
        source: who made it; empty where not said.
    """

    names: tuple[str, ...] | None = None
    names_from: str = ""
    size: tuple[int, int] | None = None
    task: str = ""
    family: str = ""
    feeding: dict[str, Any] = field(default_factory=dict[str, Any])
    feeding_from: str = ""
    licence: str = ""
    source: str = ""


def what_is_said(facts: ModelFacts) -> Said:
    """Everything that a model's file and the files beside it say.

    DataError if one of them is damaged.
    """
    said = Said()
    try:
        _read_all(facts, said)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        message = f"the metadata of {facts.file} cannot be understood: {error!r}"
        hint = "correct what lies beside the model, or write a card with every key"
        raise DataError(message, hint) from error
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        message = f"the files of {facts.file} cannot be read: {error}"
        raise DataError(message, "export or fetch the model again") from error
    return said


def _read_all(facts: ModelFacts, said: Said) -> None:
    texts = dict(facts.metadata)
    if facts.kind == "tflite":
        texts |= _appended(facts.file, said)
    beside = facts.file.parent / "metadata.yaml"
    if "names" not in texts and beside.is_file():
        texts |= _yaml_texts(beside)
    _read_ultralytics(texts, said)
    _read_hugging_face(facts.file, said)
    if said.names is None:
        for name in _LABEL_FILES:
            file = facts.file.with_name(name)
            if file.is_file():
                lines = documents.read_bytes(file).decode("utf-8", "replace")
                _set_names(said, lines.strip().splitlines(), name)
                break


def _appended(file: Path, said: Said) -> dict[str, str]:
    """Texts in the archive behind a TensorFlow Lite model; a list of labels is kept."""
    if not zipfile.is_zipfile(file):
        return {}
    texts: dict[str, str] = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.file_size > _MAX_TEXT:
                continue
            text = archive.read(info).decode("utf-8", "replace")
            found = _literal(text)
            if isinstance(found, dict):
                pairs = cast("dict[Any, Any]", found)
                texts |= {str(key): str(value) for key, value in pairs.items()}
            elif info.filename.endswith(".txt") and said.names is None:
                _set_names(said, text.strip().splitlines(), info.filename)
    return texts


def _yaml_texts(file: Path) -> dict[str, str]:
    try:
        found = documents.parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"expected YAML in {file}, found something else: {error}"
        raise DataError(message, "correct or remove the file") from error
    table = cast("dict[Any, Any]", found) if isinstance(found, dict) else {}
    return {str(key): str(value) for key, value in table.items()}


def _read_ultralytics(texts: Mapping[str, str], said: Said) -> None:
    """Keys that Ultralytics and YOLOv5 write: names, imgsz, task, license, author."""
    names = _literal(texts.get("names", ""))
    if isinstance(names, dict | list):
        _set_names(said, _numbered(cast("Any", names)), "its metadata")
    size = _literal(texts.get("imgsz", ""))
    if isinstance(size, list | tuple) and len(cast("list[Any]", size)) == len("hw"):
        height, width = (int(one) for one in cast("list[Any]", size))
        said.size = (width, height)
    said.task = texts.get("task", "")
    said.licence = texts.get("license", "")
    said.source = texts.get("author", "")
    if "stride" in texts and "names" in texts:
        said.family = "ultralytics"
    if "rtdetr" in texts.get("description", "").lower().replace("-", ""):
        said.family = "rt_detr"


def _read_hugging_face(file: Path, said: Said) -> None:
    for folder in (file.parent, file.parent.parent):
        document = _json(folder / "config.json")
        if "id2label" not in document:
            continue
        labels = {int(k): str(v) for k, v in document["id2label"].items()}
        _set_names(said, _numbered(labels), "config.json")
        said.family = str(document.get("model_type", ""))
        said.source = str(document.get("_name_or_path", ""))
        _read_processor(_json(folder / "preprocessor_config.json"), said)
        return


def _read_processor(processor: Mapping[str, Any], said: Said) -> None:
    """Size, mean and standard deviation, on 0..255, as transformers apply them."""
    if not processor:
        return
    factor = 1.0
    if processor.get("do_rescale", True):
        factor = 1 / float(processor.get("rescale_factor", 1 / _PIXELS))
    normalises = processor.get("do_normalize", True) and "image_mean" in processor
    mean = processor["image_mean"] if normalises else (0.0, 0.0, 0.0)
    std = processor["image_std"] if normalises else (1.0, 1.0, 1.0)
    feeding: dict[str, Any] = {
        "colour": "rgb",
        "mean": [float(one) * factor for one in mean],
        "std": [float(one) * factor for one in std],
    }
    size = processor.get("size", {})
    if isinstance(size, dict) and processor.get("do_resize", True):
        sides = cast("dict[str, Any]", size)
        if "width" in sides and "height" in sides:
            feeding["fit"] = "stretch"
            said.size = (int(sides["width"]), int(sides["height"]))
        elif "shortest_edge" in sides and "longest_edge" in sides:
            feeding["fit"] = "aspect"
            longest, shortest = sides["longest_edge"], sides["shortest_edge"]
            said.size = (int(longest), int(shortest))
    said.feeding, said.feeding_from = feeding, "preprocessor_config.json"


def _json(file: Path) -> dict[str, Any]:
    """What a JSON file holds, nothing where it is not there; DataError if damaged."""
    if not file.is_file():
        return {}
    try:
        found = documents.parse_json(documents.read_bytes(file))
    except (OSError, ValueError) as error:
        message = f"expected JSON in {file}, found something else: {error}"
        raise DataError(message, "correct or remove the file") from error
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _literal(text: str) -> object:
    """A list or table written as JSON, or as Python writes it; None if neither."""
    if not text or len(text) > _MAX_TEXT:
        return None
    for parse in (documents.parse_json, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return None


def _numbered(names: dict[Any, Any] | list[Any]) -> Iterator[str]:
    """Names by number from 0 on, empty in the gaps."""
    if isinstance(names, list):
        yield from (str(one) for one in names)
        return
    by_number = {int(key): str(value) for key, value in names.items()}
    last = max(by_number, default=-1)
    if last > _MAX_CLASSES:
        message = f"class {last} is beyond {_MAX_CLASSES}"
        raise ValueError(message)
    for number in range(last + 1):
        yield by_number.get(number, "")


def _set_names(said: Said, names: Any, where: str) -> None:
    found = tuple("" if n.strip().lower() in _EMPTY else n.strip() for n in names)
    if any(found):
        said.names, said.names_from = found, where
