"""Checking what others made: a data set or a model, with all that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, MidhaulError
from midhaul.vision.data.dataset import KINDS_OF_A_FILE, DataFault, Faults
from midhaul.vision.data.files import list_images, read_bytes, read_json, unread_images
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.data.yolo import YAML
from midhaul.vision.detectors.detector import load_detector, parse_spec
from midhaul.vision.detectors.recorded import providers_of
from midhaul.vision.images.codecs import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.vision.data.dataset import Dataset, DatasetKind

_MODELS = {".onnx": "onnx", ".tflite": "tflite"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found.

    Attributes:
        what: what was checked, in words.
        faults: every mistake with its place and what mends it.
        notes: what was counted and is no mistake.
    """

    what: str
    faults: tuple[DataFault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTarget:
    """Where a data set is, and of which kind."""

    kind: DatasetKind
    images: Path
    annotations: Path | None = None


def check_path(
    path: Path,
    *,
    kind: DatasetKind | None = None,
    images: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Checked:
    """Check a data set, a model, a file of recorded answers or a folder of images.

    That is a folder, a COCO JSON file, a ``data.yaml``, an ONNX or TensorFlow Lite
    model, or a Parquet file of detections. The kind of a data set and the images of a
    COCO file are found out when absent. DataError if there is nothing of the sort.
    """
    if not path.exists():
        message = f"there is nothing at {path}"
        raise DataError(message, "name a data set, a model or an experiment file")
    if path.suffix.lower() in _MODELS:
        return check_model(f"{_MODELS[path.suffix.lower()]}:{path}")
    if path.suffix.lower() == ".parquet" and kind != "table":
        return _check_recording(path)
    target = _target(path, kind, images)
    if target is None:
        return _check_images(path, advance)
    return check_dataset(
        f"data set {path} ({target.kind})",
        lambda faults: open_dataset(
            target.kind,
            images=target.images,
            annotations=target.annotations,
            faults=faults,
        ),
        advance,
    )


def check_dataset(
    what: str,
    opened: Callable[[Faults], Dataset],
    advance: Callable[[], None] = lambda: None,
) -> Checked:
    """Check a data set: its annotations, its files, and every pixel of its images.

    ``opened`` leaves mistakes of single images with the faults that it is given.
    """
    faults = Faults("list")
    try:
        dataset = opened(faults)
    except DataError as error:
        faults.add(error)
        return Checked(what=what, faults=tuple(faults.found))
    for image_id in dataset.image_ids:
        try:
            decode(dataset.read(image_id), where=_where(dataset, image_id))
        except DataError as error:
            faults.add(error)
        advance()
    counted = [t for t in dataset.tallies if "have mistakes" not in t.what]
    n_boxes = sum(len(dataset.truth[i]) for i in dataset.image_ids)
    return Checked(
        what=f"{what}: {len(dataset):,} images, {n_boxes:,} boxes, "
        f"{len(dataset.names)} classes",
        faults=(*faults.found, *_too_many(counted)),
        notes=tuple(t.sentence for t in counted if not t.is_too_many),
    )


def check_model(spec: str) -> Checked:
    """Check a detector: its file, its card, and that it answers.

    PrerequisiteError if a library is missing; the hint says how to install it.
    """
    what = f"detector {spec}"
    try:
        detector = load_detector(spec)
    except MidhaulError as error:
        if not isinstance(error, DataError):
            raise
        return Checked(
            what=what, faults=(DataFault(message=error.message, hint=error.hint),)
        )
    return Checked(what=f"{what}: {detector.name}, {len(detector.names)} classes")


def is_spec(text: str) -> bool:
    """Whether a text names a detector, and no file."""
    try:
        parse_spec(text)
    except MidhaulError:
        return False
    return True


def _check_recording(path: Path) -> Checked:
    what = f"recorded detections {path}"
    try:
        names = providers_of(path)
    except DataError as error:
        fault = DataFault(message=error.message, hint=error.hint)
        return Checked(what=what, faults=(fault,))
    return Checked(what=f"{what}: {', '.join(names)}")


def _check_images(folder: Path, advance: Callable[[], None]) -> Checked:
    """A folder that holds nothing but images."""
    faults = Faults("list")
    files = list_images(folder)
    for file in files.values():
        try:
            decode(read_bytes(file), where=str(file))
        except DataError as error:
            faults.add(error)
        advance()
    unread = unread_images(folder, len(files))
    return Checked(
        what=f"images {folder}: {len(files):,} images, no labels found",
        faults=(*faults.found, *_too_many(unread)),
        notes=tuple(t.sentence for t in unread if not t.is_too_many),
    )


def _too_many(tallies: Sequence[Tally]) -> list[DataFault]:
    """What would make a run not valid is a mistake as well."""
    return [
        DataFault(message=t.reason, hint=t.advice) for t in tallies if t.is_too_many
    ]


def _where(dataset: Dataset, image_id: str) -> str:
    paths = getattr(dataset.source, "paths", {})
    return str(paths.get(image_id, image_id))


def _target(
    path: Path, kind: DatasetKind | None, images: Path | None
) -> CheckTarget | None:
    """What a path is; None for a folder of images alone."""
    if kind in KINDS_OF_A_FILE and kind != "coco":
        folder = images or _images_of(path)
        return CheckTarget(kind=kind, images=folder, annotations=path)
    if kind == "labelme":
        return CheckTarget(kind=kind, images=images or path, annotations=path)
    if path.is_file():
        return _of_file(path, images)
    kinds: dict[DatasetKind, Callable[[], CheckTarget | None]] = {
        "voc": lambda: _voc_in(path),
        "yolo": lambda: _yolo_in(path, is_meant=kind == "yolo"),
        "coco": lambda: _coco_in(path, images),
    }
    wanted = [find for name, find in kinds.items() if kind in (None, name)]
    return next((target for find in wanted if (target := find()) is not None), None)


def _of_file(path: Path, images: Path | None) -> CheckTarget:
    suffix = path.suffix.lower()
    if suffix in YAML:
        return CheckTarget(kind="yolo", images=path)
    if suffix == ".json":
        folder = images or _images_of(path)
        return CheckTarget(kind="coco", images=folder, annotations=path)
    message = f"{path} is no data set, model or experiment file that is known"
    raise DataError(message, "expected .json, .yaml, .onnx, .tflite, .parquet, .toml")


def _voc_in(path: Path) -> CheckTarget | None:
    if (path / "JPEGImages").is_dir():
        return CheckTarget(kind="voc", images=path)
    if (path / "Annotations").is_dir() and (path / "images").is_dir():
        return CheckTarget(kind="voc", images=path / "images")
    return None


def _yolo_in(path: Path, *, is_meant: bool) -> CheckTarget | None:
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (path / name).is_file():
            return CheckTarget(kind="yolo", images=path / name)
    if is_meant or (path / "labels").is_dir() or _has_labels_beside(path):
        return CheckTarget(kind="yolo", images=path)
    return None


def _coco_in(path: Path, images: Path | None) -> CheckTarget | None:
    files = [*sorted(path.glob("*.json")), *sorted(path.glob("annotations/*.json"))]
    found = [file for file in files if _is_coco(file)]
    if len(found) > 1:
        listed = ", ".join(file.name for file in found[:3])
        message = f"{path} holds {len(found)} files of annotations: {listed}"
        raise DataError(message, "name one of them, and --images its folder")
    return _of_file(found[0], images) if found else None


def _has_labels_beside(path: Path) -> bool:
    return "images" in path.parts and any(
        path.parents[n].joinpath("labels").is_dir()
        for n in range(min(2, len(path.parents)))
    )


def _is_coco(file: Path) -> bool:
    try:
        document = read_json(file)
    except DataError:
        return False
    return isinstance(document, dict) and "images" in document


def _images_of(file: Path) -> Path:
    """The folder in which the first images of a COCO file are."""
    document: Any = read_json(file)
    table = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    entries: Any = table.get("images")
    listed = cast("list[Any]", entries) if isinstance(entries, list) else []
    names = [str(e.get("file_name", "")) for e in listed[:20] if isinstance(e, dict)]
    ends = [name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    folders = [
        folder
        for base in (file.parent, file.parent.parent)
        for folder in (base, *sorted(f for f in base.iterdir() if f.is_dir()))
    ]
    for wanted in (names, ends):
        for folder in folders:
            if any(name and (folder / name).is_file() for name in wanted):
                return folder
    message = f"the images of {file} are not beside it"
    raise DataError(message, "name their folder: midhaul check FILE --images DIR")
