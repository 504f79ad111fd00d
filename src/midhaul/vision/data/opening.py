"""Opening a data set: which reader a folder or a file needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.data.dataset import Dataset, DatasetKind, Faults


def open_dataset(  # noqa: PLR0913 - one for each key of the section
    kind: DatasetKind,
    *,
    images: Path | str | None = None,
    annotations: Path | str | None = None,
    names: Sequence[str] | Path | str | None = None,
    select: Path | str | None = None,
    n_images: int = 100,
    seed: int = 0,
    split: Literal["evaluation", "calibration", "training"] = "evaluation",
    on_size_mismatch: Literal["error", "rescale"] = "error",
    voc_origin: Literal[0, 1] = 1,
    faults: Faults | None = None,
) -> Dataset:
    """Open a data set by its kind.

    Args:
        kind: ``coco`` (one JSON file), ``yolo`` (a text file per image), ``voc`` (an
            XML file per image), ``labelme`` (a JSON file per image), ``createml`` (one
            JSON file), ``cvat`` (one XML file of CVAT's), ``table`` (a Parquet file of
            boxes) or ``builtin`` (scenes that midhaul draws itself).
        images: folder of the images; for yolo and voc also the folder above it, for
            yolo also the ``data.yaml`` of Ultralytics.
        annotations: coco: the JSON file. yolo: folder of the label files, by default
            ``labels`` beside ``images``. voc: folder of the XML files, by default
            ``Annotations`` beside ``JPEGImages``. labelme: folder of the JSON files, by
            default that of the images. createml, cvat, table: the file.
        names: the label set, or a file that holds it; yolo: by default the
            ``data.yaml``, ``classes.txt`` or ``obj.names`` near the labels. voc: by
            default the names found, sorted.
        select: file with one image name per line (``ImageSets/Main/val.txt``); all
            images when absent. yolo and voc only.
        n_images: builtin: how many scenes.
        seed: builtin: which scenes.
        split: builtin: from which part scenes come.
        on_size_mismatch: all but yolo: what becomes of images that have the shape
            that their annotations say and another size; ``rescale`` their boxes, or
            call it an ``error``.
        voc_origin: voc: number of the first pixel of a row, 1 as the VOC devkit has
            it, 0 for tools that count from 0.
        faults: takes in mistakes of single images; all are an error when absent.

    Raises:
        DataError: something is missing or is not what it should be.
    """
    if kind == "builtin":
        from midhaul.vision.data.builtin_data import builtin_dataset  # noqa: PLC0415 - extra

        return builtin_dataset(n_images, seed=seed, split=split)
    if images is None:
        message = f"a data set of kind {kind} needs the folder of its images"
        raise DataError(message, "set data.images")
    folder = Path(images)
    labels = None if annotations is None else Path(annotations)
    if kind == "coco":
        from midhaul.vision.data.coco import read_coco  # noqa: PLC0415 - only what is used

        if labels is None:
            message = "a data set of kind coco needs its JSON file"
            raise DataError(message, "set data.annotations")
        return read_coco(
            folder, labels, on_size_mismatch=on_size_mismatch, faults=faults
        )
    listed = None if select is None else Path(select)
    if kind == "yolo":
        from midhaul.vision.data.yolo import read_yolo  # noqa: PLC0415 - only what is used

        return read_yolo(folder, labels, names=names, select=listed, faults=faults)
    if kind != "voc":
        from midhaul.vision.data.marked import read_marked  # noqa: PLC0415 - as above

        return read_marked(
            kind,
            folder,
            labels,
            names=names,
            on_size_mismatch=on_size_mismatch,
            faults=faults,
        )
    from midhaul.vision.data.voc import read_voc  # noqa: PLC0415 - only what is used

    return read_voc(
        folder,
        labels,
        names=names,
        select=listed,
        on_size_mismatch=on_size_mismatch,
        origin=voc_origin,
        faults=faults,
    )
