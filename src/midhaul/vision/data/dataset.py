"""A data set: images with the boxes that people marked on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from midhaul.errors import DataError, name_some
from midhaul.model.display import MOST_ROWS, Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np

    from midhaul.model import GroundTruth, Tally

DatasetKind: TypeAlias = Literal["builtin", "coco", "yolo", "voc"]


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
