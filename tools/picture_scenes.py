"""Draw a sheet of built-in scenes with their boxes.

python tools/picture_scenes.py docs/explanation/builtin-scenes.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from midhaul.vision.scenes.scene import LABELS, Scene, make_scene

BOX_COLOUR = (90, 255, 120)


def marked(scene: Scene) -> np.ndarray:
    """The scene's pixels with its boxes and labels drawn in."""
    pixels = scene.pixels.copy()
    for box, label in zip(scene.truth.boxes, scene.truth.labels, strict=True):
        x0, y0, x1, y1 = (int(v) for v in box)
        cv2.rectangle(pixels, (x0, y0), (x1 - 1, y1 - 1), BOX_COLOUR, 1)
        place = (x0, max(y0 - 3, 9))
        font = cv2.FONT_HERSHEY_SIMPLEX
        text = LABELS[label]
        cv2.putText(pixels, text, place, font, 0.36, BOX_COLOUR, 1, cv2.LINE_AA)
    return pixels


def main() -> None:
    """Read the command line, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2)
    options = parser.parse_args()
    sheet = [
        np.hstack(
            [
                marked(make_scene(options.seed, row * options.columns + column))
                for column in range(options.columns)
            ]
        )
        for row in range(options.rows)
    ]
    Image.fromarray(np.vstack(sheet)).save(options.file, quality=82)


if __name__ == "__main__":
    main()
