"""The built-in data set: street scenes drawn from a seed, made when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from midhaul.errors import DataError
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.scenes.scene import HEIGHT, LABELS, WIDTH, encode_scene, make_scene

if TYPE_CHECKING:
    from midhaul.model import GroundTruth
    from midhaul.vision.scenes.scene import Split


def builtin_dataset(
    n_images: int, *, seed: int = 0, split: Split = "evaluation"
) -> Dataset:
    """Scenes 0..n_images-1 of a seed; each is drawn once, when it is first used.

    ``split`` is one of three disjoint sets of scenes. DataError if fewer than one image
    is asked for, or the seed is negative.
    """
    if n_images < 1 or seed < 0:
        message = (
            f"expected at least one scene of a seed ≥ 0, found {n_images} of {seed}"
        )
        raise DataError(
            message, "set data.n_scenes to 1 or more, and seed to 0 or more"
        )
    image_ids = tuple(f"scene-{seed}-{split}-{i:05d}" for i in range(n_images))
    scenes = _Scenes(seed, split, image_ids)
    return Dataset(
        name=f"scenes-{seed}-{split}",
        names=LABELS,
        image_ids=image_ids,
        truth=scenes,
        sizes=dict.fromkeys(image_ids, (WIDTH, HEIGHT)),
        source=scenes.read,
    )


class _Scenes(Mapping[str, "GroundTruth"]):
    """Truth and bytes of scenes by image id; keeps what it has drawn."""

    def __init__(self, seed: int, split: Split, image_ids: tuple[str, ...]) -> None:
        self._seed = seed
        self._split: Split = split
        self._index = {image_id: i for i, image_id in enumerate(image_ids)}
        self._drawn: dict[str, tuple[GroundTruth, bytes]] = {}

    def read(self, image_id: str) -> bytes:
        """The scene as a JPEG file."""
        return self._draw(image_id)[1]

    def __getitem__(self, image_id: str) -> GroundTruth:
        return self._draw(image_id)[0]

    def __contains__(self, image_id: object) -> bool:
        """Whether there is such a scene, without drawing it."""
        return image_id in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def _draw(self, image_id: str) -> tuple[GroundTruth, bytes]:
        if image_id not in self._drawn:
            scene = make_scene(self._seed, self._index[image_id], self._split)
            self._drawn[image_id] = (scene.truth, encode_scene(scene))
        return self._drawn[image_id]
