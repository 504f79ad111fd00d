"""A data set: images with the boxes that people marked, and mistakes in reading it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from midhaul.errors import DataError, name_some
from midhaul.model import Tally
from midhaul.model.display import MOST_ROWS, Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np

    from midhaul.model import GroundTruth

DatasetKind: TypeAlias = Literal[
    "builtin", "coco", "yolo", "voc", "labelme", "createml", "cvat", "table"
]
KINDS_OF_A_FILE: tuple[DatasetKind, ...] = ("coco", "createml", "cvat", "table")
"""Kinds whose annotations are one file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Dataset(Shown):
    """Images and their ground truth.

    Attributes:
        name: for tables and titles.
        names: the label set.
        image_ids: in the order of the data set, unique.
        truth: the human boxes of every image id; labels are indices into ``names``.
        sizes: width and height in px of every image id, as a person sees it.
        source: from an image id to the bytes of its file.
        tallies: what the reader mended, assumed or left out.
        categories: the label of each category id that lists of COCO's results name;
            empty where the data set has no such ids.

    Raises:
        ValueError: an image has no truth or no size, or an id is repeated.
    """

    name: str
    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    truth: Mapping[str, GroundTruth]
    sizes: Mapping[str, tuple[int, int]]
    source: Callable[[str], bytes]
    tallies: tuple[Tally, ...] = ()
    categories: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Check that every image has what it needs."""
        if len(set(self.image_ids)) != len(self.image_ids):
            message = "image ids must be unique"
            raise ValueError(message)
        for image_id in self.image_ids:
            if image_id not in self.truth or image_id not in self.sizes:
                message = f"image {image_id} lacks its truth or its size"
                raise ValueError(message)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    def read(self, image_id: str) -> bytes:
        """The bytes of an image's file.

        Raises:
            DataError: the file cannot be read.
            KeyError: no such image.
        """
        if image_id not in self.truth:
            raise KeyError(image_id)
        return self.source(image_id)

    def size(self, image_id: str) -> tuple[int, int]:
        """Width and height of an image in px, as a person sees it."""
        return self.sizes[image_id]

    def subset(self, ids: Iterable[str]) -> Dataset:
        """The images named, in the order named.

        Raises:
            DataError: an id is not of this data set.
        """
        chosen = tuple(ids)
        known = set(self.image_ids)
        if missing := [i for i in chosen if i not in known]:
            message = f"{self.name} has no {name_some('image', missing)}"
            raise DataError(message, "use ids of the data set")
        return replace(self, image_ids=chosen)

    def sample(self, n: int, rng: np.random.Generator) -> Dataset:
        """Up to ``n`` images drawn without replacement, in the data set's order."""
        if n >= len(self):
            return self
        drawn = sorted(rng.choice(len(self), n, replace=False).tolist())
        return self.subset(self.image_ids[i] for i in drawn)

    def split(
        self, fraction: float, rng: np.random.Generator
    ) -> tuple[Dataset, Dataset]:
        """Two parts that share no image: for choosing thresholds, and for judging.

        Every image is ranked by a hash of its id, so neither the order of the data
        set nor its other images decide on which side of another image it falls.

        Args:
            fraction: share of the first part, in [0, 1]; both parts get at least one
                image unless the fraction is 0 or 1.
            rng: the source of chance; it decides the hash.
        """
        if not 0 <= fraction <= 1:
            message = f"fraction must lie in [0, 1], found {fraction}"
            raise ValueError(message)
        salt = rng.bytes(16)
        n = round(fraction * len(self))
        if 0 < fraction < 1 and len(self) > 1:
            n = min(max(n, 1), len(self) - 1)
        ranked = sorted(self.image_ids, key=lambda i: _hash(salt, i))
        first = set(ranked[:n])
        return (
            self.subset(i for i in self.image_ids if i in first),
            self.subset(i for i in self.image_ids if i not in first),
        )

    def _display(self) -> Display:
        """How many images, boxes and labels, the first images, and what was mended."""
        shown = self.image_ids[:MOST_ROWS]
        text = f'"{self.name}", {counted(len(self), "image")}'
        return Display(
            text=f"{text}, {counted(len(self.names), 'label')}",
            columns=("image", "width", "height", "boxes"),
            rows=[(i, *self.sizes[i], len(self.truth[i])) for i in shown],
            n_rows=len(self),
            remarks=tuple(tally.sentence for tally in self.tallies),
        )


def _hash(salt: bytes, image_id: str) -> bytes:
    return hashlib.blake2b(image_id.encode(), key=salt, digest_size=8).digest()


OnBadItem: TypeAlias = Literal["error", "skip"]

_SHOWN = 10
"""Mistakes that an error lists; ``midhaul check`` lists all."""
_PLACES = 20
_MAX_SKIPPED = 0.05
"""Images that are left out make no number wrong, but what is judged is another set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFault:
    """One mistake: what was expected and found where, and what mends it."""

    message: str
    hint: str


class Faults:
    """Takes in what readers find, and decides what becomes of it.

    ``error`` ends the reading with all mistakes at once, ``skip`` leaves images with a
    mistake out, ``list`` does the same for who asks for ``found`` afterwards, and takes
    in what else ends a reading.
    """

    def __init__(self, on_bad_item: OnBadItem | Literal["list"] = "error") -> None:
        self._mode = on_bad_item
        self.found: list[DataFault] = []
        self._bad: dict[str, None] = {}

    def add(self, error: DataError, *image_ids: str) -> None:
        """Take in a mistake, and the images that are not to be trusted for it."""
        self.found.append(DataFault(message=error.message, hint=error.hint))
        self._bad |= dict.fromkeys(image_ids)

    @property
    def is_listing(self) -> bool:
        """True where nothing ends the reading that can be listed."""
        return self._mode == "list"

    def missing(self, files: Mapping[str, str], n: int, folder: object) -> None:
        """Take in that images are not there: one mistake each, or one for all.

        ``files`` has the name by which each image was looked for, by its id, ``n`` how
        many were looked for.
        """
        names = list(files.values())
        hint = "complete the folder, or set data.images to another"
        if self._mode == "error" and names:
            shown = ", ".join(names[:3]) + (
                ", …" if len(names) > len(names[:3]) else ""
            )
            what = (
                f"image {shown}"
                if len(names) == 1
                else f"{len(names)} images ({shown})"
            )
            self.add(DataError(f"{what} of {n} not found in {folder}", hint), *files)
            return
        for image_id, name in files.items():
            self.add(DataError(f"image {name} not found in {folder}", hint), image_id)

    def good(self, image_ids: Iterable[str]) -> tuple[str, ...]:
        """The images without a mistake."""
        return tuple(i for i in image_ids if i not in self._bad)

    def settle(self) -> None:
        """End the reading where it is to end; DataError if what was found is one."""
        if self._mode != "error" or not self.found:
            return
        first = self.found[0]
        n = len(self.found)
        if n == 1:
            raise DataError(first.message, first.hint)
        lines = [f"  {fault.message}" for fault in self.found[:_SHOWN]]
        if n > _SHOWN:
            lines.append(f"  … and {n - _SHOWN} more")
        hints = dict.fromkeys(fault.hint for fault in self.found[:_SHOWN] if fault.hint)
        hint = "; ".join(
            [
                *list(hints)[:3],
                'or set data.on_bad_item = "skip"; midhaul check lists all',
            ]
        )
        raise DataError("\n".join([f"{n} mistakes:", *lines]), hint)

    def tallies(self, n_images: int) -> list[Tally]:
        """How many images were left out."""
        if not self._bad:
            return []
        return [
            Tally(
                what="images have mistakes and were left out",
                n=len(self._bad),
                of=max(n_images, len(self._bad)),
                max_share=_MAX_SKIPPED,
                advice="Mend them: midhaul check lists every mistake with its place.",
                places=tuple(fault.message for fault in self.found[:_PLACES]),
            )
        ]
