"""The ``data.yaml`` of Ultralytics: where the images of a YOLO data set are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.errors import DataError
from midhaul.vision.files import read_text
from midhaul.vision.names import names_from_file, names_given

if TYPE_CHECKING:
    from pathlib import Path

YAML = frozenset({".yaml", ".yml"})
_SPLITS = ("val", "test", "train")


def yaml_images(file: Path) -> tuple[Path, Path | None]:
    """The folder of images that a ``data.yaml`` names, and a list of them if it does.

    Its ``val`` is taken, else ``test``, else ``train``. Paths are relative to its key
    ``path``, to the file, or to the file without the ``../`` that exports put there.

    Raises:
        DataError: it names none, several, or one that is not there.
        PrerequisiteError: PyYAML is not installed.
    """
    document = _load(file)
    split = next((s for s in _SPLITS if document.get(s)), None)
    if split is None and (file.parent / "images").is_dir():
        return file.parent / "images", None
    if split is None:
        message = f"{file} names no images: it has no {', '.join(_SPLITS)}"
        raise DataError(message, "set data.images to the folder of the images")
    found = document[split]
    if isinstance(found, list) and len(cast("list[Any]", found)) == 1:
        (found,) = cast("list[Any]", found)
    if not isinstance(found, str):
        message = (
            f"{file}: {split} must be one folder or list of images, found {found!r}"
        )
        raise DataError(message, "set data.images to the folder of the images")
    home = file.parent
    bases = [home / str(document.get("path") or ""), home]
    plain = found.removeprefix("../")
    for place in (base / name for base in bases for name in (found, plain)):
        if place.is_dir():
            return place, None
        if place.is_file():
            return _folder_of(place, bases), place
    message = f"{file}: {split} is {found}, and nothing is there"
    hint = f"looked below {home} and its key path; set data.images to the folder"
    raise DataError(message, hint)


def _folder_of(listing: Path, bases: list[Path]) -> Path:
    """The folder that holds all images of a list."""
    for base in (listing.parent, *bases):
        if (base / "images").is_dir():
            return base / "images"
    return listing.parent


def _load(file: Path) -> dict[str, Any]:
    try:
        document = documents.parse_yaml(read_text(file))
    except ValueError as error:
        message = f"expected YAML in {file}, found something else: {error}"
        raise DataError(message, "correct the file, or set data.names") from error
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def names_in(file: Path) -> tuple[str, ...]:
    """The label set that a file holds: under ``names`` in YAML, else one name a line.

    Raises:
        DataError: it holds none.
        PrerequisiteError: it is a YAML file and PyYAML is not installed.
    """
    if file.suffix.lower() not in YAML:
        return names_from_file(file)
    found = _load(file).get("names")
    if isinstance(found, dict):
        numbered = cast("dict[Any, Any]", found)
        if set(numbered) != set(range(len(numbered))):
            message = f"{file}: names must be numbered from 0 without a gap"
            raise DataError(message, "number every class")
        found = [numbered[i] for i in range(len(numbered))]
    if not isinstance(found, list):
        message = f"{file} has no list under the key names"
        raise DataError(message, "add it, or set data.names")
    return names_given([str(n) for n in cast("list[Any]", found)], str(file))
